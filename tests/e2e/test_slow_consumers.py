#!/usr/bin/python3
"""Slow subscribers beside quick ones, on real sockets: nobody else is hurt, and what the slow ones
get and what they are told they missed add up to what was published.

The clients are bench/overload_load, which checks every message of every client itself and ends with
an error when one is missing, comes twice or out of order. What is stated here about times is wide:
bench/run_overload.py measures them.
"""

import json
import pathlib
import subprocess
import sys
import unittest

import broker_process
from broker_process import Broker, Options

# Small, so that a second or two of messages is much.
LIMITS = ("--outbound-soft", "64KiB", "--workers", "1")
SECONDS = 2
TIMEOUT_S = 200


def run(broker, *arguments):
    program = pathlib.Path(Options.broker).parent / "bench" / "overload_load"
    result = subprocess.run([program, arguments[0], str(broker.port), str(broker.process.pid),
                             *map(str, arguments[1:])],
                            capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return json.loads(result.stdout)


class SlowConsumersTest(unittest.TestCase):

    def slow(self, rule, hard="192KiB"):
        """10 of 100 subscribers stop reading for a while, twice."""
        rate, message_bytes = (100, 4_000) if Options.is_sanitized else (500, 1_000)
        with Broker(*LIMITS, "--outbound-hard", hard, "--outbound-time", "30s",
                    "--topic-rule", f"match=feed/#,{rule}") as broker:
            found = run(broker, "slow", 100, 10, rate, message_bytes, SECONDS, 2, "feed")
            metrics = broker.metrics()
        self.assertEqual(metrics['fanfare_memory_bytes{kind="held"}'], 0, "nothing is kept for those who have it all")
        self.assertGreater(found["calm_p99_ms"], 0)
        return found, metrics

    def test_catch_up(self):
        found, metrics = self.slow("history_messages=100000")
        self.assertEqual((found["missed"], found["unknown"], found["cut"]), (0, 0, 0))
        self.assertGreater(metrics["fanfare_streams_behind_total"], 0, "they were not slow")

    def test_catch_up_with_a_history_that_is_too_short(self):
        found, metrics = self.slow("history_messages=1")
        self.assertEqual((found["missed"], found["cut"]), (0, 0), "gaps do not know how many")
        self.assertEqual(found["unknown"], 10)
        self.assertGreater(metrics["fanfare_streams_behind_total"], 0)

    def test_drop_oldest(self):
        found, metrics = self.slow("history_messages=0,on_slow=drop_oldest")
        self.assertEqual(found["cut"], 0)
        self.assertGreater(found["missed"], 0)
        self.assertEqual(found["missed"], metrics["fanfare_messages_dropped_total"])

    def test_conflate(self):
        found, metrics = self.slow("history_messages=0,on_slow=conflate", hard="1MiB")
        self.assertEqual(found["cut"], 0)
        self.assertGreater(found["missed"], 0)
        self.assertEqual(metrics["fanfare_messages_dropped_total"], 0, "the newest of 100 topics fit")
        self.assertEqual(found["missed"], metrics["fanfare_messages_conflated_total"])

    def test_disconnect(self):
        found, _ = self.slow("history_messages=0")
        self.assertEqual(found["cut"], 10)

    def test_a_room_beside_a_crowd(self):
        with Broker("--workers", "1") as broker:
            found = run(broker, "room", 300 if Options.is_sanitized else 3_000, SECONDS, 1)
        self.assertLess(found["busy_p99_ms"], 1_000)

    def test_a_crowd_that_comes_and_goes(self):
        count = 200 if Options.is_sanitized else 2_000
        with Broker("--workers", "1", "--connections-max", "4000") as broker:
            found = run(broker, "crowd", 100, count, SECONDS)
        self.assertGreaterEqual(found["arrived"], count)
        self.assertEqual(found["refused"], 0)


if __name__ == "__main__":
    sys.exit(broker_process.main())
