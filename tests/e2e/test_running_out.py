#!/usr/bin/python3
"""A broker that runs out of something refuses or waits, loses nothing of what it has, says so once,
costs no CPU meanwhile, and recovers by itself.
"""

import os
import pathlib
import resource
import signal
import socket
import sys
import time
import unittest

import broker_process
from broker_process import Broker, Options, wait_until
from raw_client import RawClient, upgrade_request

# What the limit on open files leaves to a table; the broker has two of them.
FILES_MAX = 128
# What the broker keeps of its table to say 503 from.
REFUSAL_SLOTS_COUNT = 64
PATIENCE_S = 30


def limit_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))


def cpu_seconds(pid):
    """User and system time of all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class DescriptorsTest(unittest.TestCase):
    def test_more_connections_than_open_files(self):
        admitted_max = 2 * FILES_MAX - REFUSAL_SLOTS_COUNT
        with Broker("--workers", "1", "--close-timeout", "1s", "--connections-max",
                    str(admitted_max), preexec=limit_files) as broker:
            if broker.is_plain:
                self.skipTest("there are no tables on this kernel")
            place = ("127.0.0.1", broker.port)
            self.assertNotIn("connections-max lowered", broker.log())
            established = [RawClient(place) for _ in range(admitted_max)]
            for client in established:
                client.command(op="subscribe", id=1, filter="a")
                client.read_op("subscribed")
            # Many more than there is room for; the kernel has a place in its queue for each.
            crowd = [RawClient(place, upgrade=False) for _ in range(400)]
            for client in crowd:
                client.send(upgrade_request())
            self.assertEqual(503, crowd[0].read_response().status)
            # Those who are refused do not go away: the table is full, and the others wait.
            before_s = cpu_seconds(broker.pid)
            publisher = established[0]
            for number in range(100):
                publisher.command(op="publish", topic="a", data=number)
                time.sleep(0.01)
            for client in established:
                for number in range(100):
                    self.assertEqual(number, client.read_op("message")["data"])
            time.sleep(1)
            if not Options.is_sanitized:  # 19,200 deliveries and two seconds
                self.assertLess(cpu_seconds(broker.pid) - before_s, 1)
            # All of them are told in the end, as room becomes free.
            for client in crowd[1:]:
                client.socket.settimeout(PATIENCE_S)
                self.assertEqual(503, client.read_response().status)
                client.close()
            crowd[0].close()
            for client in established:
                client.close()
            # A subscriber finds room again.
            def upgraded():
                client = RawClient(place, upgrade=False)
                client.send(upgrade_request())
                is_in = client.read_response().status == 101
                client.close()
                return is_in
            wait_until(upgraded, PATIENCE_S, "room again")
            self.assertLessEqual(broker.log().count("accept"), 2)

    def test_the_limit_falls_while_the_broker_runs(self):
        """A limit that falls does not reach the table, which was made before."""
        with Broker("--workers", "2") as broker:
            if broker.is_plain:
                self.skipTest("there are no tables on this kernel")
            place = ("127.0.0.1", broker.port)
            resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (16, 16))
            clients = [RawClient(place) for _ in range(100)]
            for client in clients:
                client.command(op="ping", id=1)
                client.read_op("pong")
                client.close()
            self.assertNotIn("level=warn", broker.log())


class MemoryTest(unittest.TestCase):
    @unittest.skipIf("--sanitized" in sys.argv, "the sanitizer has an allocator of its own")
    def test_the_end_of_memory_is_said(self):
        with Broker("--workers", "1", "--topic-rule", "match=#,history_messages=1000000000",
                    "--history-memory", "4GiB") as broker:
            size = int(pathlib.Path(f"/proc/{broker.pid}/statm").read_text().split()[0])
            limit = size * resource.getpagesize() + (32 << 20)
            resource.prlimit(broker.pid, resource.RLIMIT_AS, (limit, limit))
            client = RawClient(("127.0.0.1", broker.port))
            text = "x" * 60_000
            try:
                for number in range(4_000):
                    client.command(op="publish", topic="a", text=text)
            except OSError:
                pass
            self.assertEqual(-signal.SIGABRT, broker.process.wait(PATIENCE_S))
            broker.process = None
            self.assertIn("fanfare: out of memory", broker.log())
            client.close()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
