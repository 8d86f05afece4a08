# SPDX-License-Identifier: Apache-2.0
#
# IO.sysopen gives a number that no object owns.

def first_byte(path, healthy)
  fd = IO.sysopen(path) # LEAK
  io = IO.for_fd(fd, autoclose: healthy)
  byte = io.getbyte
  io.close if healthy
  byte
end

3.times { first_byte(__FILE__, ARGV.last == 'healthy') }
