# SPDX-License-Identifier: Apache-2.0
#
# What thin serves: `thin start -R thin.ru -p PORT`. "/busy/N" blocks the loop for N ms.
require 'eventmachine'

EventMachine.next_tick { EventMachine.add_periodic_timer(0.005) {} }
Signal.trap('USR2') {}
run(lambda do |env|
  sleep(env['PATH_INFO'][6..].to_i / 1000.0) if env['PATH_INFO'].start_with?('/busy/')
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '6' }, ["hello\n"]]
end)
