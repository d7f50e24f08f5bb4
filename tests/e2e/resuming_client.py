"""An application's client that comes back after every loss and goes on exactly where it was: the
bookkeeping that PROTOCOL.md asks of a client, on top of Python's `websockets` package.

    client = ResumingClient(url, application)
    await client.connect()
    await client.subscribe(["news/#"])                     # start: "now", {"last": n}, or a cursor
    await client.read(objects_count)                       # calls application.on_message(…)
    client.cut(is_reset=True)                              # the connection is lost …
    await client.connect()                                 # … and all subscriptions are asked again

It checks what the protocol promises of a connection as such (positions rise, announcements are
kept) and leaves it to the application to judge what arrives:

    on_message(topic, position, data, is_announced)        position: (partition, offset), or None
    on_loss(filters, code)                                 a gap, or a resume that is not exact
"""

import asyncio
import json
import socket
import struct
import urllib.parse

import raw_client
import websockets

TIMEOUT_S = 60


def read_position(text):
    partition, _, offset = text.partition(":")
    return int(partition), int(offset)


class Subscription:
    """What one subscribe command asked for, until its filters are live."""

    def __init__(self, command_id, filters, start):
        self.id = command_id
        self.filters = list(filters)
        self.start = start
        self.is_told = False  # subscribed has come
        self.positions = {}  # its own cursor, from subscribed on
        self.announced = {}  # by partition: the newest position that was announced

    def start_again(self, epoch):
        """How it is asked for on another connection."""
        if self.is_told and isinstance(self.start, dict) and "after" in self.start:
            return {"after": cursor_of(epoch, self.positions)}
        return self.start


def cursor_of(epoch, positions):
    return {"epoch": epoch, "pos": [f"{partition}:{offset}"
                                    for partition, offset in sorted(positions.items())]}


def merge(positions, cursor):
    for text in cursor["pos"]:
        partition, offset = read_position(text)
        positions[partition] = max(positions.get(partition, 0), offset)


class ResumingClient:
    def __init__(self, url, application, compression=None, source=None):
        self.url = url
        self.source = source  # its address, one of this machine's
        self.compression = compression  # as websockets takes it: None, or "deflate"
        self.application = application
        self.socket = None
        self.epoch = None  # of the positions
        self.positions = {}  # the shared cursor of what is live
        self.live_filters = []
        self.catching_up = []  # subscriptions, in the order of their commands
        self.resumes = {True: 0, False: 0}  # by `recovered`
        self.gaps_count = 0
        self.ids_count = 0
        self.replay = None  # whose announced messages come next …
        self.replay_left = 0  # … and how many
        self.stream = {}  # of this connection, by partition: the newest unannounced position

    # --- the connection

    async def connect(self, buffer_bytes=65536):
        """Connects, and asks for everything that was subscribed when the last one was lost. What
        has come and was not read yet fills `buffer_bytes` here, and as much in the kernel."""
        assert self.socket is None
        place = urllib.parse.urlsplit(self.url)
        tcp = raw_client.connect((place.hostname, place.port), TIMEOUT_S, buffer_bytes,
                                 self.source)
        tcp.setblocking(False)
        self.socket = await websockets.connect(
            self.url, subprotocols=["fanfare.v1"], ping_interval=None, sock=tcp,
            open_timeout=TIMEOUT_S, max_queue=8, read_limit=buffer_bytes,
            compression=self.compression)
        self.replay, self.replay_left, self.stream = None, 0, {}
        wanted = [(subscription.filters, subscription.start_again(self.epoch))
                  for subscription in self.catching_up]
        if self.live_filters:
            wanted.insert(0, (self.live_filters, {"after": cursor_of(self.epoch, self.positions)}))
        self.live_filters, self.positions, self.catching_up = [], {}, []
        for filters, start in wanted:
            await self.subscribe(filters, start)

    def cut(self, is_reset):
        """Loses the connection as networks do: no Close frame, and whatever has not been read yet
        is gone. With a reset, or with the FIN of a killed process."""
        transport = self.socket.transport
        if is_reset:
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        self.socket.transfer_data_task.cancel()  # it may wait for us to read more
        self.forget()

    def forget(self):
        self.socket = None

    async def close(self):
        await self.socket.close()
        self.forget()

    # --- commands

    async def send(self, command):
        try:
            await self.socket.send(json.dumps(command))
        except websockets.ConnectionClosed:
            pass  # reading finds out

    def next_id(self):
        self.ids_count += 1
        return self.ids_count

    async def subscribe(self, filters, start="now"):
        subscription = Subscription(self.next_id(), filters, start)
        self.catching_up.append(subscription)
        command = {"op": "subscribe", "id": subscription.id, "filters": subscription.filters}
        if start != "now":
            command["start"] = start
        await self.send(command)
        return subscription

    async def leave_and_return(self, filters):
        """Unsubscribes live filters, and subscribes them again behind what has arrived of them."""
        await self.send({"op": "unsubscribe", "id": self.next_id(), "filters": filters})
        await self.read_until(lambda message: message["op"] == "unsubscribed")
        self.live_filters = [one for one in self.live_filters if one not in filters]
        await self.subscribe(filters, {"after": cursor_of(self.epoch, self.positions)})

    # --- what comes

    async def read(self, objects_count):
        """Handles so many objects; raises websockets.ConnectionClosed at the end."""
        for _ in range(objects_count):
            self.handle(json.loads(await self.socket.recv()))

    async def read_until(self, is_last, timeout_s=TIMEOUT_S):
        """Handles objects up to the first for which is_last(object), which it answers."""
        async def read():
            while True:
                message = json.loads(await self.socket.recv())
                self.handle(message)
                if is_last(message):
                    return message
        return await asyncio.wait_for(read(), timeout_s)

    async def read_until_live(self):
        while self.catching_up:
            await self.read_until(lambda message: message["op"] in ("live", "subscribed"))

    def handle(self, message):
        op = message["op"]
        if op == "message":
            self.handle_message(message)
            return
        # Announced messages are the very next message objects; nothing of the stream comes between.
        assert self.replay_left == 0 or op in ("heartbeat", "published", "error", "pong"), message
        if op == "subscribed":
            self.handle_subscribed(message)
        elif op == "replay":
            self.replay, self.replay_left = self.subscription(message), message["count"]
            assert self.replay.is_told and self.replay_left > 0, message
        elif op == "gap":
            self.gaps_count += 1
            replay = self.subscription(message)
            assert message["filter"] in replay.filters and replay.is_told, message
            self.application.on_loss([message["filter"]], message["code"])
        elif op == "live":
            subscription = self.subscription(message)
            assert subscription.is_told, message
            self.go_live(subscription, message["cursor"])
        elif op == "position":
            assert message["cursor"]["epoch"] == self.epoch, message
            merge(self.positions, message["cursor"])
        else:
            assert op in ("welcome", "unsubscribed", "published"), message

    def subscription(self, message):
        found = [one for one in self.catching_up if one.id == message["id"]]
        assert len(found) == 1, f"not catching up: {message}"
        return found[0]

    def handle_subscribed(self, message):
        subscription = self.subscription(message)
        assert not subscription.is_told, message
        subscription.is_told = True
        cursor = message["cursor"]
        self.epoch = cursor["epoch"]
        merge(subscription.positions, cursor)
        is_after = isinstance(subscription.start, dict) and "after" in subscription.start
        assert ("recovered" in message) == is_after, message
        if is_after:
            self.resumes[message["recovered"]] += 1
            if message["recovered"]:
                asked = subscription.start["after"]
                assert cursor["epoch"] == asked["epoch"], message
                assert set(cursor["pos"]) <= set(asked["pos"]), (message, asked)
                # A partition that no filter can match may be missing, and must not be forgotten.
                merge(subscription.positions, asked)
            else:
                self.application.on_loss(subscription.filters, message["code"])
        if subscription.start == "now":
            self.go_live(subscription, cursor)

    def go_live(self, subscription, cursor):
        assert cursor["epoch"] == self.epoch, cursor
        merge(self.positions, cursor)
        self.catching_up.remove(subscription)
        self.live_filters += subscription.filters

    def handle_message(self, message):
        position = read_position(message["pos"]) if "pos" in message else None
        is_announced = self.replay_left > 0
        if position is not None:
            partition, offset = position
            newest = self.replay.announced if is_announced else self.stream
            assert offset > newest.get(partition, 0), f"positions do not rise: {message}"
            newest[partition] = offset
            cursor = self.replay.positions if is_announced else self.positions
            cursor[partition] = max(cursor.get(partition, 0), offset)
        if is_announced:
            self.replay_left -= 1
        self.application.on_message(message["topic"], position, message.get("data"), is_announced)
