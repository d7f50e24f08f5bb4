"""Publishers that keep a pace and know the position of everything they published, in processes of
their own. Each topic belongs to one of them; the data of its messages is {"count": 0, 1, 2, …}.
"""

import json
import multiprocessing
import select
import time

import broker_process
from raw_client import PING, PONG, TEXT, RawClient, frame, take_frames

TICK_S = 0.01
FRAME_BYTES_MAX = 60_000  # within the largest message
COMMAND_BYTES = 110  # without padding
UNANSWERED_MAX = 4_000
LEAD_MAX = 10_000  # before a subscriber that tells how far it has come
ANSWER_TIMEOUT_S = 60


class Publisher:
    """One connection. Sends arrays of commands with ids, and reads the answers."""

    def __init__(self, port, topics, padding_bytes):
        self.client = RawClient(("127.0.0.1", port))
        self.topics = topics
        self.padding = {"padding": "x" * padding_bytes} if padding_bytes else {}
        self.commands_max = FRAME_BYTES_MAX // (COMMAND_BYTES + padding_bytes)  # of one array
        self.sent_count = 0
        self.answered_count = 0
        self.positions = {topic: [] for topic in topics}

    def publish(self, count):
        commands = []
        for index in range(self.sent_count, self.sent_count + count):
            data = {"count": index // len(self.topics), **self.padding}
            commands.append({"op": "publish", "id": index, "data": data,
                             "topic": self.topics[index % len(self.topics)]})
        self.client.send(frame(TEXT, json.dumps(commands, separators=(",", ":"))))
        self.sent_count += count

    def read_answers(self, timeout_s):
        """Takes what has come; waits for the first of it."""
        if not select.select([self.client.socket], [], [], timeout_s)[0]:
            return
        received = self.client.received + self.client.socket.recv(1 << 20)
        assert received, "the broker ended a publisher"
        frames, self.client.received = take_frames(received)
        for opcode, payload in frames:
            if opcode == PING:
                self.client.send_frame(PONG, payload)
                continue
            assert opcode == TEXT, (opcode, payload)
            self.take_answer(json.loads(payload))

    def take_answer(self, answer):
        # Answers of one connection may overtake each other between topics, not within one.
        assert answer["op"] == "published", answer
        positions = self.positions[self.topics[answer["id"] % len(self.topics)]]
        assert answer["id"] // len(self.topics) == len(positions), answer
        positions.append(answer.get("pos"))
        self.answered_count += 1

    def run(self, pace):
        begin_s = time.monotonic()
        while not pace.has_ended.is_set():
            due_count = int((time.monotonic() - begin_s) * pace.messages_per_s) - self.sent_count
            room_count = UNANSWERED_MAX - (self.sent_count - self.answered_count)
            if pace.delivered.value >= 0:
                lead_max = (LEAD_MAX + pace.delivered.value) // pace.publishers_count
                room_count = min(room_count, lead_max - self.sent_count)
            count = min(due_count, room_count, self.commands_max)
            if count > 0:
                self.publish(count)
            self.read_answers(0 if count == self.commands_max else TICK_S)
            if due_count < self.commands_max:
                time.sleep(TICK_S / 2)
        seconds = time.monotonic() - begin_s
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while self.answered_count < self.sent_count:
            assert time.monotonic() < deadline_s, "publishes are not answered"
            self.read_answers(1)
        return self.positions, self.sent_count / seconds


class Pace:
    """What all publishers share, and the test with them."""

    def __init__(self, context, messages_per_s, publishers_count):
        self.messages_per_s = messages_per_s / publishers_count  # of each
        self.publishers_count = publishers_count
        self.may_begin, self.has_ended = context.Event(), context.Event()
        # Messages that a subscriber has got; -1: nobody counts. So on a machine that is too slow
        # for the pace the publishers wait for the subscriber, instead of leaving it behind for
        # good.
        self.delivered = context.Value("q", -1, lock=False)


def run_publisher(port, topics, padding_bytes, pace, pipe):
    broker_process.die_with_parent()
    publisher = Publisher(port, topics, padding_bytes)
    pace.may_begin.wait()
    pipe.send(publisher.run(pace))
    publisher.client.close()


class PacedPublishers:
    """As a context; begin() lets them publish, end() answers what they published."""

    def __init__(self, port, topics, messages_per_s, publishers_count=2, padding_bytes=0):
        context = multiprocessing.get_context("fork")
        self.pace = Pace(context, messages_per_s, publishers_count)
        self.rate = 0
        self.publishers = []
        for index in range(publishers_count):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(daemon=True, target=run_publisher, args=(
                port, topics[index::publishers_count], padding_bytes, self.pace, sender))
            self.publishers.append((process, receiver, sender))

    def __enter__(self):
        for process, _, sender in self.publishers:
            process.start()
            sender.close()
        return self

    def __exit__(self, kind, value, traceback):
        for process, _, _ in self.publishers:
            process.kill()
            process.join()

    def begin(self):
        self.pace.may_begin.set()

    def end(self):
        """Topic → positions, in the order of publishing."""
        self.pace.has_ended.set()
        positions = {}
        for _, receiver, _ in self.publishers:
            one_positions, rate = receiver.recv()
            positions.update(one_positions)
            self.rate += rate
        return positions
