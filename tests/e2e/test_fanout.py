#!/usr/bin/python3
"""Thousands of real subscribers of one topic, hundreds of messages in flight: every message arrives
at each of them once, in one order for all, byte for byte.

What is checked, and how, stands in clients/fanout_load.go.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

import broker_process
import golang
from broker_process import Broker, Options

TIMEOUT_S = 90
PUBLISHERS_COUNT = 200


class FanoutTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="fanfare-e2e-fanout-")
        cls.addClassCleanup(folder.cleanup)
        cls.program = golang.build("fanout_load", pathlib.Path(folder.name))

    def check(self, workers_count):
        # Sanitizers make a delivery cost ten times as much, and the load runs beside the broker.
        subscribers_count = 2_000 if Options.is_sanitized else 5_000
        messages_count = 2_000
        # Its descriptors, and those of the broker, which raises its own limit.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.assertGreaterEqual(hard, subscribers_count + PUBLISHERS_COUNT + 100, "ulimit -Hn")
        with Broker("--workers", str(workers_count)) as broker:
            load = subprocess.run(
                [self.program, broker.url, str(subscribers_count), str(PUBLISHERS_COUNT),
                 str(messages_count)],
                capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
                preexec_fn=broker_process.die_with_parent, env=broker_process.clean_environment())
            self.assertEqual(0, load.returncode, load.stderr)
            print(f"{workers_count} workers: {load.stdout.strip()}")
            deliveries_count = subscribers_count * messages_count
            self.assertEqual(deliveries_count, json.loads(load.stdout)["deliveries"])
            metrics = broker.metrics()
            self.assertEqual(messages_count, metrics["fanfare_messages_published_total"])
            self.assertEqual(deliveries_count, metrics["fanfare_deliveries_total"])
            self.assertEqual(0, metrics['fanfare_connections_closed_total{code="4100"}'])

    def test_one_worker(self):
        self.check(1)

    def test_four_workers(self):
        self.check(4)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
