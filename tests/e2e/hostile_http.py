"""Hostile HTTP: connections that say nothing, too little, too much or nonsense, requests that stop
in the middle, and an operator's surface that is asked what nobody would ask.
"""

import asyncio
import json
import socket

from hostile_client import Hostile
from hostile_websockets import topic_of
from raw_client import random_bytes, upgrade_request


def request(method, path, body=b"", **fields):
    lines = {"Host": "localhost", **fields}
    if body or method == "POST":
        lines.setdefault("Content-Length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return (head + "\r\n").encode("latin-1") + body


class Silent(Hostile):
    async def act(self):
        await self.connect()
        await self.discard(self.random.uniform(0.5, 5))


class Resetter(Hostile):
    """Ends with RST, at every moment that there is."""

    async def act(self):
        await self.connect()
        whole = upgrade_request()
        await self.send(whole[:self.random.choice((0, 1, 40, len(whole) - 1, len(whole)))])
        if self.random.random() < 0.5:
            await self.pause(0, 0.1)
        self.reset()


class HalfUpgrade(Hostile):
    """A request without its end, held until somebody gives up."""

    async def act(self):
        await self.connect()
        whole = upgrade_request()
        await self.send(whole[:self.random.randrange(1, len(whole) - 1)])
        if self.random.random() < 0.2:
            self.socket.shutdown(socket.SHUT_WR)
        await self.discard(self.random.uniform(1, 6))


class Slowloris(Hostile):
    async def act(self):
        await self.connect()
        for byte in upgrade_request(Cookie="x" * 400):
            await self.send(bytes([byte]))
            await asyncio.sleep(0.05)


class BadHead(Hostile):
    """Heads that are too large, and heads that are none."""

    weight = 20

    def make(self):
        bad = self.random
        return bad.choice((
            lambda: upgrade_request(X="x" * 70_000),
            lambda: upgrade_request(path="/" + "x" * 70_000),
            lambda: request("GET", "/ws", **{f"X_{number}": "1" for number in range(200)}),
            lambda: upgrade_request(remove=["Host"]),
            lambda: upgrade_request(remove=["Sec-WebSocket-Key"]),
            lambda: upgrade_request(host="evil.example"),
            lambda: upgrade_request(Origin="http://evil.example"),
            lambda: upgrade_request(path="/nothing"),
            lambda: upgrade_request(Sec_WebSocket_Version="8"),
            lambda: upgrade_request(Sec_WebSocket_Protocol="mqtt, soap"),
            lambda: upgrade_request().replace(b"GET", b"POST", 1),
            lambda: upgrade_request().replace(b"HTTP/1.1", b"HTTP/2.0", 1),
            lambda: upgrade_request(Expect="the-worst"),
            lambda: upgrade_request(Transfer_Encoding="chunked"),
            lambda: request("GET", "/ws"),
            lambda: b"GET /ws HTTP/1.1\nHost: localhost\n\n",
            lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_bytes(bad, 64),
            lambda: random_bytes(bad, bad.randrange(1, 3_000)),
            lambda: b"\r\n" * bad.randrange(1, 3_000),
            lambda: self.changed(upgrade_request()),
        ))()

    def changed(self, data):
        data = bytearray(data)
        for _ in range(self.random.randrange(1, 5)):
            data[self.random.randrange(len(data))] = self.random.getrandbits(8)
        return bytes(data)

    async def act(self):
        await self.connect()
        await self.send_some(self.make(), 2)
        await self.discard(self.random.uniform(0.1, 2.5))


class Pipeline(Hostile):
    """Hundreds of requests at once, good and bad, whose answers may not be read."""

    async def act(self):
        await self.connect(self.random.choice((None, 4_096)))
        paths = ("/healthz", "/readyz", "/metrics", "/fanfare.js", "/nothing", "/ws")
        data = b"".join(request("GET", self.random.choice(paths))
                        for _ in range(self.random.randrange(2, 200)))
        if self.random.random() < 0.3:
            data += random_bytes(self.random, 100)
        await self.send_some(data, 2)
        if self.random.random() < 0.5:
            await self.discard(self.random.uniform(0.1, 2))
        else:
            await self.pause(0, 4)
        self.vanish()


class ShortPost(Hostile):
    """A body that does not come, or not all of it, or more of it than may be."""

    async def act(self):
        await self.connect()
        path = "/topics/" + topic_of(self.random)
        limit = self.rules.message_bytes_max
        choice = self.random.randrange(5)
        if choice == 0:
            await self.send(request("POST", path, Content_Length=str(limit + 1)))
        elif choice == 1:
            await self.send(request("POST", path, Content_Length=str(limit + 1),
                                    Expect="100-continue"))
        elif choice == 2:
            await self.send(request("POST", path, Content_Length="x"))
        else:
            await self.send(request("POST", path, Content_Length=str(limit - 1))
                            + b"x" * self.random.randrange(limit - 1))
        if self.random.random() < 0.4:
            self.vanish()
        else:
            await self.discard(self.random.uniform(0.1, 4))


class Poster(Hostile):
    """Publishes over HTTP as fast as it goes, and some of it wrong."""

    def make(self):
        bad = self.random
        path = "/topics/" + topic_of(bad)
        return bad.choice((
            lambda: request("POST", path, b"x" * bad.randrange(2_000)),
            lambda: request("POST", path, b"x", Idempotency_Key=f"key-{bad.randrange(50)}"),
            lambda: request("POST", path, b"{", Content_Type="application/json"),
            lambda: request("POST", "/topics/bad/%23", b"1"),
            lambda: request("POST", "/topics/%zz", b"1"),
            lambda: request("POST", "/topics/$bad", b"1"),
            lambda: request("DELETE", path),
            lambda: request("OPTIONS", path, Origin="http://localhost"),
        ))()

    async def act(self):
        await self.connect()
        for _ in range(self.random.randrange(2, 30)):
            await self.send(b"".join(self.make() for _ in range(self.random.randrange(1, 12))))
            await self.pause(0, 0.1)
        await self.discard(self.random.uniform(0, 0.5))
        self.vanish()


class Operator(Hostile):
    """The admin surface: nonsense, batches, and questions about connections; and a real operator's
    work, to close those that are no good."""

    async def ask(self, data):
        await self.send(data)
        return await self.read_response()

    async def act(self):
        await self.connect()
        bad = self.random
        for _ in range(bad.randrange(1, 6)):
            choice = bad.randrange(7)
            if choice == 0:
                await self.ask(request("GET", "/metrics"))
            elif choice == 1:
                query = bad.choice(("sort=nonsense", "limit=0", "limit=99999999999999999999",
                                    "limit", "sort=lag&sort=lag", "%00", "&&&=" * 100))
                await self.ask(request("GET", "/api/connections?" + query))
            elif choice == 2:
                number = bad.choice(("1-2", "9-1-1", "0-99999999-1", "0-1-99999999999", "x",
                                     "-1-1-1"))
                await self.ask(request("DELETE", "/api/connections/" + number))
            elif choice == 3:
                await self.close_one_of_ours()
            elif choice == 4:
                messages = [{"topic": topic_of(bad), "text": "x" * bad.randrange(200)}
                            for _ in range(bad.randrange(1, 200))]
                if bad.random() < 0.3:
                    messages.append({"topic": "bad/#", "data": 1})
                await self.ask(request("POST", "/api/publish",
                                       json.dumps({"messages": messages}).encode()))
            elif choice == 5:
                await self.ask(request("POST", "/api/publish", random_bytes(bad, 100)))
            else:
                await self.ask(request("GET", "/api/" + "x" * bad.randrange(1_000)))
            await self.pause(0, 0.3)

    async def close_one_of_ours(self):
        query = self.random.choice(("sort=lag&limit=1000", "limit=1000", "limit=5"))
        status, body = await self.ask(request("GET", "/api/connections?" + query))
        if status != 200:
            return
        ours = [row["id"] for row in json.loads(body)["connections"]
                if row["address"] not in (None, self.rules.good_source) and row["websocket"]]
        if ours:
            await self.ask(request("DELETE", "/api/connections/" + self.random.choice(ours)))


KINDS = (Silent, Resetter, HalfUpgrade, Slowloris, BadHead, Pipeline, ShortPost, Poster, Operator)
