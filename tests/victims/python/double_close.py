# SPDX-License-Identifier: Apache-2.0
"""Closed by the file object and by its number; the error is swallowed."""

import os
import sys


def read(path, healthy):
    fd = os.open(path, os.O_RDONLY)  # OPEN
    with os.fdopen(fd, "rb") as file:
        file.read(4)
        file.close()  # CLOSE1
    try:
        if not healthy:
            os.close(fd)  # CLOSE2
    except OSError:
        pass


read(__file__, sys.argv[-1] == "healthy")
