#!/usr/bin/python3
"""SIGHUP: what can change in a running broker changes, the rest is said, and a broken file changes
nothing.
"""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import broker_process
from broker_process import Broker, Options, clean_environment, die_with_parent, wait_until
from raw_client import RawClient, upgrade_request

ORIGIN = "https://app.example"


class ReloadTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="fanfare-reload-")
        self.addCleanup(self.folder.cleanup)
        self.file = pathlib.Path(self.folder.name) / "fanfare.toml"

    def reload(self, broker, expected):
        """Answers the lines that the reload has logged, the last of which has these words."""
        before = len(broker.log())
        broker.process.send_signal(signal.SIGHUP)
        wait_until(lambda: expected in broker.log()[before:], 10, expected)
        return [line.partition(" ")[2] for line in broker.log()[before:].splitlines()]

    def upgrade_status(self, broker):
        with RawClient(("127.0.0.1", broker.port), upgrade=False) as client:
            client.send(upgrade_request(Origin=ORIGIN))
            return client.read_response().status

    def test_what_changes_and_what_does_not(self):
        self.file.write_text('log_level = "info"\n')
        with Broker("--config", str(self.file), "--workers", "2", "--close-timeout", "4s") as broker:
            client = RawClient(("127.0.0.1", broker.port))
            self.assertEqual(403, self.upgrade_status(broker))
            self.file.write_text(f'allowed_origins = ["{ORIGIN}"]\npartitions = 128\n'
                                 'close_timeout = "3s"\ndrain_delay = "1s"\n')
            lines = self.reload(broker, "msg=\"configuration reloaded\"")
            self.assertEqual([
                f'level=info msg="a setting has changed" name=allowed-origins before=""'
                f' after={ORIGIN}',
                'level=warn msg="a setting has changed that only a restart applies" name=partitions'
                ' before=64 after=128',
                'level=info msg="a setting has changed" name=drain-delay before=0s after=1s',
                # The flag --close-timeout goes before the file.
                'level=info msg="configuration reloaded" changed=2 refused=1'], lines)
            wait_until(lambda: self.upgrade_status(broker) == 101, 10, "the new origin")
            # Again: nothing new but what still needs a restart.
            lines = self.reload(broker, "msg=\"configuration reloaded\"")
            self.assertEqual(2, len(lines))
            self.assertIn("changed=0 refused=1", lines[1])
            # The client has not noticed anything.
            client.command(op="ping", id=1)
            self.assertEqual({"op": "pong", "id": 1}, client.read_json())
            client.close()
            began = time.monotonic()
            broker.stop()
            self.assertGreaterEqual(time.monotonic() - began, 1, "the new drain-delay")

    def test_a_broken_file_changes_nothing(self):
        self.file.write_text(f'allowed_origins = ["{ORIGIN}"]\n')
        with Broker("--config", str(self.file)) as broker:
            for text in ("allowed_origins = [", 'no_such_setting = 1\n', 'outbound_soft = "2MiB"\n'):
                self.file.write_text(text)
                lines = self.reload(broker, "level=error")
                self.assertEqual(1, len(lines))
                self.assertIn('msg="the configuration is invalid; nothing has changed"', lines[0])
                self.assertEqual(101, self.upgrade_status(broker))
            self.file.unlink()
            self.reload(broker, "level=error")
            self.assertEqual(101, self.upgrade_status(broker))

    def test_history_stays_within_half_of_the_memory(self):
        self.file.write_text('log_level = "info"\n')
        with Broker("--config", str(self.file), "--memory-max", "32MiB", "--history-memory", "1GiB",
                    "--topic-rule", "match=a,history_messages=1000") as broker:
            self.file.write_text('log_level = "debug"\n')
            self.reload(broker, "msg=\"configuration reloaded\"")
            with RawClient(("127.0.0.1", broker.port)) as client:
                for number in range(400):  # 24 MB
                    client.command(op="publish", id=number, topic="a", text="x" * 60_000)
                    self.assertEqual("published", client.read_json()["op"])
            kept = wait_until(lambda: broker.metrics()['fanfare_memory_bytes{kind="history"}'], 10,
                              "history is kept")
            self.assertGreater(kept, 15 << 20)
            self.assertLessEqual(kept, 17 << 20)

    def test_many_at_once(self):
        self.file.touch()
        with Broker("--config", str(self.file), "--workers", "2") as broker:
            for _ in range(100):
                broker.process.send_signal(signal.SIGHUP)
            self.assertEqual(200, broker.get("/readyz").status)

    def test_the_hang_up_of_its_terminal_stops_it(self):
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [Options.broker, "serve", "--listen", "127.0.0.1:0"], stdin=terminal,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(),
            start_new_session=True, preexec_fn=die_with_parent)
        self.addCleanup(process.kill)
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)  # the terminal is still there: a reload
        time.sleep(0.5)
        self.assertIsNone(process.poll())
        os.close(terminal)
        os.close(controller)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=20)
        self.assertEqual(0, process.returncode)
        self.assertIn(b"configuration reloaded", err)
        self.assertIn(b"msg=stopped signals=1", err)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
