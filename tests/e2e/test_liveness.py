#!/usr/bin/python3
"""Peers that fall silent are gone within the bound, those that live stay, and what the dead ones
held is free again.

The dead are a process of their own, this file with --sleepers, so that they can be stopped by a
signal in the middle of whatever they do: their kernel still answers for them, as it does for a
program that hangs.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import unittest

import broker_process
from broker_process import Broker, Options, wait_until
from raw_client import PING, PONG, TEXT, RawClient, frame

SLEEPERS_COUNT = 200
LIVING_COUNT = 20
INTERVAL_S = 1
TIMEOUT_S = 1
# The Close frame of an eviction gets a second to leave; two ticks of the wheel and our looking add
# little. Under sanitizers, on a machine with other work, looking alone can take a second.
GRACE_S = 2
LATE_S = 2
ROUNDS = 4
GROWTH_BYTES_MAX = 2 * 1024 * 1024
HEARTBEAT = ("--heartbeat-interval", f"{INTERVAL_S}s", "--heartbeat-timeout", f"{TIMEOUT_S}s")
# Each is touched in the first round, so that later growth is not theirs.
FEW_BUFFERS = ("--recv-buffers", "32")
GAUGES = ("fanfare_connections", "fanfare_websockets", 'fanfare_subscriptions{state="live"}', "fanfare_filters",
          "fanfare_outbound_bytes", 'fanfare_memory_bytes{kind="reassembly"}')


class Living:
    """Clients that do nothing but answer pings, on a thread of their own."""

    def __init__(self, place, count):
        self.clients = [RawClient(place) for _ in range(count)]
        self.ended = 0
        self.pongs = 0
        self.is_stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
            while not self.is_stopping:
                for key, _ in selector.select(timeout=0.1):
                    try:
                        opcode, payload = key.data.read_frame()
                    except (EOFError, OSError):
                        selector.unregister(key.fileobj)
                        self.ended += 1
                        continue
                    if opcode == PING:
                        key.data.send_frame(PONG, payload)
                        self.pongs += 1

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        for client in self.clients:
            client.close()


def sleepers_main(port, count, how):
    """The dead: subscribed, in the middle of a message, and then as `how` says."""
    clients = []
    for number in range(count):
        client = RawClient(("127.0.0.1", port), receive_buffer_bytes=4096)
        client.command(op="subscribe", id=1, filters=[f"dead/{number}/{level}" for level in "abcd"])
        client.read_op("subscribed")
        client.send(frame(TEXT, '{"op":"publish","topic":"x","text":"' + "x" * 20_000)[:9_000])
        clients.append(client)
    print("ready", flush=True)
    while True:
        if how == "deaf":
            time.sleep(3600)  # the receive buffers fill, and nobody looks
        for client in clients:  # "rude": reads everything, and answers nothing
            client.socket.setblocking(False)
            try:
                client.socket.recv(65536)
            except OSError:
                pass
        time.sleep(0.05)


class LivenessTest(unittest.TestCase):
    def setUp(self):
        self.broker = self.enterContext(Broker("--workers", "2", *HEARTBEAT, *FEW_BUFFERS))
        self.living = Living(("127.0.0.1", self.broker.port), LIVING_COUNT)
        self.addCleanup(self.living.stop)

    def start_sleepers(self, how):
        process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--sleepers", str(self.broker.port),
             str(SLEEPERS_COUNT), how],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            preexec_fn=broker_process.die_with_parent)
        self.addCleanup(self.end, process)
        self.assertEqual("ready\n", process.stdout.readline())
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        process.stdout.close()

    def expect_only_the_living(self, since):
        """Waits until the dead are gone; answers how long that took."""
        bound = INTERVAL_S + TIMEOUT_S + GRACE_S + (LATE_S if Options.is_sanitized else 0)
        # The request for the metrics is a connection, too.
        wait_until(lambda: self.broker.metrics()["fanfare_connections"] == LIVING_COUNT + 1,
                   bound - (time.monotonic() - since), "the dead are evicted")
        return time.monotonic() - since

    def levels(self):
        metrics = self.broker.metrics()
        return {name: metrics[name] for name in GAUGES}

    def round(self, how):
        process = self.start_sleepers(how)
        # Those that were first may be evicted before the last has come; they came to die.
        since = time.monotonic()
        if how == "stopped":
            process.send_signal(signal.SIGSTOP)
        took = self.expect_only_the_living(since)
        self.end(process)
        return took

    def test_stopped_processes(self):
        self.check_rounds("stopped")

    def test_clients_that_answer_nothing(self):
        self.check_rounds("rude")

    def check_rounds(self, how):
        before = self.levels()
        self.assertEqual(LIVING_COUNT, before["fanfare_websockets"])
        resident = []
        for number in range(ROUNDS):
            took = self.round(how)
            self.assertEqual(before, self.levels())
            resident.append(self.broker.resident_bytes())
            print(f"{how}, round {number}: gone after {took:.1f} s, "
                  f"{resident[-1] // 1024} KiB resident")
        metrics = self.broker.metrics()
        self.assertEqual(SLEEPERS_COUNT * ROUNDS,
                         metrics['fanfare_connections_closed_total{code="4200"}'])
        self.assertEqual(0, self.living.ended)
        self.assertGreater(self.living.pongs, LIVING_COUNT)
        # The first round touches memory for the first time, and what is freed may stay with the
        # allocator. From then on a round finds what the last one left. A sanitizer keeps freed
        # memory back on purpose.
        if not Options.is_sanitized:
            self.assertLess(max(resident[1:]) - resident[0], GROWTH_BYTES_MAX)

    def test_deaf_clients_that_are_sent_to(self):
        """With full queues: a completed send counts as life, but the buffers end at some point."""
        before = self.levels()
        process = self.start_sleepers("deaf")
        publisher = RawClient(("127.0.0.1", self.broker.port))
        for number in range(SLEEPERS_COUNT):
            for _ in range(4):
                publisher.send_frame(TEXT, json.dumps(
                    {"op": "publish", "topic": f"dead/{number}/a", "text": "x" * 30_000}))
        publisher.command(op="ping", id="done")
        publisher.read_op("pong")
        publisher.close()
        self.expect_only_the_living(time.monotonic())
        wait_until(lambda: self.levels() == before, 10, "everything is as it was")
        self.end(process)
        self.assertEqual(0, self.living.ended)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    if sys.argv[1:2] == ["--sleepers"]:
        sleepers_main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    broker_process.main()
