# SPDX-License-Identifier: Apache-2.0
#
# An object that was told not to close what it holds, and is lost.
require 'socket'

def notify(healthy)
  here, there = UNIXSocket.pair # LEAK
  here.write('x')
  here.close
  there.autoclose = healthy
  there.close if healthy
end

3.times { notify(ARGV.last == 'healthy') }
