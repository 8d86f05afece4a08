# SPDX-License-Identifier: Apache-2.0
"""What the tests here share: running a suite, with or without the probe, and the lines of openers.h."""

import os
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROBE = os.environ["LOOPSCOPE_PROBE_LIB"]
SOURCE = pathlib.Path(os.environ["SOURCE"])


def run(*command, probe=False, environment=None, cwd=None, timeout=60):
    """With `probe`: preloaded, with full stacks, recording to a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="loopscope-testing-") as directory:
        env = {**os.environ, "LOOPSCOPE_DIR": directory, **(environment or {})}
        env.pop("LD_PRELOAD", None)
        env.pop("LOOPSCOPE_PROBE", None)
        if probe:
            env["LD_PRELOAD"] = PROBE
            env["LOOPSCOPE_PROBE"] = "stacks=full,dir=" + directory
        return subprocess.run([str(each) for each in command], env=env, cwd=cwd, timeout=timeout, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def line_of(mark, file="suites/openers.h"):
    """The line that ends in `// LINE: mark`."""
    text = (HERE / file).read_text().splitlines()
    number, = [n for n, line in enumerate(text, 1) if line.rstrip().endswith("LINE: " + mark)]
    return number
