#!/usr/bin/python3
"""`fanfare sub` loses its connection, or is stopped and started again, while messages flow, and
prints each of them once. And the client that PROTOCOL.md prints does what the document says.
"""

import json
import pathlib
import re
import signal
import tempfile
import threading
import time
import unittest

import broker_process
from broker_process import Broker, run_fanfare, start_fanfare, unused_port, wait_until
from cutting_proxy import CuttingProxy
from raw_client import RawClient

SEED = 20_240_611
TOPICS_COUNT = 7
KEEPS_ALL = ("--topic-rule", "match=#,history_messages=1000000")
PROTOCOL = pathlib.Path(__file__).resolve().parents[2] / "PROTOCOL.md"


class Publisher:
    """Publishes 0, 1, 2, … to its topics in turn, in a thread, until it is stopped."""

    def __init__(self, broker, pause_s=0.002):
        self.client = RawClient(("127.0.0.1", broker.port))
        self.pause_s = pause_s
        self.count = 0  # of what was confirmed
        self.is_stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.stop()
        self.client.close()

    def stop(self):
        self.is_stopping.set()
        self.thread.join()

    def _run(self):
        while not self.is_stopping.wait(self.pause_s):
            self.publish()

    def publish(self):
        number = self.count
        self.client.command(op="publish", id=number, topic=f"t/{number % TOPICS_COUNT}", data=number)
        self.client.read_op("published")
        self.count += 1


class Printed:
    """What a `fanfare sub` prints, as it comes."""

    def __init__(self, process):
        self.process = process
        self.numbers = []
        self.others = []
        self.status = ""
        self.threads = [threading.Thread(target=self._read_lines, daemon=True),
                        threading.Thread(target=self._read_status, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read_lines(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if message["op"] == "message":
                self.numbers.append(message["data"])
            else:
                self.others.append(message)

    def _read_status(self):
        for line in self.process.stderr:
            self.status += line.decode()

    def end(self, number):
        """Sends the signal; answers the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def in_order_of_topics(numbers):
    """Whether the numbers of each topic rise."""
    newest = {}
    for number in numbers:
        topic = number % TOPICS_COUNT
        if number <= newest.get(topic, -1):
            return False
        newest[topic] = number
    return True


class SubResumeTest(unittest.TestCase):
    def start_sub(self, url, *arguments):
        process = start_fanfare("sub", "--url", url, "t/#", *arguments)
        self.addCleanup(process.kill)
        printed = Printed(process)
        wait_until(lambda: "connected to" in printed.status, 20, "the subscription")
        return printed

    def test_a_connection_that_is_cut_fifty_times(self):
        cuts_count = 50
        with Broker("--workers", "2", *KEEPS_ALL) as broker:
            with CuttingProxy(broker.port, cuts_count, SEED, 1_000, 9_000) as proxy:
                with Publisher(broker) as publisher:
                    printed = self.start_sub(f"ws://127.0.0.1:{proxy.port}")
                    # Before, the first message might be published before the subscription.
                    wait_until(lambda: printed.numbers, 20, "the first message")
                    wait_until(lambda: proxy.cuts_count == cuts_count, 90, "fifty cuts")
                    time.sleep(0.2)
                    publisher.stop()
                    first = printed.numbers[0]
                    wait_until(lambda: len(printed.numbers) >= publisher.count - first, 30,
                               "all messages")
                    time.sleep(0.1)  # for what comes twice
            self.assertEqual(-signal.SIGTERM, printed.end(signal.SIGTERM))
            self.assertTrue(in_order_of_topics(printed.numbers))
            self.assertEqual(list(range(first, publisher.count)), sorted(printed.numbers))
            self.assertEqual([], printed.others)
            self.assertGreaterEqual(printed.status.count("connected again to"), cuts_count // 2)
            caught_up = sum(int(count) for count in
                            re.findall(r"resumed, (\d+) messages? caught up\n", printed.status))
            self.assertGreater(caught_up, 0)
            self.assertNotIn("missing", printed.status)

    def run_and_stop(self, broker, publisher, file, stop, *arguments):
        """A run during which twenty messages are published; answers what it printed."""
        printed = self.start_sub(broker.url, "--cursor-file", file, *arguments)
        before = publisher.count
        while publisher.count < before + 20:
            publisher.publish()
        wait_until(lambda: set(range(before, publisher.count)) <= set(printed.numbers), 20,
                   "all of this run")
        time.sleep(0.05)  # for what comes twice
        self.assertEqual(-stop, printed.end(stop), printed.status)
        self.assertTrue(in_order_of_topics(printed.numbers))
        self.assertEqual([], printed.others)
        # While nobody is there.
        for _ in range(5):
            publisher.publish()
        return printed

    def test_a_program_that_is_stopped_and_started(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-e2e-") as folder:
            with Broker("--workers", "2", *KEEPS_ALL) as broker:
                publisher = Publisher(broker)
                for _ in range(25):
                    publisher.publish()
                numbers = []
                for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                    printed = self.run_and_stop(broker, publisher, f"{folder}/cursor", stop,
                                                "--last", "2")
                    numbers += printed.numbers
                publisher.client.close()
                # Of the 25 that were there first, the last two of each topic.
                self.assertEqual(list(range(25 - 2 * TOPICS_COUNT, publisher.count - 5)),
                                 sorted(numbers))
                self.assertIn("--last is not used, since", printed.status)
                self.assertIn("resumed, ", printed.status)

    def test_a_program_that_is_killed_repeats_and_loses_nothing(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-e2e-") as folder:
            with Broker("--workers", "2", *KEEPS_ALL) as broker:
                publisher = Publisher(broker)
                runs = [self.run_and_stop(broker, publisher, f"{folder}/cursor", stop).numbers
                        for stop in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGINT)]
                publisher.client.close()
                self.assertEqual(set(range(publisher.count - 5)),
                                 set(number for numbers in runs for number in numbers))
                # A run in good order leaves nothing to be repeated.
                self.assertFalse(set(runs[0]) & set(runs[1]))

    def test_a_program_that_is_stopped_in_a_flood(self):
        """While messages come without a pause a signal is heard all the same, and no run repeats
        what an earlier one has printed."""
        count = 100_000
        with tempfile.TemporaryDirectory(prefix="fanfare-e2e-") as folder:
            with Broker(*KEEPS_ALL) as broker:
                file = f"{folder}/cursor"
                printed = self.start_sub(broker.url, "--cursor-file", file, "--count", "1")
                lines = "".join(f"{number}\n" for number in range(count)).encode()
                result = run_fanfare("pub", "--url", broker.url, "t/1", "-", input_bytes=lines)
                self.assertEqual(0, result.returncode, result.stderr)
                self.assertEqual(0, printed.process.wait(20))
                printed.end(signal.SIGTERM)
                numbers = [0]
                runs_count = 0
                while numbers[-1] != count - 1:
                    with open(f"{folder}/out", "w+", encoding="utf-8") as out:
                        process = start_fanfare("sub", "--url", broker.url, "t/#", "--cursor-file",
                                                file, stdout=out)
                        self.addCleanup(process.kill)
                        process.stderr.readline()  # connected
                        time.sleep(0.03)
                        process.send_signal(signal.SIGTERM)
                        self.assertEqual(-signal.SIGTERM, process.wait(20))
                        process.stderr.close()
                        out.seek(0)
                        numbers += [json.loads(line)["data"] for line in out]
                    runs_count += 1
        self.assertEqual(list(range(count)), numbers)
        self.assertGreater(runs_count, 1)

    def test_a_broker_that_forgot(self):
        port = unused_port()
        with Broker(*KEEPS_ALL, listen=[f"127.0.0.1:{port}"]) as broker:
            printed = self.start_sub(broker.url)
            publisher = Publisher(broker)
            publisher.publish()
            wait_until(lambda: printed.numbers, 20, "the message")
            publisher.client.close()
        with Broker(*KEEPS_ALL, listen=[f"127.0.0.1:{port}"]) as broker:
            wait_until(lambda: "messages may be missing since 20" in printed.status, 20, "the news")
            self.assertIn("cannot resume exactly: ", printed.status)
            publisher = Publisher(broker)
            publisher.publish()
            wait_until(lambda: len(printed.numbers) == 2, 20, "the message")
            publisher.client.close()
            printed.end(signal.SIGTERM)
        self.assertEqual(["epoch_changed"], [other["code"] for other in printed.others])

    def test_history_and_keys(self):
        with Broker("--workers", "2", "--topic-rule", "match=t/#,history_messages=5000") as broker:
            lines = "".join(f"{number}\n" for number in range(3_000)).encode()
            for _ in range(2):
                result = run_fanfare("pub", "--url", broker.url, "t/k", "-", "--key", "job 7",
                                     input_bytes=lines)
                self.assertEqual((0, ""), (result.returncode, result.stderr))
            result = run_fanfare("history", "--url", broker.url, "t/k", "--last", "4000")
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            messages = [json.loads(line) for line in result.stdout.splitlines()]
            self.assertEqual(list(range(3_000)), [message["data"] for message in messages])
            positions = [int(message["pos"].split(":")[1]) for message in messages]
            self.assertEqual(list(range(1, 3_001)), positions)
            result = run_fanfare("history", "--url", broker.url, "t/k", "--last", "2", "--format",
                                 "readable")
            self.assertEqual("t/k  2998\nt/k  2999\n", result.stdout)
            result = run_fanfare("history", "--url", broker.url, "elsewhere")
            self.assertEqual(4, result.returncode)
            self.assertIn("no_history", result.stderr)


def printed_client():
    """The class `Subscriptions` as PROTOCOL.md prints it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PROTOCOL.read_text("utf-8"), re.M | re.S)
    code = next(block for block in blocks if "class Subscriptions" in block)
    names = {}
    exec(compile(code, str(PROTOCOL), "exec"), names)
    return names["Subscriptions"]


class ProtocolTest(unittest.TestCase):
    """What PROTOCOL.md says a client has to do is enough."""

    def test_the_client_of_the_document(self):
        cuts_count = 60
        subscriptions = printed_client()()
        waiting = [subscriptions.subscribe(["t/0", "t/1"])]
        arrived = {}  # topic → the numbers, in the order of their arrival
        before = {}  # the same, when the second subscription was asked for
        with Broker("--workers", "2", *KEEPS_ALL) as broker:
            with CuttingProxy(broker.port, cuts_count, SEED, 400, 4_000) as proxy:
                with Publisher(broker) as publisher:
                    goal = None
                    while goal is None or not self.is_complete(arrived, goal):
                        try:
                            with RawClient(("127.0.0.1", proxy.port), timeout_s=30) as client:
                                waiting = subscriptions.connected(client.welcome)
                                for command in waiting:
                                    client.command(**command)
                                while goal is None or not self.is_complete(arrived, goal):
                                    self.take(client.read_json(), subscriptions, arrived)
                                    if proxy.cuts_count > 20 and not before:
                                        # Joins what is live already, from the very beginning.
                                        before = {topic: list(numbers)
                                                  for topic, numbers in arrived.items()}
                                        client.command(**subscriptions.subscribe(
                                            ["t/1", "t/2", "t/+"],
                                            {"after": {"epoch": subscriptions.epoch, "pos": []}}))
                                    if proxy.cuts_count == cuts_count and goal is None:
                                        publisher.stop()
                                        goal = publisher.count
                        except (EOFError, ConnectionError):
                            pass
        self.assertEqual({"t/0", "t/1"}, set(before))
        for numbers in before.values():
            self.assertEqual(list(range(numbers[0], numbers[-1] + 1, TOPICS_COUNT)), numbers)
        for topic in range(TOPICS_COUNT):
            numbers = arrived[f"t/{topic}"]
            self.assertEqual(list(range(topic, goal, TOPICS_COUNT)), sorted(set(numbers)))
            if topic > 1:
                self.assertEqual(sorted(numbers), numbers, "once, and in order")

    @staticmethod
    def take(message, subscriptions, arrived):
        if message["op"] in ("gap", "error") or message.get("recovered") is False:
            raise AssertionError(message)
        subscriptions.received(message)
        if message["op"] == "message":
            arrived.setdefault(message["topic"], []).append(message["data"])

    @staticmethod
    def is_complete(arrived, goal):
        # All of them, and not only the last: a replay brings the first, partition by partition.
        return len(arrived) == TOPICS_COUNT and all(
            set(range(topic, goal, TOPICS_COUNT)) <= set(arrived[f"t/{topic}"])
            for topic in range(TOPICS_COUNT))


if __name__ == "__main__":
    broker_process.main()
