#!/usr/bin/python3
"""Subscribers that lose their connection come back to exactly what was published meanwhile, or are
told that they cannot: with a real client, publishers at a pace, and connections that end at every
moment.
"""

import asyncio
import json
import multiprocessing
import random
import sys
import threading
import time
import unittest

import broker_process
import websockets
from broker_process import Broker, Options
from paced_publishers import PacedPublishers
from raw_client import TEXT, RawClient, frame, take_frames
from resuming_client import ResumingClient, read_position

TIMEOUT_S = 60
SEED = 20_240_607

GROUPS_COUNT = 4
TOPICS = [f"sensors/{group}/{number}" for group in range(GROUPS_COUNT) for number in range(500)]
KEEPS_ALL = ("--topic-rule", "match=sensors/#,history_messages=1000000")


def matches(wanted, topic):
    """For the filters that are used here: exact, or ending with #."""
    return wanted == topic or (wanted.endswith("#") and (topic + "/").startswith(wanted[:-1]))


class Ledger:
    """What a subscriber got of paced publishers. A message that is repeated, out of order, or
    missing without a word is a failure at once; what is missing and told is counted."""

    def __init__(self, pace=None):
        self.pace = pace  # of the publishers, who are to wait for this subscriber
        self.positions = {}  # topic → count → position
        self.told = {}  # filter → how often a loss was told
        self.told_before = {}  # topic → how many of those, before its newest message
        self.newest = {}  # topic → count of its newest message
        self.messages_count = 0

    def losses_told(self, topic):
        return sum(count for wanted, count in self.told.items() if matches(wanted, topic))

    def on_loss(self, filters, code):
        for wanted in filters:
            self.told[wanted] = self.told.get(wanted, 0) + 1

    def on_message(self, topic, position, data, is_announced):
        newest, told = self.newest.get(topic, -1), self.losses_told(topic)
        assert data["count"] > newest, f"again or out of order: {topic} {data['count']} {newest}"
        if data["count"] > newest + 1:
            assert told > self.told_before.get(topic, 0), \
                f"missing without a word: {topic} {newest} to {data['count']}, at {position}"
        self.newest[topic], self.told_before[topic] = data["count"], told
        self.positions.setdefault(topic, {})[data["count"]] = position
        self.messages_count += 1
        if self.pace is not None:
            self.pace.delivered.value = self.messages_count

    def has_newest(self, topic, positions):
        """Whether the newest message of the topic has come, or its loss was told."""
        return (self.newest.get(topic, -1) == len(positions) - 1 or
                self.losses_told(topic) > self.told_before.get(topic, 0))

    def check(self, published):
        """Compares with what the publishers know; answers how many messages are missing."""
        missing_count = 0
        for topic, positions in published.items():
            got = self.positions.get(topic, {})
            for count, position in enumerate(positions):
                if count not in got:
                    missing_count += 1
                elif got[count] != read_position(position):
                    raise AssertionError(f"{topic} {count} is at {position}, not {got[count]}")
        return missing_count


class ResumeCase(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        # Sanitizers make the broker an order of magnitude slower.
        self.messages_per_s = 1_000 if Options.is_sanitized else 5_000

    async def finish(self, client, publishers):
        """Ends the publishing and reads the rest; answers what was published."""
        published = await asyncio.get_running_loop().run_in_executor(None, publishers.end)
        if client.socket is None:
            await client.connect()
        deadline_s = time.monotonic() + TIMEOUT_S
        left = list(published)
        while client.catching_up or left:
            self.assertLess(time.monotonic(), deadline_s, "the rest does not arrive")
            if left and client.application.has_newest(left[-1], published[left[-1]]):
                left.pop()
            else:
                await asyncio.wait_for(client.read(1), TIMEOUT_S)
        await client.close()
        return published


class LossesTest(ResumeCase):
    """Where history is long enough, whoever comes back gets exactly what was published."""

    async def lose(self, client, seeks_announced):
        """Reads a little and loses the connection; answers what the client was doing. The moment
        between an announcement and its messages is rarely hit by chance, so it can be sought."""
        try:
            chance = self.random.random()
            if seeks_announced:
                while client.catching_up and client.replay_left == 0:
                    await client.read(1)
            elif chance < 0.2:  # welcome, subscribed, and little more
                await client.read(self.random.randrange(4))
            elif chance < 0.6:
                await client.read(self.random.randrange(150))
            else:
                await client.read_until_live()
                await client.read(self.random.randrange(30))
        except websockets.ConnectionClosed:  # the broker was first, which is as good a loss
            client.forget()
            return "closed"
        doing = "live"
        if client.replay_left > 0:
            doing = "announced"
        elif any(one.is_told for one in client.catching_up):
            doing = "replay"
        elif client.catching_up:
            doing = "unanswered"
        client.cut(is_reset=self.random.random() < 0.5)
        return doing

    async def resume_often(self, client, publishers, losses_count, is_restless):
        await client.connect()
        filters = [f"sensors/{group}/#" for group in range(GROUPS_COUNT)]
        await client.subscribe(filters if is_restless else ["sensors/#"])
        await client.read_until_live()
        publishers.begin()
        seen = {}
        for number in range(losses_count):
            if client.socket is None:
                await client.connect()
            if is_restless and not client.catching_up:
                # So there is one replay of what was live and one of this, each with its cursor.
                await client.leave_and_return(self.random.sample(filters, 2))
            doing = await self.lose(client, seeks_announced=number % 10 == 9)
            seen[doing] = seen.get(doing, 0) + 1
        return seen, await self.finish(client, publishers)

    def check_exact(self, workers_count, losses_count, is_restless=False, padding_bytes=0):
        if Options.is_sanitized:
            losses_count //= 4
        with Broker("--workers", str(workers_count), *KEEPS_ALL) as broker, \
                PacedPublishers(broker.port, TOPICS, self.messages_per_s,
                                padding_bytes=padding_bytes) as publishers:
            # What is long enough is compressed, in replays too.
            client = ResumingClient(broker.url, Ledger(publishers.pace),
                                    "deflate" if padding_bytes else None)
            begin_s = time.monotonic()
            seen, published = asyncio.run(
                self.resume_often(client, publishers, losses_count, is_restless))
            seconds = time.monotonic() - begin_s
            print(f"{workers_count} workers: {losses_count} losses {seen} in {seconds:.1f} s, "
                  f"{client.application.messages_count} messages of {publishers.rate:.0f}/s, "
                  f"{client.resumes[True]} resumes")
            self.assertEqual(0, client.application.check(published))
            self.assertEqual((0, 0), (client.resumes[False], client.gaps_count))
            self.assertGreater(publishers.rate, self.messages_per_s / 5)
            for doing in ("live", "replay", "announced", "unanswered"):
                self.assertGreater(seen.get(doing, 0), losses_count // 100, seen)
            metrics = broker.metrics()
            self.assertGreaterEqual(metrics["fanfare_resumes_total"], client.resumes[True])
            self.assertEqual(0, metrics["fanfare_resumes_refused_total"])
            self.assertEqual(0, sum(value for name, value in metrics.items()
                                        if name.startswith("fanfare_gaps_total")))

    def test_thousand_losses_one_worker(self):
        self.check_exact(1, 1_000)

    def test_thousand_losses_two_workers(self):
        self.check_exact(2, 1_000, padding_bytes=300)

    def test_replays_with_cursors_of_their_own(self):
        self.check_exact(2, 200, is_restless=True)


class TinyHistoryTest(ResumeCase):
    """Where history is too short for some absences and for slow readers, each loss is told."""

    CYCLES_COUNT = 4
    MESSAGES_PER_S = 1_000
    TOPICS = TOPICS[::40]
    HISTORY_MESSAGES = 10
    HISTORY_S = HISTORY_MESSAGES * len(TOPICS) / MESSAGES_PER_S
    FILTERS = [f"sensors/{group}/#" for group in range(GROUPS_COUNT)]
    # How long the client is away, and then reads nothing, in units of what history can bridge: too
    # long; short, but then it is too slow; and neither.
    AWAY_AND_SLOW = ((1.5, 0), (0.4, 1.5), (0.1, 0))

    async def come_and_go(self, client, publishers):
        await client.connect()
        await client.subscribe(self.FILTERS)
        await client.read_until_live()
        publishers.begin()
        await client.read(100)
        for away, slow in self.AWAY_AND_SLOW * self.CYCLES_COUNT:
            client.cut(is_reset=self.random.random() < 0.5)
            await asyncio.sleep(away * self.HISTORY_S * self.random.uniform(0.8, 1.2))
            await client.connect(buffer_bytes=32768)
            await asyncio.sleep(slow * self.HISTORY_S)
            await client.read_until_live()
            await client.read(self.random.randrange(100))
        return await self.finish(client, publishers)

    def check_tiny(self, workers_count):
        rule = f"match=sensors/#,history_messages={self.HISTORY_MESSAGES}"
        with Broker("--workers", str(workers_count), "--topic-rule", rule,
                    "--partitions", "4", "--outbound-soft", "16KiB") as broker, \
                PacedPublishers(broker.port, self.TOPICS, self.MESSAGES_PER_S,
                                padding_bytes=4_000) as publishers:
            client = ResumingClient(broker.url, Ledger())
            published = asyncio.run(self.come_and_go(client, publishers))
            missing_count = client.application.check(published)
            print(f"{workers_count} workers: {client.application.messages_count} messages, "
                  f"{missing_count} missing, {client.resumes} resumes, {client.gaps_count} gaps")
            self.assertGreater(client.resumes[True], 0)
            self.assertGreater(client.resumes[False], 0)
            self.assertGreater(client.gaps_count, 0)
            self.assertGreater(missing_count, 0)

    def test_losses_are_told_one_worker(self):
        self.check_tiny(1)

    def test_losses_are_told_two_workers(self):
        self.check_tiny(2)


class OverlapTest(unittest.TestCase):
    """`last` beside a live filter that matches the same topics, while they are published."""

    TOPICS = [f"sensors/0/{number}" for number in range(50)]
    LAST = 10

    class Log:
        """Per topic: counts that came announced, and counts that came live."""

        def __init__(self):
            self.announced, self.live = {}, {}
            self.positions = {}  # (topic, count) → position

        def on_message(self, topic, position, data, is_announced):
            counts = self.announced if is_announced else self.live
            counts.setdefault(topic, []).append(data["count"])
            before = self.positions.setdefault((topic, data["count"]), position)
            assert before == position, f"{topic} {data}: {before} and {position}"

        def on_loss(self, filters, code):
            raise AssertionError(f"{filters}: {code}")

    async def overlap(self, client, publishers):
        await client.connect()
        await client.subscribe(["sensors/0/+"])
        await client.read_until_live()
        publishers.begin()
        await client.read(30 * len(self.TOPICS))
        await client.subscribe(["sensors/#", self.TOPICS[0]], {"last": self.LAST})
        subscribed = await client.read_until(lambda message: message["op"] == "subscribed")
        await client.read_until_live()
        await client.read(100)
        published = await asyncio.get_running_loop().run_in_executor(None, publishers.end)
        log, deadline_s = client.application, time.monotonic() + TIMEOUT_S
        while sum(map(len, log.live.values())) < sum(map(len, published.values())):
            self.assertLess(time.monotonic(), deadline_s, "the rest does not arrive")
            await asyncio.wait_for(client.read(1), TIMEOUT_S)
        await client.close()
        return published, dict(read_position(text) for text in subscribed["cursor"]["pos"])

    def check_overlap(self, workers_count):
        rate = 1_000 if Options.is_sanitized else 5_000
        with Broker("--workers", str(workers_count), *KEEPS_ALL) as broker, \
                PacedPublishers(broker.port, self.TOPICS, rate) as publishers:
            client = ResumingClient(broker.url, self.Log())
            published, joined = asyncio.run(self.overlap(client, publishers))
        log = client.application
        for topic, texts in published.items():
            positions = [read_position(text) for text in texts]
            # The live filter matches all topics, so it brings every message once …
            self.assertEqual(list(range(len(positions))), log.live[topic])
            for count, position in enumerate(positions):
                self.assertEqual(position, log.positions[topic, count])
            # … and the replay what was asked for: the newest at the join, although they had come.
            joined_count = sum(offset <= joined.get(partition, 0)
                               for partition, offset in positions)
            newest = list(range(joined_count))[-self.LAST:]
            self.assertEqual(newest, log.announced[topic], f"{topic}: {joined_count} at the join")

    def test_one_worker(self):
        self.check_overlap(1)

    def test_two_workers(self):
        self.check_overlap(2)


class EvictedWhileReadTest(unittest.TestCase):
    """A client that does not read, while what its replay has not read yet is evicted."""

    STALL_S = 0.3
    ARGUMENTS = ("--workers", "1", "--partitions", "1", "--outbound-soft", "64KiB")

    @staticmethod
    def publish(client, topics, count):
        data = {"count": count, "padding": "x" * 500}
        for begin in range(0, len(topics), 50):
            client.send(frame(TEXT, json.dumps([{"op": "publish", "topic": topic, "data": data}
                                                for topic in topics[begin:begin + 50]])))
        client.command(op="ping", id=1)
        client.read_op("pong")

    @staticmethod
    def subscribe(broker, **command):
        subscriber = RawClient(("127.0.0.1", broker.port), receive_buffer_bytes=32768)
        subscriber.command(op="subscribe", id=1, **command)
        return subscriber

    def test_last(self):
        # Behind its first message no topic may miss one without a gap.
        topics = [f"a/{number}" for number in range(1_500)]
        with Broker(*self.ARGUMENTS, "--topic-rule", "match=a/#,history_messages=3") as broker, \
                RawClient(("127.0.0.1", broker.port)) as publisher:
            for count in range(3):
                self.publish(publisher, topics, count)
            with self.subscribe(broker, filter="a/#", start={"last": 3}) as subscriber:
                time.sleep(self.STALL_S)
                for count in range(3, 5):
                    self.publish(publisher, topics, count)
                counts, gaps_count, message = {}, 0, {"op": ""}
                while message["op"] != "live":
                    message = subscriber.read_json()
                    gaps_count += message["op"] == "gap"
                    if message["op"] == "message":
                        counts.setdefault(message["topic"], []).append(message["data"]["count"])
        self.assertEqual(set(topics), set(counts))
        self.assertTrue(all(one[-1] == 4 for one in counts.values()))
        holes_count = sum(one[-1] - one[0] >= len(one) for one in counts.values())
        self.assertGreater(holes_count, 0, "the replay was too fast")
        self.assertGreater(gaps_count, 0, f"{holes_count} topics have holes")

    def test_each_filter_has_its_gap(self):
        # What is lost of the second filter lies below what was lost, and told, of the first.
        first = [f"a/{number}" for number in range(100)]
        second = [f"b/{number}" for number in range(6_000)]
        with Broker(*self.ARGUMENTS, "--topic-rule", "match=#,history_messages=1") as broker, \
                RawClient(("127.0.0.1", broker.port)) as publisher:
            self.publish(publisher, second + first, 0)
            start = {"after": {"epoch": publisher.welcome["epoch"], "pos": []}}
            with self.subscribe(broker, filters=["a/#", "b/#"], start=start) as subscriber:
                self.assertTrue(subscriber.read_op("subscribed")["recovered"])
                time.sleep(self.STALL_S)
                self.publish(publisher, first[-10:], 1)
                gaps, got, message = [], set(), {"op": ""}
                while message["op"] != "live":
                    message = subscriber.read_json()
                    if message["op"] == "gap":
                        gaps.append(message["filter"])
                        if gaps == ["a/#"]:
                            time.sleep(self.STALL_S)
                            self.publish(publisher, second[-10:], 1)
                    elif message["op"] == "message" and message["data"]["count"] == 0:
                        got.add(message["topic"])
        self.assertEqual(set(first[:-10] + second[:-10]), got)
        self.assertEqual({"a/#", "b/#"}, set(gaps))


class KilledBrokerTest(unittest.TestCase):
    """A broker that was killed knows nothing of the positions it gave, and says so."""

    def test_epoch_changed(self):
        codes = []

        class Log:
            messages = []

            def on_message(self, topic, position, data, is_announced):
                self.messages.append((topic, data, is_announced))

            def on_loss(self, filters, code):
                codes.append((filters, code))

        async def live(client, count):
            await client.connect()
            if count == 0:
                await client.subscribe(["sensors/#"])
            await client.read_until_live()
            await client.send({"op": "publish", "id": "p", "topic": "sensors/1", "data": count})
            await client.read_until(lambda message: message["op"] == "message")
            client.cut(is_reset=False)

        with Broker("--workers", "2", *KEEPS_ALL) as broker:
            client = ResumingClient(broker.url, Log())
            asyncio.run(live(client, 0))
            epoch = client.epoch
            broker.kill()
            broker.start()
            client.url = broker.url
            asyncio.run(live(client, 1))
            self.assertEqual([(["sensors/#"], "epoch_changed")], codes)
            self.assertNotEqual(epoch, client.epoch)
            # The new positions are good for the next resume.
            asyncio.run(live(client, 2))
            self.assertEqual({True: 1, False: 1}, client.resumes)
            self.assertEqual([("sensors/1", count, False) for count in range(3)], Log.messages)


def measure_delays(port, topic, has_ended, pipe):
    """A client that publishes to a topic every 5 ms and gets it back, in a process of its own."""
    broker_process.die_with_parent()
    with RawClient(("127.0.0.1", port)) as client:
        client.command(op="subscribe", id=1, filter=topic)
        client.read_op("subscribed")
        pipe.send("ready")
        delays_s, next_s = [], time.monotonic()
        while not has_ended.is_set():
            begin_s = time.monotonic()
            client.command(op="publish", topic=topic, data={"count": len(delays_s)})
            message = client.read_op("message")
            assert message["data"]["count"] == len(delays_s), message
            delays_s.append(time.monotonic() - begin_s)
            next_s = max(next_s + 0.005, time.monotonic())
            time.sleep(next_s - time.monotonic() if next_s > time.monotonic() else 0)
        pipe.send(delays_s)


class PacedWildcardTest(unittest.TestCase):
    """Somebody who subscribes everything, with a last value of each of very many topics, delays the
    others on the same core by little, and takes no more memory than a slow reader may."""

    TOPICS_COUNT = 100_000
    REPEATS_COUNT = 5
    SOFT_BYTES = 256 * 1024
    # What a turn of catching up may add to a delay is a few milliseconds; a busy machine adds more.
    P99_MAX_S = 0.1

    def fill(self, port):
        """Publishes to each topic once."""
        with RawClient(("127.0.0.1", port)) as client:
            for begin in range(0, self.TOPICS_COUNT, 500):
                client.send(frame(TEXT, json.dumps([
                    {"op": "publish", "topic": f"values/{number % 97}/{number}", "data": number}
                    for number in range(begin, begin + 500)])))
            client.command(op="ping", id=1)
            client.read_op("pong")

    def subscribe_all(self, port):
        """Reads as fast as it can, and looks at it afterwards; answers the messages of the replay
        and those that came in addition."""
        with RawClient(("127.0.0.1", port)) as client:
            client.command(op="subscribe", id=1, filter="#", start={"last": 1})
            pieces, end = [client.received], b""
            while b'"op":"live"' not in end:
                pieces.append(client.socket.recv(1 << 20))
                self.assertTrue(pieces[-1], "the broker ended the subscriber")
                end = (end + pieces[-1])[-4096:]
            announced, live, left_count = [], [], 0
            for opcode, payload in take_frames(b"".join(pieces))[0]:
                self.assertEqual(TEXT, opcode)
                message = json.loads(payload)
                if message["op"] == "replay":
                    left_count = message["count"]
                elif message["op"] == "message" and left_count > 0:
                    announced.append(message)
                    left_count -= 1
                elif message["op"] == "message":
                    live.append(message)
                else:
                    self.assertIn(message["op"], ("subscribed", "live"))
            return announced, live

    def watch_queue(self, broker, has_ended, most_bytes):
        while not has_ended.is_set():
            most_bytes.append(broker.metrics()["fanfare_outbound_bytes"])
            time.sleep(0.02)

    def test_others_are_not_delayed(self):
        with Broker("--workers", "1", "--topic-rule", "match=ticks,history_messages=1000",
                    "--topic-rule", "match=#,history_messages=1") as broker:
            self.fill(broker.port)
            context = multiprocessing.get_context("fork")
            calm_s = self.delays(context, broker, lambda: time.sleep(1))
            results, queued_bytes = [], []

            def subscribe():
                has_ended = threading.Event()
                watcher = threading.Thread(target=self.watch_queue,
                                           args=(broker, has_ended, queued_bytes))
                watcher.start()
                for _ in range(self.REPEATS_COUNT):
                    results.append(self.subscribe_all(broker.port))
                has_ended.set()
                watcher.join()

            busy_s = self.delays(context, broker, subscribe)
        for announced, live in results:
            self.check_values(announced, live)
        p99_s = sorted(busy_s)[len(busy_s) * 99 // 100]
        calm_p99_s = sorted(calm_s)[len(calm_s) * 99 // 100]
        print(f"delay of the others: p99 {1e3 * p99_s:.1f} ms of {len(busy_s)}, "
              f"calm {1e3 * calm_p99_s:.1f} ms; most queued {max(queued_bytes):.0f} bytes")
        self.assertLess(max(queued_bytes), self.SOFT_BYTES + 64 * 1024)
        self.assertLess(p99_s, calm_p99_s + self.P99_MAX_S * (10 if Options.is_sanitized else 1))

    @staticmethod
    def delays(context, broker, work):
        """The delays of another client while work() is going on."""
        has_ended = context.Event()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=measure_delays, daemon=True,
                                  args=(broker.port, "ticks", has_ended, sender))
        process.start()
        try:
            assert receiver.recv() == "ready"
            work()
            has_ended.set()
            return receiver.recv()
        finally:
            process.kill()
            process.join()

    def check_values(self, announced, live):
        """Each topic's value came once; of the ticks, which went on, none is missing or twice."""
        values = [message["data"] for message in announced if message["topic"] != "ticks"]
        self.assertEqual(self.TOPICS_COUNT, len(values))
        self.assertEqual(set(range(self.TOPICS_COUNT)), set(values))
        ticks = [message["data"]["count"] for message in announced + live
                 if message["topic"] == "ticks"]
        self.assertEqual(list(range(ticks[0], ticks[0] + len(ticks))), ticks)
        self.assertGreater(len(ticks), 1)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
