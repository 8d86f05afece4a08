# SPDX-License-Identifier: Apache-2.0
#
# 20 000 descriptors in four threads, while garbage is collected and memory compacted; a forked child; threads that open until
# the very end.
require "socket"

def opens(depth)
  return opens(depth - 1) if depth > 0
  File.open("/dev/null").close
  File.open("/etc/passwd") { |file| file.gets }
  UNIXSocket.pair.each(&:close)
  eval("File.open('/dev/null').close")
  5
end

threads = 4.times.map do |number|
  Thread.new do
    (0...1000).sum do |i|
      if i % 100 == number
        GC.start
        GC.compact
      end
      opens(i % 40)
    end
  end
end
opened = threads.sum(&:value)
child = fork do
  opens(3)
  exit!(7)
end
Process.wait(child)
puts "child #{$?.exitstatus} opened #{opened}"
3.times { Thread.new { loop { File.open("/dev/null").close } } }
