# SPDX-License-Identifier: Apache-2.0
"""tempfile.mkstemp() gives an open descriptor too, and that is forgotten. It is opened in a module of Python's own; the line to
mend is the caller's."""

import os
import sys
import tempfile


def scratch(healthy):
    fd, path = tempfile.mkstemp(prefix="loopscope-victim-")  # LEAK
    os.unlink(path)
    if healthy:
        os.close(fd)


for _ in range(3):
    scratch(sys.argv[-1] == "healthy")
