#!/usr/bin/python3
"""Ten thousand subscribers that negotiated compression: a message is compressed once by each worker,
not once for each of them, and a connection with compression costs no more memory than one without.
"""

import json
import resource
import select
import socket
import sys
import unittest
import zlib

import broker_process
from broker_process import Broker, Options
from raw_client import TEXT, frame, take_frame, upgrade_request

TIMEOUT_S = 50
WORKERS_COUNT = 2
CONNECTED_AT_ONCE = 100
TOPIC = "market/quotes"
OFFER = "permessage-deflate; client_max_window_bits"
RSV1 = 0x40
# What a connection may cost with compression, of what it costs without.
MEMORY_RATIO_MAX = 1.10


def json_message(count, bytes_count=1024):
    """A publish of JSON data, so long in all."""
    data = {"count": count, "quotes": []}
    while True:
        symbol = f"SYM{len(data['quotes']) * 7919 % 10_000:04}"
        data["quotes"].append({"symbol": symbol, "bid": 101.25 + len(data["quotes"]), "open": True})
        text = json.dumps(data, separators=(",", ":"))
        if len(text) >= bytes_count:
            return text


class Subscriber:
    """As little of a client as can tell frames apart: ten thousand of them must fit one process."""

    def __init__(self, client_socket):
        self.socket = client_socket
        self.received = b""

    def fileno(self):
        return self.socket.fileno()

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the broker ended a connection: {self.received!r}")
        self.received += data

    def take_head(self):
        """The response's head; None while it has not come."""
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        self.received = rest
        return head

    def take_frame(self):
        """(first byte, payload) of the next frame; None while it has not come."""
        taken = take_frame(self.received)
        if taken is None:
            return None
        first, payload, end = taken
        self.received = self.received[end:]
        return first, payload


class Crowd:
    """Many subscribers of one topic in one process."""

    def __init__(self, port, count, is_compressed):
        self.subscribers = []
        command = json.dumps({"op": "subscribe", "id": 1, "filter": TOPIC})
        fields = {"Sec_WebSocket_Extensions": OFFER}
        while len(self.subscribers) < count:
            batch = [Subscriber(socket.create_connection(("127.0.0.1", port), 20))
                     for _ in range(min(CONNECTED_AT_ONCE, count - len(self.subscribers)))]
            for subscriber in batch:
                subscriber.socket.sendall(upgrade_request(**fields))
            for head in self.take(batch, Subscriber.take_head):
                if not head.startswith(b"HTTP/1.1 101 "):
                    raise AssertionError(f"no upgrade: {head!r}")
                if (b"permessage-deflate" in head) != is_compressed:
                    raise AssertionError(f"another agreement about compression: {head!r}")
            self.take_ops(batch, "welcome")
            for subscriber in batch:
                subscriber.socket.sendall(frame(TEXT, command))
            self.take_ops(batch, "subscribed")
            self.subscribers += batch

    def close(self):
        for subscriber in self.subscribers:
            subscriber.socket.close()

    def take_ops(self, batch, op):
        for first, payload in self.take(batch, Subscriber.take_frame):
            if first != 0x80 | TEXT or json.loads(payload)["op"] != op:
                raise AssertionError(f"no {op} but {first:02x} {payload!r}")

    @staticmethod
    def take(subscribers, take_one):
        """take_one() of each, as soon as it has come."""
        taken = []
        poller = select.epoll()
        waiting = {}
        for subscriber in subscribers:
            result = take_one(subscriber)
            if result is not None:
                taken.append(result)
                continue
            waiting[subscriber.fileno()] = subscriber
            poller.register(subscriber.fileno(), select.EPOLLIN)
        with poller:
            while waiting:
                events = poller.poll(TIMEOUT_S)
                if not events:
                    raise AssertionError(f"{len(waiting)} subscribers wait in vain")
                for descriptor, _ in events:
                    subscriber = waiting[descriptor]
                    subscriber.receive()
                    result = take_one(subscriber)
                    if result is not None:
                        taken.append(result)
                        poller.unregister(descriptor)
                        del waiting[descriptor]
        return taken

    def take_broadcast(self):
        """The one frame that all of them got; fails if two got different ones."""
        frames = set(self.take(self.subscribers, Subscriber.take_frame))
        if len(frames) != 1:
            raise AssertionError(f"{len(frames)} different frames of one message")
        if any(subscriber.received for subscriber in self.subscribers):
            raise AssertionError("something follows the message")
        return frames.pop()


def compressed_by_shard(broker):
    """How many messages each shard has compressed."""
    name = "fanfare_messages_compressed_total"
    return [int(line.rsplit(" ", 1)[1]) for line in broker.metrics_text().splitlines()
            if line.startswith(name)]


class CompressedFanoutTest(unittest.TestCase):
    def publish(self, broker, crowd, count, is_compressed):
        """Publishes one message of 1 KiB; answers how many bytes each subscriber got for it."""
        data = json_message(count)
        response = broker.get(f"/topics/{TOPIC}", "POST", body=data)
        self.assertEqual(200, response.status, response.content)
        first, payload = crowd.take_broadcast()
        self.assertEqual(0x80 | (RSV1 if is_compressed else 0) | TEXT, first)
        text = payload
        if is_compressed:
            text = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        message = json.loads(text)
        self.assertEqual(("message", TOPIC), (message["op"], message["topic"]))
        self.assertEqual(json.loads(data), message["data"])
        return len(payload)

    def measure(self, subscribers_count, compression):
        """Resident bytes per connection, after messages have gone to all of them."""
        is_compressed = compression == "on"
        with Broker("--workers", str(WORKERS_COUNT), "--compression", compression,
                    "--connections-max", str(subscribers_count + 100),
                    "--heartbeat-interval", "5m") as broker:
            before_bytes = broker.resident_bytes()
            crowd = Crowd(broker.port, subscribers_count, is_compressed)
            try:
                for count in range(3):
                    self.publish(broker, crowd, count, is_compressed)
                compressed_before = compressed_by_shard(broker)
                sent_bytes = self.publish(broker, crowd, 3, is_compressed)
                compressed = [after - before for after, before in
                              zip(compressed_by_shard(broker), compressed_before)]
                self.assertEqual([int(is_compressed)] * WORKERS_COUNT, compressed)
                metrics = broker.metrics()
                self.assertEqual(4 * subscribers_count, metrics["fanfare_deliveries_total"])
                cost_bytes = (broker.resident_bytes() - before_bytes) / subscribers_count
            finally:
                crowd.close()
        print(f"compression {compression}: {subscribers_count} subscribers, the message compressed "
              f"{sum(compressed)} times, {sent_bytes} bytes for each, "
              f"{cost_bytes:.0f} resident bytes per connection")
        return cost_bytes

    def test_once_for_all(self):
        # Sanitizers keep memory back and are slow, so that only the counting is tested with them.
        subscribers_count = 1_000 if Options.is_sanitized else 10_000
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.assertGreaterEqual(hard, subscribers_count + 200, "ulimit -Hn")
        plain_bytes = self.measure(subscribers_count, "off")
        compressed_bytes = self.measure(subscribers_count, "on")
        if not Options.is_sanitized:
            self.assertLessEqual(compressed_bytes, MEMORY_RATIO_MAX * plain_bytes)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
