# SPDX-License-Identifier: Apache-2.0
#
# A line echo server on cool.io, which holds a libev of its own; LIBEV_FLAGS chooses the backend (1 select, 2 poll, 4 epoll).
# A line "busy N" blocks the loop for N ms. Prints "READY PORT"; ends by itself on SIGTERM.
require 'cool.io'

class Echo < Cool.io::TCPSocket
  def on_read(data)
    @rest = (@rest || '') + data
    while (line = @rest.slice!(/\A[^\n]*\n/))
      $served += 1
      sleep(line[5..].to_i / 1000.0) if line.start_with?('busy ')
      write(line)
    end
  end
end

$served = 0
ticks = 0
ending = false
Signal.trap('TERM') { ending = true }
Signal.trap('USR2') {}
loop = Cool.io::Loop.default
server = Cool.io::TCPServer.new('127.0.0.1', 0, Echo)
server.attach(loop)
timer = Cool.io::TimerWatcher.new(0.005, true)
timer.on_timer do
  ticks += 1
  loop.stop if ending
end
timer.attach(loop)
$stdout.write("READY #{server.instance_variable_get(:@listen_socket).addr[1]}\n")
$stdout.flush
loop.run
$stdout.write("DONE served=#{$served} ticks=#{ticks}\n")
