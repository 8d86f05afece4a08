# SPDX-License-Identifier: Apache-2.0
#
# `npm ci`, unless what it would install is there: it needs the network.
set(stamp node_modules/.installed)
file(SHA256 package-lock.json wanted)
if(EXISTS ${stamp})
  file(READ ${stamp} installed)
  if(installed STREQUAL wanted)
    return()
  endif()
endif()
execute_process(COMMAND "${NPM}" ci --loglevel=error COMMAND_ERROR_IS_FATAL ANY)
file(WRITE ${stamp} ${wanted})
