"""A client that means no good: the ground under all kinds of them (hostile_websockets.py,
hostile_http.py). Each is one connection, an asyncio task, and a seed that decides all it does, so
that what found a fault can be done again.

What it is told in answer is looked at only where the protocol leaves no choice: a Close frame must
have a code that this kind of misbehaviour earns.
"""

import asyncio
import json
import random
import socket
import struct

from raw_client import CLOSE, PING, PONG, TEXT, frame, take_frame, upgrade_request

LIFE_MAX_S = 20
# What may end any WebSocket, whatever it does itself: too slow, too fast, told to go by the
# operator, silent for too long, the end of the broker.
ANY_CLOSE = (1000, 1001, 4100, 4101, 4102, 4200)


class Refused(Exception):
    """The broker did not let it in, which is its right."""


class Hostile:
    weight = 10  # how often the crew chooses this kind
    rules = None  # what the crew knows of the broker's settings

    def __init__(self, place, source, seed, rules):
        self.place = place
        self.source = source  # its address, one of this machine's loopback addresses
        self.random = random.Random(seed)
        self.rules = rules
        self.loop = asyncio.get_running_loop()
        self.socket = None
        self.received = bytearray()
        self.is_compressed = False  # permessage-deflate was negotiated

    async def run(self):
        """Its whole life. Whatever happens to its connection is no news; anything else is a fault
        of the test, or of the broker."""
        try:
            await asyncio.wait_for(self.act(), LIFE_MAX_S)
        except (OSError, asyncio.TimeoutError, EOFError, Refused):
            pass
        finally:
            if self.socket is not None:
                self.socket.close()

    async def act(self):
        raise NotImplementedError

    # --- the connection

    async def connect(self, receive_buffer_bytes=None):
        self.socket = socket.socket(socket.AF_INET)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.bind((self.source, 0))
        await self.loop.sock_connect(self.socket, self.place)

    async def open(self, receive_buffer_bytes=None, **fields):
        """Connects and upgrades as it should be done."""
        await self.connect(receive_buffer_bytes)
        await self.send(upgrade_request(**fields))
        status, _ = await self.read_response()
        if status != 101:
            raise Refused(status)

    async def reopen(self, **fields):
        self.socket.close()
        self.received = bytearray()
        await self.open(**fields)

    async def send(self, data):
        await self.loop.sock_sendall(self.socket, data)

    async def send_some(self, data, seconds):
        """As much as the broker takes in that time."""
        try:
            await asyncio.wait_for(self.send(data), seconds)
        except asyncio.TimeoutError:
            pass

    async def command(self, **command):
        await self.send(frame(TEXT, json.dumps(command, separators=(",", ":"))))

    async def commands(self, commands):
        await self.send(frame(TEXT, json.dumps(commands, separators=(",", ":"))))

    async def pause(self, seconds_min, seconds_max):
        await asyncio.sleep(self.random.uniform(seconds_min, seconds_max))

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def vanish(self):
        """Goes, in one of the ways that there are."""
        way = self.random.randrange(3)
        if way == 0:
            self.reset()
        elif way == 1:
            self.socket.close()
        else:
            self.socket.shutdown(socket.SHUT_WR)

    # --- what comes

    async def receive(self):
        data = await self.loop.sock_recv(self.socket, 65536)
        if not data:
            raise EOFError
        self.received += data

    async def need(self, count):
        while len(self.received) < count:
            await self.receive()

    def take(self, count):
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    async def read_response(self):
        """(status, body) of an HTTP response."""
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            await self.receive()
        head = self.take(end + 4).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        self.is_compressed = "permessage-deflate" in head
        length = 0
        for line in head.lower().split("\r\n"):
            if line.startswith("content-length:"):
                length = int(line.partition(":")[2])
        await self.need(length)
        return status, self.take(length)

    async def read_frame(self):
        while (taken := take_frame(self.received)) is None:
            await self.receive()
        first, payload, end = taken
        del self.received[:end]
        return first & 0x0F, payload

    async def read_op(self, op):
        """The next object with that op; it is not for those who negotiated compression."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == PING:
                await self.send(frame(PONG, payload))
            elif opcode == CLOSE:
                self.check_close(payload, ())
                raise EOFError
            elif opcode == TEXT:
                message = json.loads(payload)
                if message["op"] == op:
                    return message
                if message["op"] == "error" and op in ("subscribed", "history"):
                    raise Refused(message["code"])

    async def read_close(self, codes):
        """Reads up to the Close frame, whose code must be one of these."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == CLOSE:
                self.check_close(payload, codes)
                return

    def check_close(self, payload, codes):
        code = struct.unpack_from("!H", payload)[0] if payload else 1005
        if code not in codes and code not in ANY_CLOSE:
            raise AssertionError(f"{type(self).__name__} was closed with {code} "
                                 f"{payload[2:]!r}, expected {codes}")

    async def discard(self, seconds):
        """Reads and forgets, for so long or to the end."""
        async def read():
            while await self.loop.sock_recv(self.socket, 1 << 18):
                pass
        try:
            await asyncio.wait_for(read(), seconds)
        except asyncio.TimeoutError:
            pass

    async def obey(self, seconds):
        """As discard(), but answers pings, so that nobody takes it for dead."""
        async def read():
            while True:
                opcode, payload = await self.read_frame()
                if opcode == PING:
                    await self.send(frame(PONG, payload))
                elif opcode == CLOSE:
                    return
        try:
            await asyncio.wait_for(read(), seconds)
        except asyncio.TimeoutError:
            pass
