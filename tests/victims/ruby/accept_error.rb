# SPDX-License-Identifier: Apache-2.0
#
# An exception between accept and close: two of four clients. Their numbers are kept from the finalizer, as code does that hands
# them to a native library.
require 'socket'

def serve(server, healthy)
  fd = server.sysaccept # LEAK
  io = IO.for_fd(fd, autoclose: false)
  raise 'bad greeting' unless io.readpartial(4) == 'HELO'

  io.autoclose = true
  io.close
rescue RuntimeError
  IO.for_fd(fd).close if healthy
end

server = TCPServer.new('127.0.0.1', 0)
4.times do |i|
  client = TCPSocket.new('127.0.0.1', server.addr[1])
  client.write(i.odd? ? 'what' : 'HELO')
  serve(server, ARGV.last == 'healthy')
  client.close
end
server.close
