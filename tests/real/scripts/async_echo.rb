# SPDX-License-Identifier: Apache-2.0
#
# A line echo server on async: every connection a fiber, blocking calls become turns of the reactor (a fiber scheduler over
# nio4r, which holds a libev of its own; NIO4R_BACKEND is nio4r's, LIBEV_FLAGS libev's choice of backend).
# A line "busy N" blocks the loop for N ms. Prints "READY PORT"; ends by itself on SIGTERM.
require 'async'
require 'socket'

served = 0
ticks = 0
ending = false
Signal.trap('TERM') { ending = true }
Signal.trap('USR2') {}
Async do |task|
  server = TCPServer.new('127.0.0.1', 0)
  accepting = task.async do |subtask|
    loop do
      client = server.accept
      subtask.async do
        while (line = client.gets)
          served += 1
          # A subprocess-free way to block the thread, not the fiber.
          if line.start_with?('busy ')
            till = Process.clock_gettime(Process::CLOCK_MONOTONIC) + line[5..].to_i / 1000.0
            nil while Process.clock_gettime(Process::CLOCK_MONOTONIC) < till
          end
          client.write(line)
        end
      ensure
        client.close
      end
    end
  end
  $stdout.write("READY #{server.addr[1]}\n")
  $stdout.flush
  until ending
    task.sleep(0.005)
    ticks += 1
  end
  accepting.stop
  server.close
end
$stdout.write("DONE served=#{served} ticks=#{ticks}\n")
