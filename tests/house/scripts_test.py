#!/usr/bin/python3
"""The scripts of tools/ where they could pass failure for success."""

import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True


class ToolsTest(unittest.TestCase):
    def expect_failure(self, words, *command):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                                timeout=10)
        self.assertEqual(1, result.returncode, result.stdout)
        self.assertIn(words, result.stderr)

    def test_check_changed_needs_a_commit(self):
        self.expect_failure("no commit", "tools/check_changed.sh", "no-such-commit")

    def test_fuzzers_do_not_run_for_ever(self):
        for seconds in ("0", "-1", "1m", ""):
            self.expect_failure("seconds", "tools/run_fuzzers.sh", seconds)


if __name__ == "__main__":
    unittest.main()
