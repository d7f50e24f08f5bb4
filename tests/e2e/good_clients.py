"""Clients that behave, in a process of their own, beside whatever else the broker has to bear:
publishers that number what they publish and say everything once, and subscribers that hold what
arrives against that.

A refusal (503, an error, a connection that ends) makes them try again, as a good client does. A
message that is repeated, out of order, changed, or missing without a word is a failure at once; so
is one that is missing at all, where history must have kept it.
"""

import asyncio
import collections
import dataclasses
import http.client
import json
import multiprocessing
import random
import time

import broker_process
import raw_client
import websockets
from resuming_client import ResumingClient

SOURCE = "127.0.0.2"
GROUPS_COUNT = 3
TOPICS_PER_GROUP = 4
POST_TOPIC = "good/post/0"
TICK_S = 0.125
ANSWER_TIMEOUT_S = 30
END_TIMEOUT_S = 90


def topics_of(group):
    return [f"good/{group}/{number}" for number in range(TOPICS_PER_GROUP)]


TOPICS = [topic for group in range(GROUPS_COUNT) for topic in topics_of(group)] + [POST_TOPIC]


def payload_of(topic, number, when_ns):
    """JSON that must arrive letter for letter: with odd spaces, escapes and numbers. Some are long
    enough to be compressed."""
    filler = "füller " * (100 if number % 4 == 0 else 2)
    return (f'{{ "n":{number},"t" : {when_ns}, "odd":[1e400,-0.0,123456789012345678901234567890,'
            f'"\\u00e9\\/",{{}}],"of":"{topic}","filler":"{filler}"}}')


def matches(wanted, topic):
    """For filters as used here, without topics of other depths."""
    for want, level in zip(wanted.split("/"), topic.split("/")):
        if want == "#":
            return True
        if want not in ("+", level):
            return False
    return True


class Publisher:
    """Publishes to some topics, each message until it is acknowledged, and only then the next."""

    def __init__(self, url, topics, crowd):
        self.url = url
        self.crowd = crowd
        self.counts = {topic: 0 for topic in topics}  # acknowledged
        self.texts = {}  # topic → the payload that is not acknowledged yet
        self.is_waiting = {}  # topic → since when, if it is sent
        self.refusals = collections.Counter()

    def next_text(self, topic):
        if topic not in self.texts:
            self.texts[topic] = payload_of(topic, self.counts[topic], time.monotonic_ns())
        return self.texts[topic]

    def acknowledged(self, topic):
        self.counts[topic] += 1
        del self.texts[topic]

    async def run(self):
        while not self.is_done():
            try:
                await self.publish_until_lost()
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as loss:
                self.refusals[type(loss).__name__] += 1
                await asyncio.sleep(random.uniform(0.1, 0.6))

    def is_done(self):
        return self.crowd.is_over.is_set() and not self.texts

    async def publish_until_lost(self):
        place = websockets.uri.parse_uri(self.url)
        tcp = raw_client.connect((place.host, place.port), source=SOURCE)
        tcp.setblocking(False)
        self.is_waiting = {}
        async with websockets.connect(self.url, sock=tcp, ping_interval=None, compression=None,
                                      open_timeout=END_TIMEOUT_S, close_timeout=1) as socket:
            while not self.is_done():
                await self.tick(socket)
                deadline = time.monotonic() + TICK_S
                while (left := deadline - time.monotonic()) > 0:
                    try:
                        self.take(json.loads(await asyncio.wait_for(socket.recv(), left)))
                    except asyncio.TimeoutError:
                        break

    async def tick(self, socket):
        for topic, count in self.counts.items():
            if topic in self.is_waiting:
                if time.monotonic() - self.is_waiting[topic] > ANSWER_TIMEOUT_S:
                    raise AssertionError(f"a publish to {topic} was not answered")
                continue
            if topic in self.texts or not self.crowd.is_over.is_set():
                self.is_waiting[topic] = time.monotonic()
                await socket.send(f'{{"op":"publish","id":"{topic}","topic":"{topic}",'
                                  f'"key":"{topic} {count}","data":{self.next_text(topic)}}}')

    def take(self, answer):
        if answer["op"] == "published":
            assert "pos" in answer, answer
            del self.is_waiting[answer["id"]]
            self.acknowledged(answer["id"])
        elif answer["op"] == "error":
            assert answer["code"] in ("overloaded", "rate_limited"), answer
            self.refusals[answer["code"]] += 1
            del self.is_waiting[answer["id"]]
        else:
            assert answer["op"] in ("welcome", "goodbye"), answer


class Poster(Publisher):
    """The same over HTTP, each time on a new connection."""

    async def publish_until_lost(self):
        topic = next(iter(self.counts))
        await asyncio.sleep(TICK_S)
        status = await asyncio.get_running_loop().run_in_executor(None, self.post, topic)
        if status == 200:
            self.acknowledged(topic)
        else:
            assert status in (429, 503), status
            self.refusals[status] += 1

    def post(self, topic):
        place = websockets.uri.parse_uri(self.url)
        connection = http.client.HTTPConnection(place.host, place.port, ANSWER_TIMEOUT_S,
                                                (SOURCE, 0))
        try:
            connection.request("POST", "/topics/" + topic, self.next_text(topic).encode(), {
                "Content-Type": "application/json",
                "Idempotency-Key": f"{topic} {self.counts[topic]}"})
            response = connection.getresponse()
            response.read()
            return response.status
        except http.client.HTTPException as broken:
            raise ConnectionError(repr(broken)) from broken
        finally:
            connection.close()


class Refused(Exception):
    """A subscribe was refused."""


class Subscriber(ResumingClient):
    def __init__(self, url, name, filters, crowd, compression=None, stays_s=None,
                 may_lose=False):
        super().__init__(url, self, compression, SOURCE)
        self.name = name
        self.filters = filters
        self.crowd = crowd
        self.stays_s = stays_s  # how long at most between two cuts; None: as long as it may
        self.may_lose = may_lose  # if it is told
        self.topics = [topic for topic in TOPICS if any(matches(one, topic) for one in filters)]
        self.counts = {topic: 0 for topic in self.topics}
        self.losses_told = 0
        self.losses_seen = {topic: 0 for topic in self.topics}  # of those, before its newest
        self.text = ""
        self.delivered_count = self.others_count = self.missing_count = 0
        self.losses = collections.Counter()
        self.ends = collections.Counter()
        self.delays_ms = collections.Counter()
        self.outage_max_s = 0.0
        self.heard_s = 0.0
        self.is_live = asyncio.Event()

    # --- a life

    async def run(self):
        lost_s = None
        while True:
            try:
                await self.connect()
                if lost_s is None:
                    await self.subscribe(self.filters)
                await self.listen_until_live()
                if lost_s is not None:
                    self.outage_max_s = max(self.outage_max_s, time.monotonic() - lost_s)
                self.is_live.set()
                lost_s = time.monotonic()  # if it is cut now
                await self.listen_and_be_cut()
                lost_s = time.monotonic()
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException, Refused) as loss:
                if self.is_live.is_set() and self.socket is not None:
                    lost_s = max(lost_s, self.heard_s)
                assert lost_s is not None or self.catching_up, f"{self.name} never came in: {loss!r}"
                self.ends[self.describe(loss)] += 1
                if self.socket is not None:
                    self.socket.transport.abort()
                    self.forget()
                await asyncio.sleep(random.uniform(0.1, 0.6))

    @staticmethod
    def describe(loss):
        if isinstance(loss, websockets.ConnectionClosed):
            return f"closed {loss.rcvd.code if loss.rcvd else 1006}"
        if isinstance(loss, websockets.InvalidStatusCode):
            return f"refused {loss.status_code}"
        return type(loss).__name__

    async def listen(self):
        self.text = await self.socket.recv()
        self.heard_s = time.monotonic()
        self.handle(json.loads(self.text))

    async def listen_until_live(self):
        while self.catching_up:
            await asyncio.wait_for(self.listen(), END_TIMEOUT_S)

    async def listen_and_be_cut(self):
        end_s = time.monotonic() + (random.uniform(0.5, self.stays_s) if self.stays_s else 1e9)
        while (left := end_s - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self.listen(), min(left, 1))
            except asyncio.TimeoutError:
                pass
        if random.random() < 0.3:
            await self.close()
        else:
            self.cut(is_reset=random.random() < 0.5)
        self.ends["cut by itself"] += 1
        await asyncio.sleep(random.uniform(0, 2))

    # --- what comes

    def handle(self, message):
        op = message["op"]
        if op == "gap" and "id" not in message:  # being slow
            self.on_loss([message["filter"]], message["code"])
        elif op == "error":
            assert message["code"] in ("overloaded", "rate_limited"), message
            raise Refused(message["code"])
        elif op not in ("goodbye", "heartbeat"):
            super().handle(message)

    def on_loss(self, filters, code):
        assert self.may_lose, f"{self.name} was told of a loss: {code} {filters}"
        self.losses[code] += 1
        self.losses_told += 1

    def on_message(self, topic, position, data, is_announced):
        if topic not in self.counts:
            assert any(matches(one, topic) for one in self.filters), self.text
            self.others_count += 1
            return
        number, expected = data["n"], self.counts[topic]
        assert number >= expected, f"{self.name}: again or out of order: {expected} {self.text}"
        if number > expected:
            assert self.losses_told > self.losses_seen[topic], \
                f"{self.name}: missing without a word: {expected} {self.text}"
            self.missing_count += number - expected
        assert position is not None, self.text
        assert self.text.endswith(f',"data":{payload_of(topic, number, data["t"])}}}'), self.text
        self.counts[topic] = number + 1
        self.losses_seen[topic] = self.losses_told
        self.delivered_count += 1
        if not is_announced and self.is_live.is_set():
            self.delays_ms[(time.monotonic_ns() - data["t"]) // 1_000_000] += 1

    def has_all(self, counts):
        return all(self.counts[topic] >= counts[topic] for topic in self.topics)


@dataclasses.dataclass
class Report:
    published_count: int
    publishers_refusals: dict
    subscribers: list  # a dictionary of each


class GoodCrowd:
    def __init__(self, url, is_over):
        self.is_over = is_over
        self.subscribers = [
            Subscriber(url, "exact", ["good/0/0"], self),
            Subscriber(url, "wildcard", ["good/#"], self),
            Subscriber(url, "compressed", ["good/+/1", "good/1/+"], self, "deflate"),
            Subscriber(url, "comes back", ["good/#"], self, stays_s=6),
            Subscriber(url, "comes back, compressed", ["good/2/#", "good/0/0"], self, "deflate", 12),
            Subscriber(url, "in the crowd", ["+/+/1"], self, may_lose=True),
        ]
        self.publishers = [Publisher(url, topics_of(group), self) for group in range(GROUPS_COUNT)]
        self.publishers.append(Poster(url, [POST_TOPIC], self))

    async def run(self, is_live):
        reading = [asyncio.create_task(one.run()) for one in self.subscribers]
        await self.unless_failed(reading, asyncio.gather(
            *(one.is_live.wait() for one in self.subscribers)))
        is_live.set()
        writing = [asyncio.create_task(one.run()) for one in self.publishers]
        await self.unless_failed(reading, asyncio.gather(*writing))
        counts = {topic: count for one in self.publishers for topic, count in one.counts.items()}
        deadline_s = time.monotonic() + END_TIMEOUT_S
        while missing := [one.name for one in self.subscribers if not self.is_complete(one, counts)]:
            assert time.monotonic() < deadline_s, f"have not got everything: {missing}"
            await self.unless_failed(reading, asyncio.sleep(0.1))
        for task in reading:
            task.cancel()
        return self.report(counts)

    @staticmethod
    def is_complete(subscriber, counts):
        # Who was told of a loss may have lost the newest.
        return subscriber.has_all(counts) or subscriber.losses_told > 0

    @staticmethod
    async def unless_failed(tasks, other):
        other = asyncio.ensure_future(other)
        done, _ = await asyncio.wait([*tasks, other], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # what a subscriber found is raised here
        assert other in done

    def report(self, counts):
        refusals = sum((one.refusals for one in self.publishers), collections.Counter())
        return Report(sum(counts.values()), dict(refusals), [
            {"name": one.name, "delivered": one.delivered_count, "others": one.others_count,
             "missing": one.missing_count, "losses": dict(one.losses), "ends": dict(one.ends),
             "resumes": dict(one.resumes), "outage_max_s": round(one.outage_max_s, 1),
             "delay_ms": quantiles(one.delays_ms)} for one in self.subscribers])


def quantiles(counts):
    """(median, 99 %, most) of value → how often."""
    found, seen, total = [], 0, sum(counts.values())
    for value, count in sorted(counts.items()):
        seen += count
        while len(found) < 2 and seen >= total * (0.5, 0.99)[len(found)]:
            found.append(value)
    return (*found, max(counts, default=None))


def run_good(url, is_live, is_over, pipe):
    broker_process.die_with_parent()
    try:
        pipe.send(asyncio.run(GoodCrowd(url, is_over).run(is_live)))
    except Exception as failure:  # whatever it is, the test is to say it
        pipe.send(failure if isinstance(failure, AssertionError) else AssertionError(repr(failure)))


class GoodClients:
    """As a context: publishing goes on until end(), which answers a Report."""

    CONNECTIONS_COUNT = 6 + GROUPS_COUNT  # and now and then one that posts
    FILTERS_COUNT = 6  # different ones

    def __init__(self, url):
        context = multiprocessing.get_context("fork")
        self.is_live, self.is_over = context.Event(), context.Event()
        self.receiver, self.sender = context.Pipe(duplex=False)
        self.process = context.Process(
            daemon=True, target=run_good, args=(url, self.is_live, self.is_over, self.sender))

    def __enter__(self):
        self.process.start()
        self.sender.close()
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.join()

    def check(self):
        """Fails as soon as one of them has found something."""
        if self.receiver.poll():
            raise self.receiver.recv()

    def end(self):
        self.is_over.set()
        report = self.receiver.recv()
        if isinstance(report, AssertionError):
            raise report
        return report
