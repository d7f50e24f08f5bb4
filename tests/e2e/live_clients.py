#!/usr/bin/python3
"""Clients that publish and receive at a steady pace while something happens to others, in a process
of their own. They notice every message that is missing, twice or out of order, every end of a
connection, and how late each message is.

    live_clients.py PORT CLIENTS TOPIC RATE BYTES

RATE messages of some BYTES a second are published to TOPIC, to which all subscribe. A line of the
input begins a phase of that name; the end of the input ends the load. One line of JSON at the end
tells the delays of each phase, counted from when a message was due: {"before": {"p50_ms": …}}
"""

import json
import os
import selectors
import subprocess
import sys
import time

import broker_process
from raw_client import CLOSE, PING, PONG, TEXT, RawClient, take_frames

LAST_MESSAGES_TIMEOUT_S = 60


class LiveClients:
    """The process, as a context of the test."""

    def __init__(self, port, clients_count, topic, rate, message_bytes):
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.abspath(__file__),
             *map(str, (port, clients_count, topic, rate, message_bytes))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=broker_process.die_with_parent)

    def __enter__(self):
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError("the live clients did not start")
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def begin(self, phase):
        self.process.stdin.write(phase + "\n")
        self.process.stdin.flush()

    def finish(self):
        """Answers the delays by phase, after checking that nobody missed anything."""
        output, _ = self.process.communicate(timeout=2 * LAST_MESSAGES_TIMEOUT_S)
        if self.process.returncode != 0:
            raise AssertionError("the live clients were not left alone; see their last words")
        return json.loads(output)


class Load:
    def __init__(self, port, clients_count, topic, rate, message_bytes):
        self.topic, self.rate, self.padding = topic, rate, "x" * message_bytes
        self.publisher = RawClient(("127.0.0.1", port))
        self.clients = [RawClient(("127.0.0.1", port)) for _ in range(clients_count)]
        self.selector = selectors.DefaultSelector()
        for client in self.clients:
            client.command(op="subscribe", id=1, filter=topic)
            client.read_op("subscribed")
            client.received_count = 0
        for client in [self.publisher, *self.clients]:
            client.socket.setblocking(False)
            self.selector.register(client.socket, selectors.EVENT_READ, client)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        self.published_count = 0
        self.phases = {}  # name → delays in ns
        self.phase_of = []  # by number of the message
        self.is_finishing = False

    def run(self):
        print("ready", flush=True)
        began_ns = time.monotonic_ns()
        phase = self.phases.setdefault("start", [])
        while not self.is_finishing:
            due_ns = began_ns + self.published_count * 1_000_000_000 // self.rate
            left_ns = due_ns - time.monotonic_ns()
            if left_ns <= 0:
                self.phase_of.append(phase)
                self.publish(due_ns)
                continue
            line = self.handle(left_ns / 1e9)
            if line:
                phase = self.phases.setdefault(line, [])
        deadline_s = time.monotonic() + LAST_MESSAGES_TIMEOUT_S
        while any(client.received_count < self.published_count for client in self.clients):
            if time.monotonic() > deadline_s:
                sys.exit(f"of {self.published_count} messages came "
                         f"{sorted(client.received_count for client in self.clients)}")
            self.handle(0.1)

    def publish(self, due_ns):
        self.published_count += 1
        self.publisher.socket.setblocking(True)
        self.publisher.command(op="publish", topic=self.topic,
                               data=[self.padding, 0, self.published_count, due_ns])
        self.publisher.socket.setblocking(False)

    def handle(self, timeout_s):
        """Handles what has come; answers the name of a phase that begins."""
        line = None
        for key, _ in self.selector.select(timeout_s):
            if key.data is not None:
                self.receive(key.data)
                continue
            line = sys.stdin.readline().strip()
            if not line:
                self.is_finishing = True
                self.selector.unregister(sys.stdin)
        return line

    def receive(self, client):
        now_ns = time.monotonic_ns()
        data = client.socket.recv(262_144)
        if not data:
            sys.exit("the broker ended the connection of a live client")
        frames, client.received = take_frames(client.received + data)
        for opcode, payload in frames:
            self.take(client, opcode, payload, now_ns)

    def take(self, client, opcode, payload, now_ns):
        if opcode == PING:
            client.send_frame(PONG, payload)
        elif opcode == CLOSE:
            sys.exit(f"the broker closes a live client: {payload!r}")
        elif opcode == TEXT:
            message = json.loads(payload)
            if message["op"] != "message":
                sys.exit(f"unexpected: {message}")
            _, _, number, due_ns = message["data"]
            client.received_count += 1
            if number != client.received_count:
                sys.exit(f"message {number} in the place of {client.received_count}")
            self.phase_of[number - 1].append(now_ns - due_ns)

    def report(self):
        phases = {}
        for name, delays_ns in self.phases.items():
            if not delays_ns:
                continue
            delays_ns.sort()

            def percentile_ms(percent, sorted_ns=tuple(delays_ns)):
                place = min(len(sorted_ns) - 1, len(sorted_ns) * percent // 100)
                return round(sorted_ns[place] / 1e6, 3)

            phases[name] = {"deliveries": len(delays_ns), "p50_ms": percentile_ms(50),
                            "p99_ms": percentile_ms(99), "max_ms": percentile_ms(100)}
        return phases


def main():
    port, clients_count, topic, rate, message_bytes = sys.argv[1:]
    load = Load(int(port), int(clients_count), topic, int(rate), int(message_bytes))
    load.run()
    print(json.dumps(load.report()), flush=True)


if __name__ == "__main__":
    main()
