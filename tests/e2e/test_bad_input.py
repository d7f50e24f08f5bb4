#!/usr/bin/python3
"""Bad input over real sockets: each kind ends in the answer or the close code that the protocol
names, in time, and costs nobody else anything. The broker lives on and holds on to nothing.
"""

import random
import socket
import struct
import sys
import time
import unittest

import broker_process
import raw_client
from broker_process import Broker, wait_until
from raw_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawClient, frame, upgrade_request

SEED = 20240607
MESSAGE_BYTES_MAX = 65536
HEAD_BYTES_MAX = 8192


def request(*lines, body=b""):
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


# what | the request | status | a part of the body | fields that must be there
UPGRADES = (
    ("no Host", upgrade_request(remove=["Host"]), 400, "no Host", {}),
    ("two Hosts", upgrade_request().replace(b"\r\n", b"\r\nHost: localhost\r\n", 1), 400,
     "more than one Host", {}),
    ("a Host that is none", upgrade_request(host="a b"), 400, "Host is not a name", {}),
    ("a name that is not loopback", upgrade_request(host="evil.example"), 403, "loopback", {}),
    ("a foreign Origin", upgrade_request(Origin="http://evil.example"), 403, "Origin", {}),
    ("the Origin of a file", upgrade_request(Origin="null"), 403, "Origin", {}),
    ("another path", upgrade_request(path="/nothing"), 404, "/ws", {}),
    ("POST", upgrade_request().replace(b"GET", b"POST", 1), 405, "GET", {"allow": "GET"}),
    ("no upgrade at all", request("GET /ws HTTP/1.1", "Host: localhost"), 426, "WebSocket client",
     {"sec-websocket-version": "13", "upgrade": "websocket"}),
    ("version 8", upgrade_request(Sec_WebSocket_Version="8"), 426, "13",
     {"sec-websocket-version": "13"}),
    ("no version", upgrade_request(remove=["Sec-WebSocket-Version"]), 400,
     "Sec-WebSocket-Version", {}),
    ("no key", upgrade_request(remove=["Sec-WebSocket-Key"]), 400, "Sec-WebSocket-Key", {}),
    ("a short key", upgrade_request(Sec_WebSocket_Key="AAAA"), 400, "Sec-WebSocket-Key", {}),
    ("no Connection", upgrade_request(remove=["Connection"]), 400, "Connection", {}),
    ("no Upgrade", upgrade_request(remove=["Upgrade"]), 400, "Upgrade", {}),
    ("an unknown subprotocol", upgrade_request(Sec_WebSocket_Protocol="mqtt, soap"), 400,
     "fanfare.v1", {}),
    ("HTTP/1.0", upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 400, "HTTP/1.1", {}),
    ("HTTP/2.0", upgrade_request().replace(b"HTTP/1.1", b"HTTP/2.0", 1), 505, "HTTP/1.1", {}),
    ("a body", upgrade_request(Content_Length="3") + b"abc", 400, "body", {}),
    ("a chunked body", upgrade_request(Transfer_Encoding="chunked"), 501, "Content-Length", {}),
    ("two kinds of length",
     upgrade_request(Transfer_Encoding="chunked", Content_Length="3"), 400, "exclude", {}),
    ("an unknown expectation", upgrade_request(Expect="the-worst"), 417, "100-continue", {}),
    ("a long head", upgrade_request(X="x" * HEAD_BYTES_MAX), 431, "too long", {}),
    ("many fields",
     request("GET /ws HTTP/1.1", "Host: localhost", *(f"X-{n}: 1" for n in range(64))), 431,
     "too many", {}),
    ("a long target", upgrade_request(path="/" + "x" * HEAD_BYTES_MAX), 414, "target", {}),
    ("a long method", b"X" * 40 + b" / HTTP/1.1\r\n", 501, "method", {}),
    ("a bare line feed", b"GET /ws HTTP/1.1\nHost: localhost\n\n", 400, "CR LF", {}),
    ("a folded field",
     request("GET /ws HTTP/1.1", "Host: localhost", "X: 1", " 2"), 400, "folded", {}),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400, "TLS", {}),
    ("garbage", b"\x00\xff\xfe\r\n\r\n", 400, "", {}),
    ("a body beyond the limit",
     request("POST /topics/x HTTP/1.1", "Host: localhost",
             f"Content-Length: {MESSAGE_BYTES_MAX + 1}"), 413, "larger", {}),
    ("a topic with a wildcard",
     request("POST /topics/a/%23 HTTP/1.1", "Host: localhost", "Content-Length: 1",
             "Connection: close", body=b"1"), 400, "wildcard", {}),
    ("a reserved topic",
     request("POST /topics/$x HTTP/1.1", "Host: localhost", "Content-Length: 1",
             "Connection: close", body=b"1"), 403, "$", {}),
    ("a malformed escape",
     request("POST /topics/%zz HTTP/1.1", "Host: localhost", "Content-Length: 1",
             "Connection: close", body=b"1"), 400, "%", {}),
    ("broken JSON",
     request("POST /topics/x HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             "Content-Length: 1", "Connection: close", body=b"{"), 400, "JSON", {}),
)

# what | the bytes | close code | a part of the reason
FRAMES = (
    ("a reserved bit", frame(TEXT, "{}", reserved=4), 1002, "reserved bit"),
    ("reserved opcode 3", frame(0x3, "x"), 1002, "opcode"),
    ("reserved opcode 15", frame(0xF, "x"), 1002, "opcode"),
    ("no mask", frame(TEXT, "{}", masked=False), 1002, "masked"),
    ("a fragmented ping", frame(PING, "x", fin=False), 1002, "fragmented"),
    ("a ping of 126 bytes", frame(PING, "x" * 126), 1002, "125"),
    ("a continuation of nothing", frame(CONTINUATION, "x"), 1002, "continuation"),
    ("a text inside a text", frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 1002, "before"),
    ("16 bits for a short length", frame(TEXT, "{}", length=16), 1002, "shortest"),
    ("64 bits for a short length", frame(TEXT, "{}", length=64), 1002, "shortest"),
    ("a length with the highest bit", b"\x81\xff\x80" + bytes(11), 1002, "length"),
    ("half a close code", frame(CLOSE, "x"), 1002, "close"),
    ("close code 1005", frame(CLOSE, struct.pack("!H", 1005)), 1002, "close code"),
    ("close code 999", frame(CLOSE, struct.pack("!H", 999)), 1002, "close code"),
    ("close code 5000", frame(CLOSE, struct.pack("!H", 5000)), 1002, "close code"),
    ("a close reason of bad UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007, "UTF-8"),
    ("bad UTF-8", frame(TEXT, b'"\xc3\x28"'), 1007, "UTF-8"),
    ("a surrogate", frame(TEXT, b'"\xed\xa0\x80"'), 1007, "UTF-8"),
    ("a character that is not finished", frame(TEXT, b'"\xf0\x9f\x8e'), 1007, "UTF-8"),
    # The message goes on; the answer must not wait for it.
    ("bad UTF-8 in a fragment", frame(TEXT, b'"\xff', fin=False), 1007, "UTF-8"),
    ("bad UTF-8 in half a frame", frame(TEXT, b'"\xff' + b"x" * 900)[:300], 1007, "UTF-8"),
    ("a frame beyond the limit", frame(TEXT, "x" * (MESSAGE_BYTES_MAX + 1))[:14], 1009, "limit"),
    ("fragments beyond the limit",
     frame(TEXT, "x" * 40_000, fin=False) + frame(CONTINUATION, "x" * 25_537), 1009, "limit"),
    ("a length of 2^62", b"\x81\xff\x40" + bytes(11), 1009, "limit"),
    ("a binary frame", frame(BINARY, b"\x00"), 1003, "binary"),
)

# the frame | the error's code
COMMANDS = (
    ("", "invalid_json"),
    ("{", "invalid_json"),
    ('{"op":"ping"} x', "invalid_json"),
    ('{"op":"ping","op":"ping"}', "invalid_json"),
    ('{"op":"publish","topic":"t","data":' + "[" * 70 + "]" * 70 + "}", "invalid_json"),
    ('{"op":"publish","topic":"t","data":01}', "invalid_json"),
    ('{"op":"publish","topic":"t","data":"\\ud800"}', "invalid_json"),
    ("7", "invalid_command"),
    ("[]", "invalid_command"),
    ("[[]]", "invalid_command"),
    ("[" + ",".join(['{"op":"ping"}'] * 1001) + "]", "invalid_command"),
    ("{}", "invalid_command"),
    ('{"op":"ping","strat":"now"}', "invalid_command"),
    ('{"op":"ping","topic":"t"}', "invalid_command"),
    ('{"op":"publish","topic":"t"}', "invalid_command"),
    ('{"op":"publish","topic":"t","data":1,"text":"1"}', "invalid_command"),
    ('{"op":"subscribe"}', "invalid_command"),
    ('{"op":"subscribe","filter":7}', "invalid_command"),
    ('{"op":"dance"}', "unknown_op"),
    ('{"op":"ping","id":1.5}', "invalid_id"),
    ('{"op":"ping","id":"' + "x" * 65 + '"}', "invalid_id"),
    ('{"op":"publish","topic":"","data":1}', "invalid_topic"),
    ('{"op":"publish","topic":"a/+","data":1}', "invalid_topic"),
    ('{"op":"publish","topic":"' + "x" * 513 + '","data":1}', "invalid_topic"),
    ('{"op":"publish","topic":"a\\u0000b","data":1}', "invalid_topic"),
    ('{"op":"publish","topic":"' + "/" * 32 + '","data":1}', "invalid_topic"),
    ('{"op":"publish","topic":"$SYS","data":1}', "forbidden"),
    ('{"op":"subscribe","filter":"#/a"}', "invalid_filter"),
    ('{"op":"subscribe","filter":"a+"}', "invalid_filter"),
    ('{"op":"publish","topic":"t","base64":"AA=A"}', "invalid_payload"),
    ('{"op":"unsubscribe","filter":"never"}', "not_subscribed"),
    ('{"op":"history","topic":"t","last":1}', "no_history"),
    ('{"op":"auth","token":"x"}', "not_supported"),
)


class BadInputTest(unittest.TestCase):
    """Every test has a broker with two workers and a bystander who must notice nothing."""

    # So few receive buffers that one lost for each mistake would soon be missed.
    arguments = ("--workers", "2", "--recv-buffers", "16")

    def setUp(self):
        self.broker = self.enterContext(Broker(*self.arguments))
        self.clients = []
        self.place = ("127.0.0.1", self.broker.port)
        self.bystander = RawClient(self.place)
        self.bystander.command(op="subscribe", id=1, filter="#")
        self.bystander.read_op("subscribed")

    def connect(self, upgrade=True):
        client = RawClient(self.place, upgrade)
        self.addCleanup(client.close)  # for a test that fails; tearDown comes before
        self.clients.append(client)
        return client

    def tearDown(self):
        """The bystander gets what is published, and after it nothing is held any more."""
        self.bystander.command(op="publish", id=2, topic="still/there", text="yes")
        while self.bystander.read_op("message")["topic"] != "still/there":
            pass
        for client in [self.bystander, *self.clients]:
            client.close()
        wait_until(self.is_empty, 20, "nothing is held for connections that are gone")

    def is_empty(self):
        metrics = self.broker.metrics()
        # The request for the metrics is a connection, too.
        return metrics["fanfare_connections"] == 1 and not any(
            metrics[name] for name in ("fanfare_websockets", 'fanfare_subscriptions{state="live"}',
                                       "fanfare_filters", "fanfare_outbound_bytes",
                                       'fanfare_memory_bytes{kind="reassembly"}'))

    def test_upgrades(self):
        for what, data, status, body, fields in UPGRADES:
            with self.subTest(what):
                client = self.connect(upgrade=False)
                client.send(data)
                response = client.read_response()
                self.assertEqual(status, response.status, response.body)
                self.assertIn(body, response.body)
                self.assertTrue(response.body.endswith("\n"))
                self.assertLessEqual(fields.items(), response.fields.items())
                if response.fields["connection"] == "close":
                    client.read_to_end()
                client.close()

    def test_upgrades_are_counted(self):
        before = self.broker.metrics()
        for data in (upgrade_request(Sec_WebSocket_Version="8"),
                     upgrade_request(host="evil.example")):
            client = self.connect(upgrade=False)
            client.send(data)
            client.read_response()
        after = self.broker.metrics()
        for status in ("426", "403"):
            name = f'fanfare_upgrades_total{{status="{status}"}}'
            self.assertEqual(1, after[name] - before[name])

    def test_keep_alive_survives_a_refused_publish(self):
        client = self.connect(upgrade=False)
        bad = request("POST /topics/a/%2b HTTP/1.1", "Host: localhost", "Content-Length: 1",
                      body=b"1")
        good = request("POST /topics/kept HTTP/1.1", "Host: localhost", "Content-Length: 1",
                       body=b"1")
        client.send(bad + good)  # pipelined
        self.assertEqual(400, client.read_response().status)
        self.assertEqual(200, client.read_response().status)

    def test_frames(self):
        for what, data, code, reason in FRAMES:
            for is_split in (False, True):
                with self.subTest(what, is_split=is_split):
                    client = self.connect()
                    if is_split:  # so that the decoder stops inside of the header
                        client.send(data[:1])
                        time.sleep(0.01)
                        client.send(data[1:])
                    else:
                        client.send(data)
                    found, words = client.read_close()
                    self.assertEqual(code, found, words)
                    self.assertIn(reason, words)
                    client.send_frame(CLOSE, struct.pack("!H", code))
                    client.read_to_end()
                    client.close()

    def test_close_codes_are_counted(self):
        for data, code in ((frame(0x3), 1002), (frame(TEXT, b"\xff"), 1007)):
            name = f'fanfare_connections_closed_total{{code="{code}"}}'
            before = self.broker.metrics()[name]
            client = self.connect()
            client.send(data)
            client.read_close()
            client.close()
            wait_until(lambda: self.broker.metrics()[name] == before + 1, 10, name)

    def test_commands(self):
        client = self.connect()
        for text, code in COMMANDS:
            with self.subTest(text[:60]):
                client.send_frame(TEXT, text)
                answer = client.read_json()
                self.assertEqual(("error", code), (answer["op"], answer["code"]), answer)
                self.assertTrue(answer["reason"])
        client.command(op="ping", id="last")
        self.assertEqual({"op": "pong", "id": "last"}, client.read_json())

    def test_nothing_is_delivered_from_a_bad_frame(self):
        client = self.connect()
        client.send_frame(TEXT, '[{"op":"publish","topic":"bad","data":1},'
                                '{"op":"publish","topic":"bad","data":nul}]')
        self.assertEqual("invalid_json", client.read_json()["code"])
        client.command(op="publish", id=1, topic="good", data=1)
        self.assertEqual("good", self.bystander.read_op("message")["topic"])

    def test_subscriptions_have_a_limit(self):
        client = self.connect()
        filters = [f"f/{number}" for number in range(1000)]
        client.command(op="subscribe", id=1, filters=filters)
        self.assertEqual("subscribed", client.read_json()["op"])
        client.command(op="subscribe", id=2, filters=[f"g/{number}" for number in range(24)])
        self.assertEqual("subscribed", client.read_json()["op"])
        client.command(op="subscribe", id=3, filter="one/more")
        self.assertEqual("too_many_subscriptions", client.read_json()["code"])
        client.command(op="subscribe", id=4, filters=filters)  # which it has already
        self.assertEqual("subscribed", client.read_json()["op"])

    def test_random_bytes(self):
        generator = random.Random(SEED)
        deadline = time.monotonic() + 4
        rounds = 0
        while time.monotonic() < deadline:
            rounds += 1
            client = RawClient(self.place, upgrade=generator.random() < 0.7)
            try:
                client.socket.settimeout(0.02)
                for _ in range(generator.randrange(1, 6)):
                    client.send(self.random_piece(generator))
                client.read_to_end()
            except (OSError, EOFError):
                pass  # cut or silent, both are fine
            if generator.random() < 0.5:
                client.reset()
            client.close()
        self.assertGreater(rounds, 20)

    @staticmethod
    def random_piece(generator):
        """Noise, or a good frame or request with a few bytes changed."""
        choice = generator.randrange(4)
        if choice == 0:
            return raw_client.random_bytes(generator, generator.randrange(1, 400))
        if choice == 1:
            good = upgrade_request()
        else:
            good = frame(generator.choice((TEXT, BINARY, CONTINUATION, PING, CLOSE)),
                         '{"op":"publish","id":1,"topic":"noise","data":[1,2,{"a":"b"}]}',
                         fin=generator.random() < 0.7)
        data = bytearray(good)
        for _ in range(generator.randrange(0, 4)):
            data[generator.randrange(len(data))] = generator.getrandbits(8)
        return bytes(data)

    def test_resets_at_any_moment(self):
        whole = upgrade_request()
        for cut in (0, 1, 40, len(whole) - 1, len(whole)):
            client = RawClient(self.place, upgrade=False)
            client.send(whole[:cut])
            client.reset()
        message = frame(TEXT, '{"op":"publish","topic":"cut","text":"' + "x" * 30_000 + '"}')
        for cut in (0, 1, 5, 20_000, len(message)):
            client = RawClient(self.place)
            client.command(op="subscribe", filter="cut")  # so that its own message is on its way
            client.send(message[:cut])
            client.reset()

    def test_half_open(self):
        whole = upgrade_request()
        for cut in (0, 40):
            client = self.connect(upgrade=False)
            client.send(whole[:cut])
            client.socket.shutdown(socket.SHUT_WR)
            client.read_to_end()
        client = self.connect()
        client.send(frame(TEXT, '{"op":"ping"}')[:7])
        client.socket.shutdown(socket.SHUT_WR)
        client.read_to_end()
        # A request is answered although its sender says no more.
        client = self.connect(upgrade=False)
        client.send(request("GET /healthz HTTP/1.1", "Host: localhost"))
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(200, client.read_response().status)
        client.read_to_end()

    def test_last_words_arrive(self):
        """A peer that goes on talking after its mistake still reads why it was closed."""
        client = self.connect()
        client.send_frame(0x3, "mistake")
        for _ in range(20):
            client.send_frame(TEXT, '{"op":"ping"}')
        self.assertEqual(1002, client.read_close()[0])
        client.read_to_end()


class SlowInputTest(BadInputTest):
    """The same broker, but impatient."""

    arguments = (*BadInputTest.arguments, "--handshake-timeout", "1s", "--keep-alive-timeout", "1s",
                 "--close-timeout", "1s")

    def test_slowloris(self):
        whole = upgrade_request(Cookie="x" * 400)
        clients = [self.connect(upgrade=False) for _ in range(50)]
        begin = time.monotonic()
        for client in clients:
            client.socket.settimeout(0.001)
        left = clients
        position = 0
        while left:
            self.assertLess(time.monotonic() - begin, 15, "slow clients are not cut")
            left = [client for client in left if self.dribble(client, whole, position)]
            position += 1
            time.sleep(0.05)
        for client in clients:
            status = client.received.split(b" ", 2)[1:2]
            self.assertEqual([b"408"], status, client.received)

    @staticmethod
    def dribble(client, whole, position):
        """Sends one more byte; False when the broker has ended the connection."""
        try:
            client.send(whole[position:position + 1])
            while client._receive():
                pass
            return False
        except TimeoutError:
            return True
        except OSError:
            return False

    def test_slow_body(self):
        client = self.connect(upgrade=False)
        client.send(request("POST /topics/slow HTTP/1.1", "Host: localhost", "Content-Length: 10",
                            body=b"12345"))
        self.assertEqual(408, client.read_response().status)
        client.read_to_end()

    def test_silence(self):
        client = self.connect(upgrade=False)
        client.read_to_end()  # nothing was asked, so nothing is answered
        self.assertEqual(b"", client.received)

    def test_close_that_is_not_answered(self):
        client = self.connect()
        client.send_frame(0x3, "mistake")
        client.read_close()  # and then neither Close nor FIN from here
        wait_until(lambda: self.broker.metrics()["fanfare_connections"] == 2, 20,
                   "only the bystander and the metrics are left")

    def test_discarding_has_a_bound(self):
        client = self.connect()
        client.send_frame(0x3, "mistake")
        begin = time.monotonic()
        with self.assertRaises(OSError):  # reset, or no room any more
            while time.monotonic() - begin < 20:
                client.send(bytes(65536))


class FullTest(unittest.TestCase):
    def test_full(self):
        with Broker("--workers", "2", "--connections-max", "3") as broker:
            place = ("127.0.0.1", broker.port)
            inside = [RawClient(place) for _ in range(3)]
            outside = RawClient(place, upgrade=False)
            outside.send(upgrade_request())
            response = outside.read_response()
            self.assertEqual(503, response.status)
            self.assertIn("as many connections", response.body)
            self.assertGreater(int(response.fields["retry-after"]), 0)
            outside.read_to_end()
            outside.close()
            self.assertEqual(503, broker.get("/topics/x", "POST", body="1").status)
            self.assertEqual(200, broker.get("/metrics").status)  # who looks is let in
            for client in inside:
                client.command(op="ping")
                self.assertEqual("pong", client.read_json()["op"])
            inside.pop().close()

            def is_let_in():
                # One that is refused counts until it has left, so it must leave.
                with RawClient(place, upgrade=False) as client:
                    client.send(upgrade_request())
                    return client.read_response().status == 101

            wait_until(is_let_in, 10, "a free place is given away")
            for client in inside:
                client.close()

    def test_full_over_one_of_many_addresses(self):
        """What waits at the others for clients takes nobody's place."""
        with Broker("--workers", "1", "--connections-max", "20",
                    listen=["127.0.0.1:0"] * 12) as broker:
            place = ("127.0.0.1", broker.port)
            inside = [RawClient(place) for _ in range(20)]
            with RawClient(place, upgrade=False) as outside:
                outside.send(upgrade_request())
                self.assertEqual(503, outside.read_response().status)
            for client in inside:
                client.close()


def load_tests(loader, tests, pattern):
    """SlowInputTest shares only the fixture with its parent, not the parent's tests."""
    suite = unittest.TestSuite()
    for case in (BadInputTest, SlowInputTest, FullTest):
        for name in loader.getTestCaseNames(case):
            if name in vars(case):
                suite.addTest(case(name))
    return suite


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
