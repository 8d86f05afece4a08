# SPDX-License-Identifier: Apache-2.0
#
# Opens descriptors of many kinds, each at a line that says so: "opens KIND [xN] in FUNCTION" (script_frames_test.py).
require "socket"
require "tempfile"

$kept = []

def nested
  [1].each { $kept << File.open("/dev/null") } # opens device in block in nested
end

class Client
  def connect
    $kept << Socket.new(:INET, :STREAM) # opens tcp in connect
  end
end

def deep(levels)
  return deep(levels - 1) if levels > 0
  $kept << File.open("/etc/passwd") # opens file in deep
end

def evaluated
  eval('$kept << File.open("/dev/zero")') # opens device in evaluated
end

nested
Client.new.connect
deep(60)
evaluated
Thread.new { $kept << IO.pipe }.join # opens pipe x2 in block in <main>
Fiber.new { $kept << UNIXSocket.pair }.resume # opens unix x2 in block in <main>
$kept << Dir.open("/etc") # opens directory in <main>
$kept << TCPServer.new("127.0.0.1", 0) # opens tcp in <main>
$kept << Tempfile.new("loopscope") # opens file in <main>
IO.popen(["/bin/true"]) { |pipe| pipe.read } # opens pipe x4 in <main>
puts "DONE #{$kept.size}"
