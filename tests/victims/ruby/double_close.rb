# SPDX-License-Identifier: Apache-2.0
#
# Two objects for one number, and both close it; the exception is swallowed.

def read(path, healthy)
  fd = IO.sysopen(path) # OPEN
  one = IO.for_fd(fd)
  other = IO.for_fd(fd)
  one.close # CLOSE1
  if healthy
    other.autoclose = false # else the VM closes it as it ends
  else
    other.close # CLOSE2
  end
rescue Errno::EBADF
  nil
end

read(__FILE__, ARGV.last == 'healthy')
