#!/usr/bin/python3
"""/metrics as Prometheus reads it: well-formed to promtool, documented, and true."""

import pathlib
import re
import subprocess
import sys
import time
import unittest

import broker_process
from broker_process import Broker, wait_until
from raw_client import RawClient

OPERATIONS = pathlib.Path(__file__).resolve().parent.parent.parent / "OPERATIONS.md"


class MetricsTest(unittest.TestCase):
    def setUp(self):
        self.broker = self.enterContext(Broker("--workers", "2"))
        self.place = ("127.0.0.1", self.broker.port)

    def test_promtool(self):
        with RawClient(self.place) as client:  # so that not everything is zero
            client.command(op="subscribe", id=1, filter="#")
            client.command(op="publish", id=2, topic="a", data=1)
            client.read_op("message")
            text = self.broker.metrics_text()
        result = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                capture_output=True, timeout=30)
        # Also what promtool only recommends (names, units, help) is on its outputs.
        self.assertEqual((0, "", ""), (result.returncode, result.stdout, result.stderr))

    def test_content_type(self):
        response = self.broker.get("/metrics")
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8",
                         response.headers["Content-Type"])
        head = self.broker.get("/metrics", "HEAD")
        self.assertEqual((200, b""), (head.status, head.content))
        self.assertGreater(int(head.headers["Content-Length"]), 1000)
        self.assertEqual(405, self.broker.get("/metrics", "DELETE").status)

    def test_documented(self):
        text = self.broker.metrics_text()
        told = dict(re.findall(r"^# TYPE fanfare_(\w+) (\w+)$", text, re.M))
        explained = dict(re.findall(r"^# HELP fanfare_(\w+) (.+)$", text, re.M))
        self.assertEqual(told.keys(), explained.keys())
        document = OPERATIONS.read_text("utf-8")
        rows = {name: (kind, what) for name, kind, what in
                re.findall(r"^\| `(\w+)` \| (gauge|counter|histogram)(?: \| `\w+`: [^|]+)? \| ([^|]+) \|$",
                           document, re.M)}
        for name, kind in told.items():
            with self.subTest(name):
                if name in rows:
                    self.assertEqual((kind, explained[name]), rows[name])
                else:
                    self.assertIn(f"`fanfare_{name}", document)
        self.assertLessEqual(rows.keys(), told.keys())

    def test_one_series_per_worker(self):
        text = self.broker.metrics_text()
        for name in ("connections", "turns_total"):
            shards = re.findall(rf'^fanfare_{name}{{shard="(\d)"}} \d+$', text, re.M)
            self.assertEqual(["0", "1"], shards)

    def test_true(self):
        before = self.broker.metrics()
        with RawClient(self.place) as one, RawClient(self.place) as two:
            for client in (one, two):
                client.command(op="subscribe", id=1, filters=["a/#", "a/b"])
                client.read_op("subscribed")
            one.command(op="publish", id=2, topic="a/b", data=1)
            one.command(op="nonsense", id=3)
            two.read_op("message")
            # Replies may overtake the message, or not.
            self.assertEqual({"message", "published", "error"},
                             {one.read_json()["op"] for _ in range(3)})
            during = self.broker.metrics()

        def grown(name, since=before, until=during):
            return until["fanfare_" + name] - since["fanfare_" + name]

        self.assertEqual(2, grown("websockets"))
        self.assertEqual(2, grown("connections"))
        self.assertEqual(4, grown('subscriptions{state="live"}'))
        self.assertEqual(1, grown("messages_published_total"))
        self.assertEqual(2, grown("deliveries_total"))
        self.assertEqual(4, grown("commands_total"))
        self.assertEqual(1, grown("errors_total"))
        self.assertEqual(2, grown('upgrades_total{status="101"}'))
        self.assertGreater(grown("delivery_delay_seconds_count"), 5)
        self.assertGreater(grown("received_bytes_total"), 500)
        self.assertGreater(grown("sent_bytes_total"), 500)
        wait_until(lambda: self.broker.metrics()['fanfare_subscriptions{state="live"}'] == 0, 10, "all are gone")

    def test_histogram_adds_up(self):
        values = self.broker.metrics()
        count = values["fanfare_turn_seconds_count"]
        self.assertEqual(count, values['fanfare_turn_seconds_bucket{le="+Inf"}'])
        buckets = [value for name, value in values.items() if "turn_seconds_bucket" in name]
        self.assertEqual(sorted(buckets), buckets)
        self.assertGreater(count, 0)

    def test_probes(self):
        for path, body in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            response = self.broker.get(path)
            self.assertEqual((200, body), (response.status, response.content))

    def test_health_of_a_broker_that_rests(self):
        """No traffic for longer than a turn may take is no sickness."""
        time.sleep(6.5)
        self.assertEqual(200, self.broker.get("/healthz").status)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
