#!/usr/bin/python3
"""A stop is a drain: with thousands of clients whose queues are full, with clients that never read,
and behind a load balancer that needs a while to notice.

FANFARE_TEST_CLIENTS says how many clients there are; 10000 is the full size.
"""

import errno
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import unittest

import broker_process
from broker_process import Broker, Options, wait_until
from raw_client import CLOSE, TEXT, RawClient, frame, take_frames, upgrade_request

CLIENTS_COUNT = int(os.environ.get("FANFARE_TEST_CLIENTS", 300 if "--sanitized" in sys.argv
                                   else 2_000))
STALLED_COUNT = 20
CONNECTED_AT_ONCE = 100
MESSAGES_COUNT = 48
MESSAGE_BYTES = 4_096
NUMBER = re.compile(rb'"data":"(\d+) ')
# The kernel is to take as little of the queues as it can.
RECEIVE_BUFFER_BYTES = 4_096
DRAIN_TIMEOUT_S = 12 if CLIENTS_COUNT <= 2_000 else 40
SPREAD_MS = 10_000
RETRY_MS_MIN = 500
TIMEOUT_S = 60


class Reader:
    """As little of a client as can tell what came: thousands of them must fit one process."""

    def __init__(self, place):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(place)
        self.rest = b""
        self.texts = []  # what is no message
        self.numbers = []  # of the messages, as they came
        self.close_code = None
        self.is_ended = False

    def receive(self):
        """Takes what has come; an end without a Close frame is told by close_code."""
        try:
            data = self.socket.recv(262_144)
        except ConnectionResetError:
            data = b""
        if not data:
            self.is_ended = True
            return
        frames, self.rest = take_frames(self.rest + data)
        for opcode, payload in frames:
            self.take(opcode, payload)

    def take(self, opcode, payload):
        if opcode == CLOSE:
            self.close_code = struct.unpack_from("!H", payload)[0]
            try:
                self.socket.sendall(frame(CLOSE, payload[:2]))
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # so late that the broker waits for it no more
            return
        match = NUMBER.search(payload, 0, 80)
        if match:
            self.numbers.append(int(match.group(1)))
        else:
            self.texts.append(json.loads(payload))

    def take_head(self):
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(4_096)
            if not data:
                raise EOFError(f"no response: {head!r}")
            head += data
        head, _, self.rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no upgrade: {head!r}")

    def read_texts(self, count):
        while len(self.texts) < count:
            self.receive()
            if self.is_ended:
                raise EOFError("the broker ended a connection")


def connect_readers(port, count):
    readers = []
    command = frame(TEXT, json.dumps({"op": "subscribe", "id": 1, "filter": "load/#"}))
    while len(readers) < count:
        batch = [Reader(("127.0.0.1", port))
                 for _ in range(min(CONNECTED_AT_ONCE, count - len(readers)))]
        for reader in batch:
            reader.socket.sendall(upgrade_request())
        for reader in batch:
            reader.take_head()
            reader.socket.sendall(command)
        for reader in batch:
            reader.read_texts(2)  # welcome, subscribed
        readers += batch
    return readers


def read_all(readers, timeout_s):
    """Until each of them has ended."""
    waiting = {reader.socket.fileno(): reader for reader in readers}
    deadline = time.monotonic() + timeout_s
    with select.epoll() as poller:
        for descriptor in waiting:
            poller.register(descriptor, select.EPOLLIN)
        while waiting and time.monotonic() < deadline:
            for descriptor, _ in poller.poll(1):
                waiting[descriptor].receive()
                if waiting[descriptor].is_ended:
                    poller.unregister(descriptor)
                    del waiting[descriptor]
    return len(waiting)


def publish(port, count):
    """Publishes so many messages; all of them have been acknowledged when it returns."""
    with RawClient(("127.0.0.1", port)) as client:
        for number in range(count):
            text = f"{number} ".ljust(MESSAGE_BYTES, "x")
            client.command(op="publish", id=number, topic=f"load/{number % 7}", data=text)
        acknowledged = {client.read_op("published")["id"] for _ in range(count)}
    assert acknowledged == set(range(count))


class CrowdTest(unittest.TestCase):
    def setUp(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.assertGreaterEqual(hard, CLIENTS_COUNT + 200, "ulimit -Hn")

    def check_reader(self, reader):
        self.assertEqual(1001, reader.close_code)
        # The order is one per topic.
        for topic in range(7):
            self.assertEqual(list(range(topic, MESSAGES_COUNT, 7)),
                             [number for number in reader.numbers if number % 7 == topic])
        self.assertEqual(MESSAGES_COUNT, len(reader.numbers))
        self.assertEqual(["goodbye"], [text["op"] for text in reader.texts[2:]])

    def check_spread(self, retries_ms):
        self.assertGreaterEqual(min(retries_ms), RETRY_MS_MIN)
        self.assertLessEqual(max(retries_ms), RETRY_MS_MIN + SPREAD_MS)
        tenths = [0] * 10
        for retry_ms in retries_ms:
            tenths[min((retry_ms - RETRY_MS_MIN) * 10 // SPREAD_MS, 9)] += 1
        expected = len(retries_ms) / 10
        for count in tenths:  # more than five standard deviations
            self.assertLess(abs(count - expected), 5 * expected ** 0.5)
        return tenths

    def test_full_queues(self):
        with Broker("--workers", "2", "--connections-max", str(CLIENTS_COUNT + 100),
                    "--drain-timeout", f"{DRAIN_TIMEOUT_S}s", "--compression", "off") as broker:
            readers = connect_readers(broker.port, CLIENTS_COUNT)
            stalled, readers = readers[:STALLED_COUNT], readers[STALLED_COUNT:]
            publish(broker.port, MESSAGES_COUNT)
            waiting_bytes = broker.metrics()["fanfare_outbound_bytes"]
            # Most of it waits in the broker, not in the kernel.
            self.assertGreater(waiting_bytes, CLIENTS_COUNT * MESSAGES_COUNT * MESSAGE_BYTES / 4)
            began = time.monotonic()
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(0, read_all(readers, TIMEOUT_S))
            read_s = time.monotonic() - began
            broker.expect_end(timeout_s=TIMEOUT_S)
            seconds = time.monotonic() - began
            for reader in readers:
                self.check_reader(reader)
            tenths = self.check_spread([reader.texts[2]["retry_ms"] for reader in readers])
            self.assertGreaterEqual(seconds, DRAIN_TIMEOUT_S - 0.1, "the stalled were not waited for")
            self.assertLess(seconds, DRAIN_TIMEOUT_S + (20 if Options.is_sanitized else 3))
            log = broker.log()
            self.assertIn(f"level=warn msg=\"connections were cut with unsent bytes in their queues\""
                          f" cut={STALLED_COUNT} ", log)
            self.assertIn(f" told={CLIENTS_COUNT} cut={STALLED_COUNT} ", log)
            for reader in stalled:  # what the kernel held is there, and then an end
                while not reader.is_ended:
                    reader.receive()
                self.assertIsNone(reader.close_code)
            for reader in readers + stalled:
                reader.socket.close()
            print(f"\n{CLIENTS_COUNT} clients, {waiting_bytes / 1e6:.0f} MB in the queues: all who"
                  f" read had all after {read_s:.2f} s, the end came after {seconds:.2f} s;"
                  f" retry_ms by tenths of the window: {tenths}\n"
                  + log.splitlines()[-1], file=sys.stderr)


class Prober(threading.Thread):
    """Connects and asks, again and again, until the port is closed. What it heard, in order:
    statuses, "refused", or the name of an error."""

    def __init__(self, port, request):
        super().__init__(daemon=True)
        self.port = port
        self.request = request
        self.heard = []

    def run(self):
        while not self.heard or self.heard[-1] != "refused":
            self.heard.append(self.probe())

    def probe(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S) as probe:
                probe.sendall(self.request)
                data = b""
                while b"\r\n" not in data:
                    more = probe.recv(4_096)
                    if not more:
                        return f"the end after {data!r}"
                    data += more
                if b" 503 " in data and b"\r\nRetry-After: " not in data \
                        and b"/readyz" not in self.request:
                    return f"no Retry-After in {data!r}"
                return int(data.split(b" ")[1])
        except OSError as error:
            return "refused" if error.errno == errno.ECONNREFUSED else repr(error)


class DelayTest(unittest.TestCase):
    def test_a_load_balancer_notices_first(self):
        with Broker("--workers", "2", "--drain-delay", "2s") as broker:
            client = RawClient(("127.0.0.1", broker.port))
            client.command(op="subscribe", id=1, filter="a")
            client.read_op("subscribed")
            probers = [Prober(broker.port, request) for request in (
                b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1",
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket"
                b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                b"\r\n")]
            for prober in probers:
                prober.start()
            time.sleep(0.3)
            began = time.monotonic()
            broker.process.send_signal(signal.SIGTERM)
            wait_until(lambda: all(prober.heard[-1] == 503 for prober in probers), 5, "503")
            self.assertLess(time.monotonic() - began, 1)
            # Who is connected goes on as ever.
            while time.monotonic() - began < 1.5:
                client.command(op="publish", id=2, topic="a", data=1)
                self.assertEqual({"message", "published"},
                                 {client.read_json()["op"], client.read_json()["op"]})
            self.assertEqual("goodbye", client.read_json()["op"])
            self.assertGreater(time.monotonic() - began, 1.9)
            self.assertEqual(1001, client.read_close()[0])
            client.close()
            broker.expect_end()
            for prober, before in zip(probers, (200, 200, 101)):
                prober.join(TIMEOUT_S)
                self.assertFalse(prober.is_alive())
                self.assertEqual({before, 503, "refused"}, set(prober.heard))
                self.assertEqual(sorted(prober.heard, key=(before, 503, "refused").index),
                                 prober.heard, "first ready, then 503, then refused")


class QueueTest(unittest.TestCase):
    def test_who_waits_in_the_listen_queue_is_told(self):
        with Broker("--workers", "1") as broker:
            # While the broker is held, connections pile up in the queue of the kernel.
            broker.process.send_signal(signal.SIGSTOP)
            waiting = [RawClient(("127.0.0.1", broker.port), upgrade=False) for _ in range(300)]
            for client in waiting[:150]:  # the others have not said anything yet
                client.send(upgrade_request())
            broker.process.send_signal(signal.SIGTERM)
            broker.process.send_signal(signal.SIGCONT)
            refused_count = 0
            for client in waiting:
                response = client.read_response()
                # A worker may be awake before the signal is: whoever it lets in then is told 1001.
                self.assertIn(response.status, (101, 503))
                if response.status == 503:
                    self.assertIn("retry-after", response.fields)
                    refused_count += 1
                client.read_to_end()
                client.close()
            self.assertGreaterEqual(refused_count, 150, "those who have said nothing yet")
            broker.expect_end()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
