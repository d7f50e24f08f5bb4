#!/usr/bin/python3
"""fanfare.js in Node with the `ws` package: its connections are cut while messages flow both ways, and
the broker is restarted under it.
"""

import json
import pathlib
import queue
import subprocess
import threading
import time
import unittest

import broker_process
from broker_process import Broker, unused_port, wait_until
from cutting_proxy import CuttingProxy

CLIENT = pathlib.Path(__file__).resolve().parents[2] / "clients" / "js" / "fanfare.js"
SCRIPT = pathlib.Path(__file__).resolve().parent / "clients" / "fanfare_js.mjs"
SEED = 20_261_121
CUTS_COUNT = 50
TOPICS_COUNT = 7
TIMEOUT_S = 60
RULE = ("--topic-rule", "match=#,history_messages=1000")


class Page:
    """The script: lines in, events out."""

    def __init__(self, url):
        # Where Debian's packages are, for a node that came from elsewhere.
        self.process = subprocess.Popen(
            ["node", str(SCRIPT), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=broker_process.clean_environment(NODE_PATH="/usr/share/nodejs"),
            preexec_fn=broker_process.die_with_parent)
        self.seen = []  # every event that was read
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put({"event": "exit"})

    def next(self, event, **members):
        """The next event of that name and with these members; the ones before are kept in `seen`."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            line = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            self.seen.append(line)
            if line["event"] == event and members.items() <= line.items():
                return line
            if line["event"] == "exit":
                raise AssertionError(f"the script ended after {self.seen}")

    def stop_publishing(self):
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()

    def count(self, event):
        return sum(line["event"] == event for line in self.seen)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class FanfareJsTest(unittest.TestCase):
    def start_page(self, url):
        page = Page(url)
        self.addCleanup(page.end)
        page.next("subscribed")
        return page

    def assert_in_order_of_topics(self, numbers):
        for topic in range(TOPICS_COUNT):
            of_topic = [number for number in numbers if number % TOPICS_COUNT == topic]
            self.assertEqual(sorted(of_topic), of_topic)

    def test_connections_that_are_cut_fifty_times(self):
        with Broker("--workers", "2", *RULE) as broker:
            with CuttingProxy(broker.port, CUTS_COUNT, SEED, 500, 6_000) as proxy:
                page = self.start_page(f"ws://127.0.0.1:{proxy.port}/ws")
                wait_until(lambda: proxy.cuts_count == CUTS_COUNT, TIMEOUT_S, "all cuts")
                page.stop_publishing()
                end = page.next("end")
        self.assertEqual([], end["refused"])
        self.assertEqual(list(range(end["publishedCount"])), sorted(end["received"]))
        self.assert_in_order_of_topics(end["received"])
        newest = [number for number in range(end["publishedCount"]) if number % TOPICS_COUNT == 0]
        self.assertEqual(newest[-3:], [message["data"] for message in end["history"]])
        self.assertGreater(page.count("recovered"), CUTS_COUNT // 4)
        self.assertEqual(0, page.count("unrecovered") + page.count("gap") + page.count("error"))

    def test_it_keeps_the_rate_and_the_order_while_connections_are_cut(self):
        with Broker("--workers", "2", "--publish-rate", "100", *RULE) as broker:
            with CuttingProxy(broker.port, 10, SEED, 500, 6_000) as proxy:
                began = time.monotonic()
                page = self.start_page(f"ws://127.0.0.1:{proxy.port}/ws")
                wait_until(lambda: proxy.cuts_count == 10, TIMEOUT_S, "all cuts")
                time.sleep(2)
                page.stop_publishing()
                end = page.next("end")
                lasted = time.monotonic() - began
        self.assertEqual([], end["refused"])
        self.assertEqual(list(range(end["publishedCount"])), sorted(end["received"]))
        self.assert_in_order_of_topics(end["received"])
        # A burst for each connection, and what the rate gives.
        self.assertLess(end["publishedCount"], 100 * (lasted + 11))
        self.assertGreater(end["publishedCount"], 100)

    def test_the_broker_serves_it(self):
        with Broker() as broker:
            response = broker.get("/fanfare.js")
            self.assertEqual(200, response.status)
            self.assertEqual("text/javascript; charset=utf-8", response.headers["Content-Type"])
            self.assertEqual(CLIENT.read_bytes(), response.content)

    def test_a_restart_without_state_is_told(self):
        port = unused_port()
        with Broker("--workers", "2", *RULE, listen=(f"127.0.0.1:{port}",)) as broker:
            page = self.start_page(broker.url)
            broker.stop()
            page.next("state", state="connecting", code=1001)
            broker.start()
            page.next("unrecovered", code="epoch_changed", filters=["t/#"])
            page.stop_publishing()
            end = page.next("end")
        # What was answered before the stop has arrived; what was on its way is lost or refused.
        self.assertEqual(len(set(end["received"])), len(end["received"]))
        self.assert_in_order_of_topics(end["received"])
        self.assertTrue(all(code == "outcome_unknown" for _, code in end["refused"]))


if __name__ == "__main__":
    broker_process.main()
