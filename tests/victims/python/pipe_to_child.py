# SPDX-License-Identifier: Apache-2.0
"""The end of each child's pipe that the parent reads from stays open."""

import os
import subprocess
import sys


def run(healthy):
    read_end, write_end = os.pipe()  # LEAK
    with subprocess.Popen(["echo", "yes"], stdout=write_end):
        os.close(write_end)
        os.read(read_end, 10)
    if healthy:
        os.close(read_end)


for _ in range(2):
    run(sys.argv[-1] == "healthy")
