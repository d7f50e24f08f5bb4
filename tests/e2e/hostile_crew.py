"""A crew of hostile clients, in a process of its own: some hundred at a time, of all kinds mixed at
random, and every few seconds an onslaught of many that all do the same. All of it follows from one
seed, but for what time and the scheduler add.
"""

import asyncio
import collections
import dataclasses
import multiprocessing
import random

import broker_process
import hostile_http
import hostile_websockets
from hostile_client import Hostile
from raw_client import upgrade_request

KINDS = (*hostile_websockets.KINDS, *hostile_http.KINDS)
# The addresses of those who come one by one; an onslaught comes from as many as it likes.
SOURCES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
# One of them sends a quarter.
ONSLAUGHT_SOURCES = [f"127.0.1.{number}" for number in range(1, 151)] + ["127.0.0.14"] * 50
# A crew that opened all its connections in one moment would measure its own event loop.
STARTS_PER_TICK_MAX = 4
TICK_S = 0.02


@dataclasses.dataclass
class Rules:
    """What the crew knows of the broker, so that it finds the limits."""

    message_bytes_max: int
    fragments_max: int
    good_source: str  # who is not to be closed by our operators
    members_count: int  # at a time
    onslaught_count: int  # connections of one onslaught
    onslaught_every_s: float


class Crowd(Hostile):
    """Connections that fill the table, and stay when they are refused."""

    async def act(self):
        await self.connect()
        await self.discard(4)
        await asyncio.sleep(0.5)


class Rush(Hostile):
    """Everybody wants a WebSocket in one moment, and keeps it for a while."""

    async def act(self):
        await self.connect()
        await self.send(upgrade_request())
        await self.obey(3)


class Hoard(hostile_websockets.Hoarder):
    """Many large messages without an end, at the same time."""


ONSLAUGHTS = (Crowd, Rush, Hoard)


class Crew:
    def __init__(self, place, seed, rules):
        self.place = place
        self.random = random.Random(seed)
        self.rules = rules
        self.members = set()
        self.counts = collections.Counter()
        self.faults = []

    def start(self, kind, source):
        member = kind(self.place, source, self.random.getrandbits(64), self.rules)
        self.counts[kind.__name__] += 1
        task = asyncio.get_running_loop().create_task(member.run())
        self.members.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.members.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.faults.append(repr(task.exception()))

    async def run(self, is_over):
        loop = asyncio.get_running_loop()
        weights = [kind.weight for kind in KINDS]
        next_onslaught_s = loop.time() + self.rules.onslaught_every_s / 2
        onslaughts = []  # who is still to come
        number = 0
        while not is_over.is_set():
            for _ in range(STARTS_PER_TICK_MAX):
                if len(self.members) < self.rules.members_count:
                    kind = self.random.choices(KINDS, weights)[0]
                    self.start(kind, self.random.choice(SOURCES))
            if loop.time() >= next_onslaught_s:
                next_onslaught_s += self.rules.onslaught_every_s
                onslaughts += [ONSLAUGHTS[number % len(ONSLAUGHTS)]] * self.rules.onslaught_count
                number += 1
            for _ in range(min(len(onslaughts), 10 * STARTS_PER_TICK_MAX)):
                self.start(onslaughts.pop(), self.random.choice(ONSLAUGHT_SOURCES))
            await asyncio.sleep(TICK_S)
        for task in self.members:
            task.cancel()
        await asyncio.gather(*self.members, return_exceptions=True)


def run_crew(port, seed, rules, is_over, pipe):
    broker_process.die_with_parent()

    async def run():
        crew = Crew(("127.0.0.1", port), seed, rules)
        await crew.run(is_over)
        pipe.send((dict(crew.counts), crew.faults))
    asyncio.run(run())


class HostileCrew:
    """As a context, within which it does its worst; end() answers (kind → connections, faults)."""

    def __init__(self, port, seed, rules):
        context = multiprocessing.get_context("fork")
        self.is_over = context.Event()
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(
            daemon=True, target=run_crew, args=(port, seed, rules, self.is_over, sender))
        self.sender = sender

    def __enter__(self):
        self.process.start()
        self.sender.close()
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.join()

    def end(self):
        self.is_over.set()
        return self.receiver.recv()
