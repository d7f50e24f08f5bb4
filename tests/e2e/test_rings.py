#!/usr/bin/python3
"""More connections than one ring's table has room for: a worker owns several rings, and nobody
outside can tell. A low limit on open files makes the tables small.
"""

import os
import pathlib
import resource
import sys
import time
import unittest

import broker_process
from broker_process import Broker, wait_until
from raw_client import RawClient

FILES_MAX = 64
CLIENTS_COUNT = 500
MESSAGES_COUNT = 20


def limit_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))


def rings_count(pid):
    """The io_urings among the descriptors of a process."""
    count = 0
    for file in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += "io_uring" in os.readlink(file)
        except FileNotFoundError:  # closed meanwhile
            pass
    return count


class RingsTest(unittest.TestCase):
    def arrive(self, count):
        clients = [RawClient(self.place) for _ in range(count)]
        for client in clients:
            client.command(op="subscribe", id=1, filter="news/#")
        for client in clients:
            client.read_op("subscribed")
        return clients

    def deliver(self, clients, first):
        """Everybody gets everything in order, whoever publishes."""
        for number in range(first, first + MESSAGES_COUNT):
            clients[number % len(clients)].command(op="publish", topic="news/a", data=number)
            if number % 4 == 0:
                time.sleep(0.02)  # several turns
        for client in clients:
            found = sorted(client.read_op("message")["data"] for _ in range(MESSAGES_COUNT))
            self.assertEqual(list(range(first, first + MESSAGES_COUNT)), found)

    def test_several_rings_are_one_broker(self):
        with Broker("--workers", "2", "--connections-max", str(CLIENTS_COUNT + 20),
                    "--heartbeat-interval", "3s", preexec=limit_files) as broker:
            if broker.is_plain:
                self.skipTest("there are no tables on this kernel")
            self.assertNotIn("connections-max lowered", broker.log())
            # 584 sockets at most per worker, of 64 in a table.
            self.assertEqual(2 * 10, rings_count(broker.pid))
            self.place = ("127.0.0.1", broker.port)
            clients = self.arrive(CLIENTS_COUNT)
            self.deliver(clients, 0)
            # Places on all rings become free, and are taken again.
            for client in clients[::3]:
                client.reset()
            kept = [client for index, client in enumerate(clients) if index % 3 != 0]
            wait_until(lambda: broker.metrics()["fanfare_connections"] == len(kept) + 1, 20, "gone")
            clients = kept + self.arrive(CLIENTS_COUNT - len(kept))
            self.deliver(clients, 100)
            # Pings went to all of them meanwhile, and pongs came from all rings: nobody is evicted.
            for _ in range(4):
                time.sleep(1)
                for client in clients:
                    client.command(op="ping", id=2)
                for client in clients:
                    client.read_op("pong")
            self.assertEqual(CLIENTS_COUNT + 1, broker.metrics()["fanfare_connections"])
            os.kill(broker.pid, 15)
            for client in clients:
                self.assertEqual(1001, client.read_close()[0])
                client.close()
            broker.expect_end()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
