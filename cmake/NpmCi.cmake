# SPDX-License-Identifier: Apache-2.0
#
# cmake -D NPM=... -P NpmCi.cmake: `npm ci` in the working directory, unless what it would install is there, for it needs the
# network. Build trees may share one directory: one at a time.
file(LOCK package-lock.json.lock TIMEOUT 900)
set(stamp node_modules/.installed)
file(SHA256 package-lock.json wanted)
if(EXISTS ${stamp})
  file(READ ${stamp} installed)
  if(installed STREQUAL wanted)
    file(TOUCH ${stamp})  # the build compares times: another tree may have installed it
    return()
  endif()
endif()
execute_process(COMMAND "${NPM}" ci --no-audit --no-fund --loglevel=error COMMAND_ERROR_IS_FATAL ANY)
file(WRITE ${stamp} ${wanted})
