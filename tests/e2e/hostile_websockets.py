"""Hostile WebSockets: bad frames, floods, hoards, readers that do not read, and churn."""

import asyncio
import json
import socket
import struct
import zlib

from hostile_client import Hostile
from raw_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, random_bytes

DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}
RSV1 = 4
# By what happens to those who read them too slowly, see test_hostile.py.
POLICIES = ("kept", "short", "conflate", "drop", "plain")
TOPICS_PER_POLICY = 40


def compressed(data):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def topic_of(generator, policy=None):
    return f"bad/{policy or generator.choice(POLICIES)}/{generator.randrange(TOPICS_PER_POLICY)}"


class BadFrame(Hostile):
    weight = 20

    def make(self):
        """(bytes, the codes that they earn)"""
        bad = self.random
        limit = self.rules.message_bytes_max
        return bad.choice((
            lambda: (frame(TEXT, "{}", reserved=bad.choice((1, 2, 3, 4, 5, 6, 7))), (1002,)),
            lambda: (frame(bad.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), "x"), (1002,)),
            lambda: (frame(TEXT, "{}", masked=False), (1002,)),
            lambda: (frame(PING, "x", fin=False), (1002,)),
            lambda: (frame(PING, "x" * 126), (1002,)),
            lambda: (frame(CONTINUATION, "x"), (1002,)),
            lambda: (frame(TEXT, "a", fin=False) + frame(TEXT, "b"), (1002,)),
            lambda: (frame(TEXT, "{}", length=bad.choice((16, 64))), (1002,)),
            lambda: (b"\x81\xff\x80" + bytes(11), (1002,)),
            lambda: (b"\x81\xff\x40" + bytes(11), (1009,)),
            lambda: (frame(TEXT, "x" * (limit + 1))[:bad.randrange(14, 2000)], (1009,)),
            lambda: (frame(CLOSE, struct.pack("!H", bad.choice((0, 999, 1005, 1006, 5000)))),
                     (1002,)),
            lambda: (frame(CLOSE, b"\x03\xe8\xff"), (1007,)),
            lambda: (frame(TEXT, b'"\xc3\x28"'), (1007,)),
            lambda: (frame(TEXT, b'"\xed\xa0\x80"', fin=False), (1007,)),
            lambda: (frame(BINARY, random_bytes(bad, 40)), (1003,)),
            lambda: (random_bytes(bad, 300), range(1000, 5000)),
        ))()

    async def act(self):
        await self.open()
        data, codes = self.make()
        if self.random.random() < 0.3:  # in two pieces
            cut = self.random.randrange(len(data))
            await self.send(data[:cut])
            await self.pause(0, 0.3)
            data = data[cut:]
        await self.send(data + frame(TEXT, '{"op":"ping"}') * self.random.randrange(3))
        if self.random.random() < 0.8:
            await self.read_close(codes)
        if self.random.random() < 0.3:
            await self.pause(0, 3)  # and neither Close nor FIN from here


class FragmentFlood(Hostile):
    async def act(self):
        await self.open()
        await self.send(frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 2_000)
        await self.read_close((1008,))


class TinyFragments(Hostile):
    """A message of one byte per frame, each sent alone, which is never finished."""

    async def act(self):
        await self.open()
        await self.send(frame(TEXT, b"[", fin=False))
        for _ in range(self.rules.fragments_max - 2):
            await self.send(frame(CONTINUATION, b" ", fin=False))
            await asyncio.sleep(0.02)


class Hoarder(Hostile):
    """Nearly the largest message, whose end does not come."""

    async def act(self):
        await self.open()
        size = self.rules.message_bytes_max - 100
        await self.send(frame(TEXT, b'"' + b"x" * (size // 2), fin=False))
        await self.send(frame(CONTINUATION, b"x" * (size // 2))[:-self.random.randrange(1, 90)])
        await self.obey(self.random.uniform(2, 6))


class PingFlood(Hostile):
    async def act(self):
        await self.open()
        payload = b"p" * self.random.randrange(126)
        for _ in range(self.random.randrange(2, 8)):
            await self.send_some(frame(PING, payload) * 1_000, 1)
        await self.read_close(())


class Bomb(Hostile):
    """Small on the wire, large when inflated; or nothing that can be inflated."""

    async def act(self):
        await self.open(**DEFLATE)
        if not self.is_compressed:
            return  # it is switched off just now
        bad = self.random
        choice = bad.randrange(5)
        codes = (1007, 1009)
        if choice == 0:
            data, codes = compressed(b"[" + b" " * bad.choice((1 << 18, 1 << 24)) + b"]"), (1009,)
        elif choice == 1:
            data, codes = random_bytes(bad, 200), (1007, 1008, 1009)
        elif choice == 2:
            whole = bytearray(compressed(json.dumps({"op": "ping", "id": "x" * 60}).encode()))
            whole[bad.randrange(len(whole))] ^= 1 << bad.randrange(8)
            data = bytes(whole)
            codes = (1007, 1009)
        elif choice == 3:
            data = compressed(compressed(b"x" * 100_000))
            codes = (1007,)
        else:
            data = compressed(b"[" * 60_000)  # is JSON too deep, and no reason to go
        await self.send(frame(TEXT, data, reserved=RSV1))
        await asyncio.wait_for(self.read_close(codes), 3)


class BadJson(Hostile):
    def make(self):
        bad = self.random
        return bad.choice((
            lambda: "[" * bad.randrange(1, 60_000),
            lambda: '{"op":"publish","topic":"bad/plain/1","data":' + "[" * 65 + "]" * 65 + "}",
            lambda: '{"op":"publish","topic":"bad/plain/1","data":{"a":1,"a":2}}',
            lambda: '{"op":"publish","topic":"bad/plain/1","data":"\\ud800"}',
            lambda: '{"op":"publish","topic":"bad/+/1","data":1}',
            lambda: '{"op":"publish","topic":"$bad","data":1}',
            lambda: '{"op":"publish","topic":"bad/plain/1","base64":"="}',
            lambda: '{"op":"nonsense","id":1}',
            lambda: '{"op":"ping","id":"' + "x" * 100 + '"}',
            lambda: "[" + ",".join(['{"op":"ping"}'] * 1_001) + "]",
            lambda: "[" + ",".join(['{"op":"unsubscribe","id":1,"filter":"a"}'] * 300) + "]",
            lambda: '{"op":"subscribe","filter":"' + "/" * 600 + '"}',
            lambda: '{"op":"auth","id":1,"token":"x"}',
            lambda: "".join(chr(bad.randrange(32, 0x800)) for _ in range(200)),
        ))()

    async def act(self):
        await self.open()
        for _ in range(self.random.randrange(1, 40)):
            await self.send(frame(TEXT, self.make()))
            await asyncio.sleep(0.01)
        await self.obey(self.random.uniform(0.1, 2))


class SubscriptionFlood(Hostile):
    """Thousands of filters, and the same again without."""

    async def act(self):
        await self.open()
        for _ in range(self.random.randrange(2, 10)):
            first = self.random.randrange(10_000)
            filters = [f"bad/{number}/+/{self.random.randrange(9)}/#"
                       for number in range(first, first + 90)]
            if self.random.random() < 0.5:
                await self.command(op="subscribe", id=1, filters=filters)
            else:
                await self.commands([{"op": "subscribe", "id": number, "filter": one}
                                     for number, one in enumerate(filters)])
            if self.random.random() < 0.6:
                await self.command(op="unsubscribe", id=2, filters=filters)
            await self.pause(0, 0.4)
        await self.discard(self.random.uniform(0, 1))
        self.vanish()


class EverythingAgain(Hostile):
    """All that is kept of all topics, again and again, read a little and dropped."""

    async def act(self):
        await self.open(self.random.choice((None, 8_192)))
        for number in range(self.random.randrange(1, 5)):
            await self.command(op="subscribe", id=number, start={"last": 1_000_000},
                               filter=self.random.choice(("#", "+/#", "bad/#", "bad/+/+", "+/+/3")))
        await self.discard(self.random.uniform(0.1, 1.5))
        self.vanish()


class NeverReader(Hostile):
    weight = 15

    async def act(self):
        await self.open(4_096)
        filters = self.random.choice((["#"], ["bad/kept/#"], ["bad/short/#"], ["bad/conflate/#"],
                                      ["bad/drop/#"], ["bad/plain/#", "bad/drop/#"]))
        await self.command(op="subscribe", id=1, filters=filters)
        await self.pause(3, 10)
        if self.random.random() < 0.5:  # what was lost is told to those who read on
            await self.obey(2)


class ByteReader(Hostile):
    """A byte a second, which is a sign of life."""

    async def act(self):
        await self.open(4_096)
        await self.command(op="subscribe", id=1, filter=self.random.choice(("#", "bad/drop/#")))
        for _ in range(self.random.randrange(4, 12)):
            await asyncio.sleep(1)
            await self.loop.sock_recv(self.socket, 1)


class Mute(Hostile):
    """Upgraded, and never a word again: no pong either."""

    weight = 5

    async def act(self):
        await self.open()
        await self.command(op="subscribe", id=1, filter="bad/silent")
        await self.read_close(())


class HalfClosed(Hostile):
    async def act(self):
        await self.open()
        way = self.random.randrange(5)
        if way == 0:  # a Close, and no end
            await self.send(frame(CLOSE, struct.pack("!H", self.random.choice((1000, 1001, 3000)))))
            await self.pause(0, 3)
        elif way == 1:  # a Close without a code
            await self.send(frame(CLOSE))
            await self.read_close((1000, 1005))
        elif way == 2:  # an end without a Close
            self.socket.shutdown(socket.SHUT_WR)
            await self.discard(3)
        elif way == 3:  # a Close in the middle of a message, and more after it
            await self.send(frame(TEXT, "[", fin=False) + frame(CLOSE, b"\x03\xe8")
                            + frame(CONTINUATION, "]") * 100)
            await self.discard(1)
        else:  # half a Close frame
            await self.send(frame(CLOSE, b"\x03\xe8bye")[:self.random.randrange(1, 10)])
            await self.pause(0, 1)
            self.vanish()


class Churn(Hostile):
    """Comes, subscribes, vanishes, and resumes with a cursor that is good, old, or nonsense."""

    weight = 20

    async def act(self):
        await self.open()
        cursor = None
        for _ in range(self.random.randrange(1, 6)):
            wanted = self.random.choice(("bad/kept/#", "bad/short/#", "bad/+/+",
                                         topic_of(self.random)))
            await self.command(op="subscribe", id=1, start=self.start(cursor), filters=[wanted])
            cursor = (await self.read_op("subscribed"))["cursor"]
            await self.discard(self.random.uniform(0, 0.6))
            if self.random.random() < 0.3:
                self.reset()
            await self.reopen()

    def start(self, cursor):
        bad = self.random
        if cursor is None:
            return bad.choice(("now", {"last": bad.randrange(1, 1_000)}))
        choice = bad.randrange(5)
        if choice == 0:
            cursor = {"epoch": "0123456789abcdef", "pos": cursor["pos"]}
        elif choice == 1:
            cursor = {"epoch": cursor["epoch"],
                      "pos": [f"{bad.randrange(64)}:{bad.getrandbits(62)}"]}
        elif choice == 2:
            cursor = {"epoch": cursor["epoch"], "pos": ["0:1"]}
        elif choice == 3 and bad.random() < 0.3:
            cursor = {"epoch": cursor["epoch"], "pos": ["1:2", "1:2", "x"]}  # an error
        return {"after": cursor}


class PublishFlood(Hostile):
    weight = 15

    async def act(self):
        await self.open()
        policy = self.random.choice(POLICIES)
        payload = "x" * self.random.choice((10, 100, 1_000, 8_000))
        count = max(1, min(100, 30_000 // len(payload)))
        for number in range(self.random.randrange(3, 40)):
            publishes = [{"op": "publish", "topic": topic_of(self.random, policy), "text": payload}
                         for _ in range(count)]
            if self.random.random() < 0.2:
                publishes[0]["key"] = f"key-{self.random.randrange(50)}"
                publishes[0]["id"] = number
            await self.commands(publishes)
            await self.pause(0, 0.2)
        await self.obey(0.5)


class OwnEcho(Hostile):
    """Publishes to itself and does not read."""

    async def act(self):
        await self.open(4_096)
        await self.command(op="subscribe", id=1, filter="bad/plain/#")
        message = {"op": "publish", "id": "x" * 60, "text": "x" * 4_000}
        for number in range(60):
            await self.commands([{**message, "topic": topic_of(self.random, "plain")}] * 5)


class HistoryAsker(Hostile):
    async def act(self):
        await self.open(self.random.choice((None, 4_096)))
        for number in range(self.random.randrange(5, 60)):
            command = {"op": "history", "id": number, "topic": topic_of(self.random)}
            if self.random.random() < 0.5:
                command["last"] = self.random.choice((1, 1_000, 1_000_000))
            else:
                command["after"] = {"epoch": "0123456789abcdef", "pos": ["0:1"]}
            await self.command(**command)
        await self.obey(self.random.uniform(0, 2))
        self.vanish()


class Echo(Hostile):
    """Large messages to /echo, whose answers it hardly reads."""

    async def act(self):
        await self.open(4_096, path="/echo")
        for _ in range(10):
            data = frame(BINARY, random_bytes(self.random, 100) * 1_000)
            await self.send_some(data, 2)
        await self.discard(self.random.uniform(0, 2))
        self.vanish()


KINDS = (BadFrame, FragmentFlood, TinyFragments, Hoarder, PingFlood, Bomb, BadJson,
         SubscriptionFlood, EverythingAgain, NeverReader, ByteReader, Mute, HalfClosed, Churn,
         PublishFlood, OwnEcho, HistoryAsker, Echo)
