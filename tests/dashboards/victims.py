# SPDX-License-Identifier: Apache-2.0
"""An asyncio program to be watched through the probe: python3 victims.py works|leaks|hangs

works: timers, and pipes that are opened and closed.  leaks: forgets a pipe a second, far from any limit.  hangs: works for three seconds,
then never comes back to its wait.
"""

import asyncio
import os
import sys
import time


async def main(how):
    began = time.monotonic()
    forgotten = 0
    while True:
        await asyncio.sleep(0.1)
        forget = how == "leaks" and forgotten < min(time.monotonic() - began, 200)
        forgotten += forget
        for end in os.pipe():
            if not forget:
                os.close(end)
        if how == "hangs" and time.monotonic() > began + 3:
            time.sleep(100000)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
