# SPDX-License-Identifier: Apache-2.0
#
# 20 000 descriptors in four threads, while garbage is collected and memory compacted; a forked child; threads that open until
# the very end.
require "socket"

# Longer than a string that Ruby keeps inside its object: Ruby 3.1 opens without its lock and with the address of the name, and
# compaction moves the objects meanwhile. With short names it crashes by itself, one run in a hundred.
NULL = "/dev/../dev/../dev/../dev/null"
TEXT = "/etc/../etc/../etc/../etc/passwd"

def opens(depth)
  return opens(depth - 1) if depth > 0
  File.open(NULL).close
  File.open(TEXT) { |file| file.gets }
  UNIXSocket.pair.each(&:close)
  eval("File.open(NULL).close")
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
3.times { Thread.new { loop { File.open(NULL).close } } }
