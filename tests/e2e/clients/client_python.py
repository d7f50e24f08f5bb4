"""The checks of test_clients.py with the `websockets` package: client_python.py URL

Prints "ok NAME" or "failed NAME: why" for each. Before the last one it prints
"waiting for goodbye", upon which the broker is to be stopped.
"""

import asyncio
import json
import sys
import traceback

import websockets

URL = sys.argv[1]
TIMEOUT_S = 30


class Client:
    """A connection whose welcome has been read."""

    def __init__(self, **options):
        self.options = {"subprotocols": ["fanfare.v1"], "ping_interval": None, **options}

    async def __aenter__(self):
        self.socket = await websockets.connect(URL, **self.options)
        self.welcome = await self.receive()
        assert self.welcome["op"] == "welcome", self.welcome
        return self

    async def __aexit__(self, kind, value, traceback):
        await self.socket.close()

    async def command(self, **command):
        await self.socket.send(json.dumps(command, ensure_ascii=False))

    async def receive(self):
        return json.loads(await asyncio.wait_for(self.socket.recv(), TIMEOUT_S))

    async def receive_op(self, op):
        while True:
            message = await self.receive()
            if message["op"] == op:
                return message

    async def subscribe(self, *filters):
        await self.command(op="subscribe", id="s", filters=list(filters))
        answer = await self.receive_op("subscribed")
        assert answer["id"] == "s", answer

    async def close_code(self):
        """What the broker closes with; data before it is skipped."""
        try:
            while True:
                await self.receive()
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None, f"no Close frame: {closed}"
            return closed.rcvd.code


def expect(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


async def welcome():
    async with Client() as client:
        expect(client.socket.subprotocol, "fanfare.v1")
        expect(client.welcome["max_message_bytes"], 65536)
        assert client.welcome["epoch"] and client.welcome["client"], client.welcome


async def overlap_once():
    async with Client() as client:
        await client.subscribe("overlap/#", "overlap/+/temp", "overlap/a/temp")
        await client.command(op="publish", topic="overlap/a/temp", data=1)
        await client.command(op="publish", topic="overlap/a/temp", data=2)
        expect([(await client.receive_op("message"))["data"] for _ in range(2)], [1, 2])


async def payloads():
    sent = [("data", {"b": [1, 2.50, None, True], "a": {"é": "日本語 🎺"}}),
            ("text", "Grüße, мир, 日本語, 🎺, \u0000 \"quoted\" \\ \n\t \u2028"),
            ("base64", "AAH+/w=="), ("text", ""), ("data", None)]
    async with Client() as client:
        await client.subscribe("payloads/ünï/🎺")
        for kind, value in sent:
            await client.command(op="publish", topic="payloads/ünï/🎺", **{kind: value})
        for kind, value in sent:
            expect(await client.receive_op("message"),
                   {"op": "message", "topic": "payloads/ünï/🎺", kind: value})


async def ping_command():
    async with Client() as client:
        await client.command(op="ping", id=7)
        expect(await client.receive_op("pong"), {"op": "pong", "id": 7})


async def ping_frame():
    async with Client() as client:
        await asyncio.wait_for(await client.socket.ping(b"are you there?"), TIMEOUT_S)


async def error_reply():
    async with Client() as client:
        await client.command(op="dance", id="x")
        answer = await client.receive()
        expect((answer["op"], answer["id"], answer["code"]), ("error", "x", "unknown_op"))
        assert answer["reason"], answer
        await client.socket.send("{not json")
        expect((await client.receive())["code"], "invalid_json")
        await client.command(op="ping")
        expect(await client.receive(), {"op": "pong"})


async def fragmented():
    text = json.dumps({"op": "publish", "topic": "fragments", "text": "🎺" * 500},
                      ensure_ascii=False)
    # The library cuts between characters; the cut inside one is test_bad_input.py's.
    async with Client() as client:
        await client.subscribe("fragments")
        await client.socket.send([text[:1], text[1:40], "", text[40:41], text[41:]])
        expect((await client.receive_op("message"))["text"], "🎺" * 500)


def publish_of(size):
    head = '{"op":"publish","topic":"large","text":"'
    return head + "x" * (size - len(head) - 2) + '"}'


async def largest_message():
    async with Client() as client:
        await client.subscribe("large")
        text = publish_of(client.welcome["max_message_bytes"])
        await client.socket.send(text)
        expect((await client.receive_op("message"))["text"], json.loads(text)["text"])


async def too_large():
    async with Client() as client:
        await client.socket.send(publish_of(client.welcome["max_message_bytes"] + 1))
        expect(await client.close_code(), 1009)


async def binary_frame():
    async with Client() as client:
        await client.socket.send(b"\x00\x01")
        expect(await client.close_code(), 1003)


async def close_by_client():
    for code, reason in ((1000, ""), (3001, "bye 🎺")):
        async with Client() as client:
            await client.socket.close(code, reason)
            expect(client.socket.close_code, code)


async def survives_silence():
    async with Client() as client:
        await asyncio.sleep(1.5)  # several heartbeats, which the library answers
        await client.command(op="ping", id=1)
        await client.receive_op("pong")


async def unknown_subprotocol():
    try:
        async with Client(subprotocols=["mqtt"]):
            raise AssertionError("accepted")
    except websockets.InvalidStatusCode as refusal:
        expect(refusal.status_code, 400)


async def goodbye():
    async with Client() as client:
        print("waiting for goodbye", flush=True)
        message = await client.receive_op("goodbye")
        expect(message["code"], "draining")
        assert message["retry_ms"] > 0, message
        expect(await client.close_code(), 1001)


async def main():
    for check in (welcome, overlap_once, payloads, ping_command, ping_frame, error_reply,
                  fragmented, largest_message, too_large, binary_frame, close_by_client,
                  survives_silence, unknown_subprotocol, goodbye):
        try:
            await asyncio.wait_for(check(), TIMEOUT_S)
            print("ok", check.__name__, flush=True)
        except Exception as problem:
            traceback.print_exc()
            print(f"failed {check.__name__}: {problem!r}", flush=True)


asyncio.run(main())
