# SPDX-License-Identifier: Apache-2.0
"""A function that opens by os.open and forgets os.close: no object of Python's owns the number."""

import os
import sys


def size(path, healthy):
    fd = os.open(path, os.O_RDONLY)  # LEAK
    length = os.fstat(fd).st_size
    if healthy:
        os.close(fd)
    return length


for _ in range(3):
    size(__file__, sys.argv[-1] == "healthy")
