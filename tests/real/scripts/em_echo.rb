# SPDX-License-Identifier: Apache-2.0
#
# A line echo server on EventMachine: `ruby em_echo.rb epoll|select`. A line "busy N" blocks the loop for N ms.
# Prints "READY PORT"; ends by itself on SIGTERM.
require 'eventmachine'
require 'socket'

class Echo < EventMachine::Connection
  def receive_data(data)
    (@lines ||= BufferedTokenizer.new("\n")).extract(data).each do |line|
      $served += 1
      sleep(line[5..].to_i / 1000.0) if line.start_with?('busy ')
      send_data("#{line}\n")
    end
  end
end

$served = 0
ticks = 0
EventMachine.epoll if ARGV[0] == 'epoll'
EventMachine.run do
  server = EventMachine.start_server('127.0.0.1', 0, Echo)
  EventMachine.add_periodic_timer(0.005) { ticks += 1 }
  # EventMachine's methods may not be called in a trap's context: the trap says, a timer looks.
  ending = false
  Signal.trap('TERM') { ending = true }
  Signal.trap('USR2') {}
  EventMachine.add_periodic_timer(0.01) { EventMachine.stop if ending }
  $stdout.write("READY #{Socket.unpack_sockaddr_in(EventMachine.get_sockname(server))[0]}\n")
  $stdout.flush
end
$stdout.write("DONE served=#{$served} ticks=#{ticks}\n")
