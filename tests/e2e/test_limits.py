#!/usr/bin/python3
"""Clients that ask for too much, against a broker with its limits set low: each ends as PROTOCOL.md
says, and others are served meanwhile. And who a client is, when a proxy stands between.
"""

import contextlib
import json
import select
import socket
import struct
import time
import unittest

import broker_process
from broker_process import Broker, run_fanfare, wait_until
from raw_client import CONTINUATION, PING, PONG, TEXT, RawClient, frame, upgrade_request

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# The clients are still there when the broker stops, and do not answer its Close.
COMMON = ("--workers", "2", "--close-timeout", "500ms")


def connect_from(source, port, timeout_s=20):
    """A connected socket from one of this machine's loopback addresses."""
    return socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0))


class FromAddress(RawClient):
    """A client at a loopback address of its own, not upgraded yet."""

    def __init__(self, source, port):
        self.socket = connect_from(source, port)
        self.received = b""
        self.is_ended = False


def response_of(client, request):
    client.send(request)
    return client.read_response()


def proxy_header(source):
    addresses = socket.inet_aton(source) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 1, 2)
    return PROXY_SIGNATURE + b"\x21\x11" + struct.pack("!H", len(addresses)) + addresses


def refusals(broker, setting):
    return broker.metrics()[f'fanfare_refusals_total{{setting="{setting}"}}']


class Limits(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def client(self, broker, **how):
        return self.stack.enter_context(RawClient(("127.0.0.1", broker.port), **how))

    def from_address(self, broker, source):
        return self.stack.enter_context(FromAddress(source, broker.port))

    def expect_served(self, broker):
        """Somebody else subscribes, publishes, and receives."""
        with RawClient(("127.0.0.1", broker.port)) as other:
            other.command(op="subscribe", id=1, filter="well/+")
            other.read_op("subscribed")
            other.command(op="publish", topic="well/known", data=1)
            self.assertEqual(other.read_op("message")["topic"], "well/known")

    def test_headers_that_dribble_and_upgrades_left_half_open(self):
        with Broker("--handshake-timeout", "2s", *COMMON) as broker:
            half = upgrade_request()[:-2]
            left_open = [self.client(broker, upgrade=False) for _ in range(200)]
            for client in left_open:
                client.send(half)
            dribbling = self.client(broker, upgrade=False)
            began = time.monotonic()
            for byte in half:
                dribbling.send(bytes([byte]))
                if select.select([dribbling.socket], [], [], 0.02)[0]:
                    break  # the answer is there
            self.assertEqual(dribbling.read_response().status, 408)
            self.assertLess(time.monotonic() - began, 6)
            self.expect_served(broker)
            for client in left_open:
                self.assertEqual(client.read_response().status, 408)
                client.read_to_end()
                client.close()
            self.assertEqual(refusals(broker, "handshake-timeout"), 201)

    def test_a_flood_of_commands(self):
        with Broker("--command-rate", "100", "--subscriptions-max", "50", *COMMON) as broker:
            client = self.client(broker)
            for number in range(50):  # all that it may have, one by one
                client.command(op="subscribe", id=number, filter=f"mine/{number}")
            for number in range(50):
                self.assertEqual(client.read_json()["op"], "subscribed")
            array = json.dumps([{"op": "ping", "id": number} for number in range(1000)])
            client.send_frame(TEXT, array)
            answers = [client.read_json() for _ in range(1000)]
            refused = [answer for answer in answers if answer["op"] == "error"]
            self.assertGreater(len(refused), 800)
            self.assertEqual(refused[0]["code"], "rate_limited")
            self.assertEqual(sorted(answer["id"] for answer in answers), list(range(1000)))
            time.sleep(refused[-1]["retry_ms"] / 1000)
            client.command(op="ping", id="later")
            self.assertEqual(client.read_json(), {"op": "pong", "id": "later"})
            self.expect_served(broker)
            client.send_frame(TEXT, array)
            client.send_frame(TEXT, array)
            self.assertEqual(client.read_op("goodbye")["code"], "rate_limited")
            self.assertEqual(client.read_close()[0], 4101)
            client.read_to_end()
            self.assertGreater(refusals(broker, "command-rate"), 1000)
            client.close()
            wait_until(lambda: broker.metrics()['fanfare_connections_closed_total{code="4101"}'] == 1,
                       10, "the end is counted")

    def test_fanfare_pub_keeps_the_rate_and_the_order(self):
        with Broker("--publish-rate", "40", *COMMON) as broker:
            reader = self.client(broker)
            reader.command(op="subscribe", id=1, filter="paced")
            reader.read_op("subscribed")
            lines = b"".join(b"%d\n" % number for number in range(100))
            began = time.monotonic()
            result = run_fanfare("pub", "--url", broker.url, "paced", input_bytes=lines)
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            self.assertGreater(time.monotonic() - began, 1)
            self.assertEqual(list(range(100)),
                             [reader.read_op("message")["data"] for _ in range(100)])

    def test_a_refused_publish_is_not_overtaken_by_its_series(self):
        with Broker("--publish-rate", "20", *COMMON) as broker:
            client = self.client(broker)
            array = [{"op": "publish", "topic": "a", "id": number, "series": 1, "data": number}
                     for number in range(30)]
            client.send_frame(TEXT, json.dumps(array))
            answers = {answer["id"]: answer for answer in (client.read_json() for _ in range(30))}
            refused = [number for number in range(30) if answers[number]["op"] == "error"]
            self.assertEqual(list(range(min(refused), 30)), refused)
            time.sleep(1)
            client.command(op="publish", topic="a", id="again", series=1, data=0)
            self.assertEqual(client.read_json()["code"], "rate_limited")
            client.command(op="publish", topic="a", id="again", series=2, data=0)
            self.assertEqual(client.read_json()["op"], "published")

    def test_a_flood_of_pings(self):
        with Broker("--command-rate", "10", "--subscriptions-max", "5", *COMMON) as broker:
            client = self.client(broker)
            client.send(frame(PING, b"x") * 10)
            for _ in range(10):
                self.assertEqual(client.read_frame(), (PONG, b"x"))
            client.send(frame(PING, b"y") * 5000)
            self.assertEqual(client.read_close()[0], 4101)
            client.read_to_end()
            self.expect_served(broker)

    def test_a_flood_of_tiny_fragments(self):
        with Broker("--fragments-max", "100", *COMMON) as broker:
            client = self.client(broker)
            text = b'{"op":"ping","id":1}' + b" " * 80
            pieces = [frame(CONTINUATION, text[at:at + 1], fin=at == 99) for at in range(1, 100)]
            client.send(frame(TEXT, text[:1], fin=False) + b"".join(pieces))
            self.assertEqual(client.read_json(), {"op": "pong", "id": 1})
            client.send(frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 5000)
            self.assertEqual(client.read_close()[0], 1008)
            client.read_to_end()
            self.assertEqual(refusals(broker, "fragments-max"), 1)
            self.expect_served(broker)

    def test_readers_with_their_window_closed(self):
        settings = ("--outbound-soft", "16KiB", "--outbound-hard", "64KiB", *COMMON)
        with Broker(*settings) as broker:
            deaf = []
            for _ in range(20):
                client = self.client(broker, receive_buffer_bytes=4096)
                client.command(op="subscribe", id=1, filter="flood/#")
                client.read_op("subscribed")
                deaf.append(client)
            writer = self.client(broker)
            payload = "x" * 30_000
            for number in range(150):  # 4.5 MB for each of them
                writer.command(op="publish", id=number, topic=f"flood/{number}", text=payload)
                writer.read_op("published")
            closed = wait_until(
                lambda: broker.metrics()['fanfare_connections_closed_total{code="4100"}'] == 20,
                20, "they are closed as slow consumers")
            self.assertTrue(closed)
            self.expect_served(broker)

    def test_bytes_wait_in_the_kernel(self):
        with Broker("--inbound-rate", "256KiB", *COMMON) as broker:
            client = self.client(broker)
            text = json.dumps({"op": "publish", "id": 1, "topic": "a", "text": "x" * 32_000})
            began = time.monotonic()
            for _ in range(32):  # 1 MiB: a quarter at once, the rest in three seconds
                client.send_frame(TEXT, text)
            for _ in range(32):
                self.assertEqual(client.read_json()["op"], "published")
            taken_s = time.monotonic() - began
            self.assertGreater(taken_s, 2.5)
            self.assertLess(taken_s, 8)
            self.assertGreater(refusals(broker, "inbound-rate"), 0)
            self.expect_served(broker)

    def test_posts(self):
        with Broker("--publish-rate", "5", *COMMON) as broker:
            client = self.client(broker, upgrade=False)
            post = b"POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1"
            statuses = [response_of(client, post).status for _ in range(20)]
            self.assertEqual(statuses[:5], [200] * 5)
            self.assertIn(429, statuses)
            refused = response_of(client, post)
            while refused.status == 200:
                refused = response_of(client, post)
            self.assertEqual(refused.fields["retry-after"], "1")
            time.sleep(1)
            self.assertEqual(response_of(client, post).status, 200)

    def test_connections_of_one_address(self):
        with Broker("--connections-per-address", "10", *COMMON) as broker:
            clients = [self.from_address(broker, "127.0.0.7") for _ in range(10)]
            for client in clients:
                client.upgrade()
            refused = response_of(self.from_address(broker, "127.0.0.7"), upgrade_request())
            self.assertEqual(refused.status, 429)
            self.assertIn("retry-after", refused.fields)
            self.assertIn("this address", refused.body)
            self.from_address(broker, "127.0.0.8").upgrade()
            self.expect_served(broker)
            clients[0].close()
            wait_until(lambda: self.can_upgrade(broker, "127.0.0.7"), 10, "there is room again")
            self.assertGreater(refusals(broker, "connections-per-address"), 0)

    def can_upgrade(self, broker, source):
        return response_of(self.from_address(broker, source), upgrade_request()).status == 101

    def test_many_connections_of_one_address_take_nobodys_place(self):
        settings = ("--connections-per-address", "10", "--connections-max", "100", *COMMON)
        with Broker(*settings) as broker:
            greedy = [self.from_address(broker, "127.0.0.9") for _ in range(500)]
            self.assertEqual(len(greedy), 500)
            for number in range(50):
                self.from_address(broker, f"127.0.1.{number}").upgrade()
            self.expect_served(broker)

    def test_upgrades_per_second(self):
        with Broker("--upgrade-rate", "20", *COMMON) as broker:
            began = time.monotonic()
            clients = [self.client(broker, upgrade=False) for _ in range(100)]
            statuses = [response_of(client, upgrade_request()).status for client in clients]
            taken_s = time.monotonic() - began
            self.assertEqual(set(statuses), {101, 503})
            self.assertGreaterEqual(statuses.count(101), 20)
            self.assertLessEqual(statuses.count(101), 20 + 20 * taken_s + 1)
            time.sleep(0.5)
            self.expect_served(broker)

    def test_clients_behind_an_http_proxy(self):
        settings = ("--connections-per-address", "3", "--trusted-proxies", "127.0.0.1",
                    "--log-level", "debug", *COMMON)
        with Broker(*settings) as broker:
            def status(source, forwarded_for):
                client = self.from_address(broker, source)
                return response_of(client, upgrade_request(X_Forwarded_For=forwarded_for)).status

            self.assertEqual([status("127.0.0.1", f"198.51.100.{count}, 192.0.2.1")
                              for count in range(4)], [101, 101, 101, 429])
            self.assertEqual(status("127.0.0.1", "192.0.2.2"), 101)
            # Others cannot take an address' room, or hide behind one.
            self.assertEqual([status("127.0.0.2", "192.0.2.3") for _ in range(4)],
                             [101, 101, 101, 429])
            self.assertEqual(status("127.0.0.1", "192.0.2.3"), 101)
            wait_until(lambda: "client=192.0.2.2" in broker.log(), 5, "the log names the client")
            self.assertNotIn("198.51.100", broker.log())

    def test_clients_behind_a_tcp_proxy(self):
        settings = ("--connections-per-address", "2", "--trusted-proxies", "127.0.0.3",
                    "--proxy-protocol", "on", *COMMON)
        with Broker(*settings) as broker:
            statuses = []
            for _ in range(3):
                client = self.from_address(broker, "127.0.0.3")
                client.send(proxy_header("192.0.2.1"))
                statuses.append(response_of(client, upgrade_request()).status)
            self.assertEqual(statuses, [101, 101, 429])
            dribbling = self.from_address(broker, "127.0.0.3")
            for byte in proxy_header("192.0.2.2"):
                dribbling.send(bytes([byte]))
            self.assertEqual(response_of(dribbling, upgrade_request()).status, 101)
            silent = self.from_address(broker, "127.0.0.3")
            self.assertEqual(response_of(silent, upgrade_request()).status, 400)
            liar = self.from_address(broker, "127.0.0.4")
            liar.send(proxy_header("192.0.2.3"))
            self.assertEqual(liar.read_response().status, 400)
            self.expect_served(broker)
            self.assertEqual(refusals(broker, "proxy-protocol"), 1)


if __name__ == "__main__":
    broker_process.main()
