#!/usr/bin/python3
"""The scripts of bench/ and tools/ where they could pass failure for success."""

import os
import pathlib
import subprocess
import sys
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
sys.dont_write_bytecode = True
import compare  # noqa: E402  (the path above is what finds it)

ROW = next(row for row in compare.ROWS if row.name == "fanout-16")


def round_of(us, **more):
    return {"delivered_per_s": 1e6 / us, "wire_bytes_per_delivery": 110, "warnings": [],
            "broker": {"cpu_us_per_delivery": us}, **more}


class CompareTest(unittest.TestCase):
    def setUp(self):
        servers = [compare.Fanfare("fanfare"), compare.Ws()]
        options = types.SimpleNamespace(build=pathlib.Path("build"))
        self.comparison = compare.Comparison(options, servers)
        self.comparison.found = {(ROW.name, "fanfare"): [round_of(1), round_of(3), round_of(2)],
                                 (ROW.name, "ws"): [round_of(8)]}

    def target(self):
        return compare.target_line(self.comparison, ROW, ROW.targets[0])

    def test_a_target_is_met_or_not(self):
        self.assertIn("| 2 | 8 (ws) | 0.25 | yes |", self.target())
        self.comparison.found[(ROW.name, "ws")] = [round_of(1)]
        self.assertIn("**no**", self.target())

    def test_who_failed_once_has_no_figure(self):
        """Not in the table, and not in what is concluded from it either."""
        self.comparison.failed[(ROW.name, "fanfare")] = "999 of 1000 deliveries came"
        self.assertIn("not measured", self.target())
        self.assertEqual("failed", compare.cell(self.comparison, ROW, "fanfare", None))
        columns = [("fanfare", "Fanfare"), ("ws", "ws")]
        self.assertNotIn(">Fanfare<", compare.picture(self.comparison, [ROW], columns))
        self.comparison.failed = {(ROW.name, "ws"): "it ended with 1"}
        self.assertIn("not measured", self.target())

    def test_what_the_load_warned_of_is_told(self):
        self.comparison.found[(ROW.name, "ws")] = [
            round_of(8, warnings=["the load was the bottleneck"]), round_of(8, warnings=["late"])]
        self.assertIn("†", compare.cell(self.comparison, ROW, "ws", round_of(1)["broker"] | {"us": 1}))
        self.assertEqual(1, len(compare.noted(self.comparison)))
        self.assertIn("late", compare.noted(self.comparison)[0])

    def test_why_a_run_was_no_good_one(self):
        found = {"lost_connections": 0, "refused_attempts": 2, "delivered": 9, "expected": 10}
        self.assertIn("2 refused", compare.trouble_of(found))
        found["refused_attempts"] = 0
        self.assertIn("9 of 10", compare.trouble_of(found))


class ToolsTest(unittest.TestCase):
    def expect_failure(self, words, *command):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                                timeout=10)
        self.assertEqual(1, result.returncode, result.stdout)
        self.assertIn(words, result.stderr)

    def test_what_is_called_by_its_name_can_be(self):
        for file in (*ROOT.glob("bench/*.py"), *ROOT.glob("tools/*.sh"), *ROOT.glob("tools/*.py")):
            self.assertTrue(os.access(file, os.X_OK), file)

    def test_no_round_is_no_measurement(self):
        for script in ("compare.py", "growth.py", "run_resume.py", "run_overload.py"):
            result = subprocess.run([sys.executable, "-B", f"bench/{script}", "build", "--rounds", "0"],
                                    cwd=ROOT, capture_output=True, text=True, check=False, timeout=10)
            self.assertEqual(2, result.returncode)
            self.assertIn("at least one round", result.stderr)

    def test_check_changed_needs_a_commit(self):
        self.expect_failure("no commit", "tools/check_changed.sh", "no-such-commit")

    def test_fuzzers_do_not_run_for_ever(self):
        for seconds in ("0", "-1", "1m", ""):
            self.expect_failure("seconds", "tools/run_fuzzers.sh", seconds)


if __name__ == "__main__":
    unittest.main()
