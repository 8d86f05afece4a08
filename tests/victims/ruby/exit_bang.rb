# SPDX-License-Identifier: Apache-2.0
#
# A forked worker ends by exit!: what it holds in a global list is not finalized.
require 'socket'

$held = []

def work(healthy)
  3.times do
    udp = UDPSocket.new # LEAK
    udp.bind('127.0.0.1', 0)
    $held << udp
  end
  $held.each(&:close) if healthy
  exit!(0)
end

pid = fork { work(ARGV.last == 'healthy') }
Process.wait(pid)
