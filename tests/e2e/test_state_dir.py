#!/usr/bin/python3
"""--state-dir: a broker that was stopped in good order goes on where it was; one that was not
begins anew and says so; and nobody is resumed from a state that is not true any more.
"""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import broker_process
from broker_process import STOP_TIMEOUT_S, Broker, clean_environment, run_fanfare
from raw_client import RawClient

KEEP_ALL = "match=#,history_messages=1000"
TOPICS = ["news/uk", "news/de", "chat/1", "chat/2", "prices/x"]


class StateDirTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="fanfare-e2e-state-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name) / "state"
        self.state = self.folder / "fanfare.state"

    def broker(self, rules=(KEEP_ALL,), close_timeout="100ms", **how):
        arguments = ["--state-dir", str(self.folder), "--close-timeout", close_timeout]
        for rule in rules:
            arguments += ["--topic-rule", rule]
        return Broker(*arguments, environment={"FANFARE_WORKERS": "2"}, **how)

    def client(self, broker):
        client = RawClient(("127.0.0.1", broker.port))
        self.addCleanup(client.close)
        return client

    def ask(self, client, answer_op, **command):
        client.command(id=1, **command)
        return client.read_op(answer_op)

    def publish(self, client, topic, **payload):
        return self.ask(client, "published", op="publish", topic=topic, **payload)

    def history(self, client, topic):
        answer = self.ask(client, "history", op="history", topic=topic)
        self.assertFalse(answer["more"])
        return answer["messages"]

    def histories(self, client):
        return {topic: self.history(client, topic) for topic in TOPICS}

    def fill(self, client):
        for number in range(20):
            for topic in TOPICS:
                payload = ({"data": {"number": number}}, {"text": f"ü {number}"},
                           {"base64": "AP8="})[number % 3]
                self.publish(client, topic, key=f"key {number}", **payload)

    def restart(self, broker):
        broker.stop()
        broker.start()
        return self.client(broker)

    def replay(self, client, cursor):
        """Resumes # after the cursor: the answer, and the messages up to `live`."""
        client.command(op="subscribe", id=2, filters=["#"], start={"after": cursor})
        subscribed = client.read_op("subscribed")
        messages = []
        while True:
            message = client.read_json()
            if message["op"] == "live":
                return subscribed, messages
            if message["op"] == "message":
                messages.append((message["topic"], message["pos"]))

    def test_goes_on(self):
        with self.broker() as broker:
            client = self.client(broker)
            self.fill(client)
            before = self.histories(client)
            self.assertEqual(20, len(before["news/uk"]))
            first = {topic: before[topic][-1]["pos"] for topic in TOPICS}
            # Other numbers of workers, and back.
            for workers in (3, 1, 2):
                broker.environment["FANFARE_WORKERS"] = str(workers)
                epoch = client.welcome["epoch"]
                self.assertFalse(self.state.exists(), "a state beside a broker that runs")
                again = self.restart(broker)
                self.assertIn('msg="state restored" messages=', broker.log())
                self.assertEqual(epoch, again.welcome["epoch"])
                self.assertEqual(before, self.histories(again))
                for topic in TOPICS:
                    told = self.publish(again, topic, key="key 19", text="again")
                    self.assertEqual((first[topic], True), (told["pos"], told.get("duplicate")))
                # Positions are not given twice.
                told = self.publish(again, "news/uk", data=workers)
                given = {message["pos"] for messages in before.values() for message in messages}
                self.assertNotIn(told["pos"], given)
                before = self.histories(again)
                self.assertEqual(told["pos"], before["news/uk"][-1]["pos"])
                client = again

    def test_a_stop_during_the_start_loses_nothing(self):
        with self.broker() as broker:
            client = self.client(broker)
            self.fill(client)
            before = self.histories(client)
            broker.stop()
            for step in range(12):
                # In any moment: before the state is read, while it is, and after.
                with open(os.devnull, "wb") as nothing:
                    process = subprocess.Popen(
                        [broker_process.Options.broker, "serve", *broker.arguments], stdout=nothing,
                        stderr=nothing, env=clean_environment(**broker.environment),
                        preexec_fn=broker_process.die_with_parent)
                time.sleep(step * 0.02)
                process.send_signal(signal.SIGTERM)
                self.assertIn(process.wait(STOP_TIMEOUT_S), (0, -signal.SIGTERM))
                self.assertTrue(self.state.exists())
            broker.start()
            again = self.client(broker)
            self.assertEqual(client.welcome["epoch"], again.welcome["epoch"])
            self.assertEqual(before, self.histories(again))

    def test_a_subscriber_gets_what_it_missed(self):
        with self.broker() as broker:
            subscriber = self.client(broker)
            cursor = self.ask(subscriber, "subscribed", op="subscribe", filters=["#"])["cursor"]
            client = self.client(broker)
            told = [(topic, self.publish(client, topic, data=number)["pos"])
                    for number in range(5) for topic in TOPICS]
            client = self.restart(broker)
            told += [(topic, self.publish(client, topic, data="new")["pos"]) for topic in TOPICS]
            subscribed, messages = self.replay(self.client(broker), cursor)
            self.assertTrue(subscribed["recovered"])
            self.assertEqual(sorted(told), sorted(messages))

    def test_a_crash_begins_anew(self):
        with self.broker() as broker:
            client = self.client(broker)
            self.fill(client)
            client = self.restart(broker)  # a state was there, and was used
            epoch = client.welcome["epoch"]
            cursor = self.ask(client, "history", op="history", topic="news/uk")["cursor"]
            broker.kill()
            broker.start()
            client = self.client(broker)
            self.assertNotEqual(epoch, client.welcome["epoch"])
            self.assertEqual({topic: [] for topic in TOPICS}, self.histories(client))
            subscribed, messages = self.replay(client, cursor)
            self.assertEqual((False, "epoch_changed", []),
                             (subscribed["recovered"], subscribed["code"], messages))

    def test_a_damaged_state_is_set_aside(self):
        with self.broker() as broker:
            client = self.client(broker)
            self.fill(client)
            broker.stop()
            content = bytearray(self.state.read_bytes())
            content[len(content) // 2] ^= 1
            self.state.write_bytes(content)
            broker.start()
            again = self.client(broker)
            self.assertNotEqual(client.welcome["epoch"], again.welcome["epoch"])
            self.assertEqual([], self.history(again, "news/uk"))
            self.assertEqual(content, (self.folder / "fanfare.state.damaged-1").read_bytes())
            self.assertFalse(self.state.exists())
            self.assertRegex(broker.log(), r'level=warn msg="the saved state was set aside.*" '
                                           r'file=fanfare.state.damaged-1 reason=".*checksum.*"')

    def test_other_partitions(self):
        with self.broker() as broker:
            client = self.client(broker)
            self.fill(client)
            before = self.histories(client)
            broker.stop()
            usual = broker.arguments
            broker.arguments = usual + ["--partitions", "65"]
            broker.start()
            self.assertNotEqual(client.welcome["epoch"], self.client(broker).welcome["epoch"])
            self.assertIn("it is of 64 partitions, this broker has 65", broker.log())
            broker.stop()
            # The way back that the documentation names.
            (self.folder / "fanfare.state.unusable-1").rename(self.state)
            broker.arguments = usual
            broker.start()
            again = self.client(broker)
            self.assertEqual(client.welcome["epoch"], again.welcome["epoch"])
            self.assertEqual(before, self.histories(again))

    def test_time_passes_while_nobody_runs(self):
        with self.broker(rules=["match=short/#,history_messages=9,history_ttl=3s",
                                "match=long/#,history_messages=9"]) as broker:
            client = self.client(broker)
            cursor = self.ask(client, "subscribed", op="subscribe", filters=["#"])["cursor"]
            self.publish(client, "short/a", data=1)
            self.publish(client, "long/a", data=1)
            broker.stop()
            time.sleep(3.2)
            broker.start()
            client = self.client(broker)
            self.assertEqual([], self.history(client, "short/a"))
            self.assertEqual(1, len(self.history(client, "long/a")))
            client.command(op="subscribe", id=2, filters=["short/#"], start={"after": cursor})
            subscribed = client.read_op("subscribed")
            self.assertEqual((False, "evicted"), (subscribed["recovered"], subscribed["code"]))

    def test_one_directory_is_for_one_broker(self):
        with self.broker() as broker:
            result = run_fanfare("serve", "--listen", "127.0.0.1:0", "--state-dir",
                                 str(self.folder))
            self.assertEqual((1, ""), (result.returncode, result.stdout))
            self.assertIn(f"state-dir: {self.folder} is in use by another broker", result.stderr)
            self.assertEqual([], self.history(self.client(broker), "news/uk"))

    def test_a_directory_that_cannot_be_used(self):
        nowhere = self.folder / "below" / "state"
        file = self.folder.parent / "file"
        file.write_text("")
        for path, words in ((nowhere, "No such file or directory"), (file, "Not a directory")):
            result = run_fanfare("serve", "--listen", "127.0.0.1:0", "--state-dir", str(path))
            self.assertEqual((1, ""), (result.returncode, result.stdout))
            self.assertIn(f"fanfare: state-dir: {path} cannot be", result.stderr)
            self.assertIn(words, result.stderr)

    def test_a_full_disk(self):
        def limit_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

        with self.broker(preexec=limit_files) as broker:
            client = self.client(broker)
            for number in range(10):
                self.publish(client, "a", text=str(number) * 30_000)
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(1, broker.process.wait(STOP_TIMEOUT_S))
            self.assertRegex(broker.log(), r'level=error msg="the state cannot be saved: .*" '
                                           r'error="File too large"')
            self.assertIn("msg=stopped", broker.log())
            self.assertEqual({"lock"}, set(os.listdir(self.folder)))
            broker.preexec = None
            broker.start()
            again = self.client(broker)
            self.assertNotEqual(client.welcome["epoch"], again.welcome["epoch"])

    def test_a_second_signal_saves_nothing(self):
        with self.broker(close_timeout="30s") as broker:
            client = self.client(broker)
            self.fill(client)
            broker.process.send_signal(signal.SIGTERM)
            client.read_op("goodbye")  # and never answers the Close frame, so the drain goes on
            broker.process.send_signal(signal.SIGTERM)
            broker.expect_end(exit_code=1)
            self.assertIn("the state is not saved after a second signal", broker.log())
            self.assertFalse(self.state.exists())
            broker.start()
            with self.client(broker) as again:
                self.assertNotEqual(client.welcome["epoch"], again.welcome["epoch"])
            client.close()

    def test_without_it_nothing_is_left(self):
        with Broker("--topic-rule", KEEP_ALL) as broker:
            client = self.client(broker)
            self.publish(client, "a", data=1)
            again = self.restart(broker)
            self.assertNotEqual(client.welcome["epoch"], again.welcome["epoch"])
            self.assertEqual([], self.history(again, "a"))
            self.assertNotIn("state", broker.log().replace("state-dir=", ""))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
