#!/usr/bin/python3
"""What stands in examples/ works: the subscribers, the dashboard, the raw WebSocket. The chat has a test
of its own.
"""

import json
import pathlib
import subprocess
import tempfile
import unittest

import broker_process
import golang
from broker_process import Broker, run_fanfare, wait_until
from chromium import Chromium

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
START_TIMEOUT_S = 20
DATA = {"hello": "world"}


class ExamplesTest(unittest.TestCase):
    def check_subscriber(self, broker, command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                   text=True, preexec_fn=broker_process.die_with_parent)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        ops = []
        for line in process.stdout:
            message = json.loads(line)
            ops.append(message["op"])
            if message["op"] == "subscribed":
                answer = broker.get("/topics/news/uk", "POST", body=json.dumps(DATA))
                self.assertEqual(200, answer.status)
            if message["op"] == "message":
                self.assertEqual(("news/uk", DATA), (message["topic"], message["data"]))
                break
        self.assertEqual(["welcome", "subscribed", "message"], ops)

    def test_subscriber_py(self):
        with Broker() as broker:
            self.check_subscriber(
                broker, ["/usr/bin/python3", "-B", EXAMPLES / "subscriber.py", "news/#", broker.url])

    def test_subscriber_go(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-go-") as folder, Broker() as broker:
            program = golang.build("subscriber", pathlib.Path(folder), EXAMPLES)
            self.check_subscriber(broker, [program, broker.url, "news/#"])

    def test_dashboard(self):
        with Broker("--examples") as broker, Chromium() as browser:
            page = browser.open(f"http://127.0.0.1:{broker.port}/examples/dashboard.html")
            page.wait("document.getElementById('state').textContent === 'live'")
            wait_until(lambda: broker.metrics()['fanfare_subscriptions{state="live"}'] == 1, START_TIMEOUT_S,
                       "the page has subscribed")
            self.assertTrue(page.run("document.getElementById('empty').checkVisibility()"))
            # As in the page's header: the numbers of a pipe, and what is none.
            result = run_fanfare("pub", "--url", broker.url, "metrics/load", "-",
                                 input_bytes=b"0.25\nno number\n1.75\n0.50\n")
            self.assertEqual(0, result.returncode, result.stderr)
            page.wait("document.querySelector('output')?.textContent === '0.5'")
            page.wait("document.querySelector('small').textContent.startsWith('0.25 – 1.75')")
            self.assertEqual("metrics/load", page.run("document.querySelector('h2').textContent"))
            self.assertEqual(
                3, page.run("document.querySelector('polyline').points.numberOfItems"))
            self.assertFalse(page.run("document.getElementById('empty').checkVisibility()"))

    def test_raw(self):
        with Broker("--examples") as broker, Chromium() as browser:
            page = browser.open(f"http://127.0.0.1:{broker.port}/examples/raw.html")
            page.wait("""document.body.innerText.includes('"topic":"news/uk","data":')""")

    def test_markup_of_others_stays_text(self):
        rule = ("--topic-rule", "match=chat/#,history_messages=10")
        attack = "<img src=x onerror='document.title=1'>"
        with Broker("--examples", *rule) as broker, Chromium() as browser:
            message = {"id": "1", "from": attack, "words": attack, "at": "never"}
            broker.get("/topics/chat/a", "POST", body=json.dumps(message))
            for odd in ("null", "17", "[]", '{"from":{},"words":[]}', '"<b>"'):
                broker.get("/topics/chat/a", "POST", body=odd)
            page = browser.open(f"http://127.0.0.1:{broker.port}/examples/chat.html?room=a")
            page.wait("document.querySelectorAll('.message').length >= 2")
            self.assertIn(attack, page.run("document.querySelector('.message').textContent"))
            self.assertEqual(0, page.run("document.querySelectorAll('img').length"))
            self.assertEqual("Chat · Fanfare", page.run("document.title"))


if __name__ == "__main__":
    broker_process.main()
