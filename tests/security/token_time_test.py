#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the server does to compare a token does not depend on the token's characters: valgrind's memcheck follows them, see token_time.cpp."""
import os
import re
import subprocess
import sys
import unittest


class TokenTime(unittest.TestCase):
    def compare(self, how):
        return subprocess.run(["valgrind", "-q", "--error-exitcode=9", os.environ["TOKEN_TIME"], how], capture_output=True, text=True, timeout=300,
                              check=False)

    def test_depends_on_nothing_but_its_length(self):
        done = self.compare("server")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        compared = int(re.search(r"compared (\d+)", done.stdout).group(1))
        naive = self.compare("naive")
        self.assertEqual(naive.returncode, 9, naive.stderr)
        self.assertIn("depends on uninitialised value", naive.stderr)
        print(f"reliability: token-constant-time: {compared} comparisons with tokens wrong at each place under memcheck: no branch and no address "
              "depends on the token; a comparison that ends early is found")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
