#!/usr/bin/python3
"""How the cost of a delivery grows: bench/growth.py BUILD [--write]

BUILD is the folder of a release build, with `fanfare` and `bench/floor`. Three curves, each the
broker's CPU time per delivery, with one worker on one core and `fanfare bench` on another:

    subscribers   one topic, 10 to 30,000 subscribers, 16 messages on the way
    topics        100 rooms of 10 subscribers, beside 0 to 1,000,000 other topics that are
                  subscribed to, 64 messages on the way
    payload       200 subscribers, 34 B to 64,000 B, 2 messages on the way

Beside the first and the last stands a loop of send(2) of the same bytes (bench/floor). And what
remains of a burst: the broker's resident memory before 200 subscribers let 1 MB each wait for them,
then, and when they have read it. With --write the picture goes to bench/growth.svg and the table
into bench/RESULTS.md. Some ten minutes.
"""

import math
import pathlib
import resource
import socket
import statistics
import struct
import subprocess
import sys
import time
from typing import Callable, Dict, List, NamedTuple

import compare

FOLDER = pathlib.Path(__file__).resolve().parent
BEGIN_MARK, END_MARK = "<!-- growth -->", "<!-- end growth -->"
FILTERS_PER_CONNECTION = 1000
BURST_CLIENTS, BURST_MESSAGES, BURST_BYTES, BURSTS = 200, 100, 10_000, 3
UPGRADE = (b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")


class Curve(NamedTuple):
    name: str
    title: str
    axis: str
    points: List[int]
    bench: Callable[[int], List[str]]  # arguments of `fanfare bench` at a point
    floor: Callable[[int], List[str]] = None  # CLIENTS, OUTSTANDING and PAYLOAD at a point
    has_fillers: bool = False  # the point is a number of other topics


CURVES = [
    Curve("subscribers", "Subscribers of one topic", "subscribers",
          [10, 30, 100, 300, 1_000, 3_000, 9_000, 18_000, 30_000],
          lambda n: ["fanout", "--clients", str(n), "--window", "16"],
          lambda n: [str(n), "16", "64"]),
    Curve("topics", "Other topics, beside 100 rooms of 10", "topics",
          [0, 1_000, 10_000, 100_000, 1_000_000],
          lambda _: ["rooms", "--clients", "1000", "--topics", "100", "--publishers", "20",
                     "--window", "64"], has_fillers=True),
    Curve("payload", "Bytes of a payload", "bytes",
          [34, 64, 256, 1_000, 4_000, 16_000, 64_000],
          lambda n: ["fanout", "--clients", "200", "--window", "2", "--payload", str(n)],
          lambda n: ["200", "2", str(n)]),
]


class Broker(compare.Fanfare):
    """One that takes as many connections and messages as large as the curves need."""

    def command(self, port, folder):
        command = super().command(port, folder)
        place = command.index("--connections-max") + 1
        # Those who subscribe to other topics answer no pings: none comes before the end.
        return command[:place] + ["31000"] + command[place + 1:] + [
            "--message-max", "128KiB", "--heartbeat-interval", "10m"]


class PatientBroker(Broker):
    """One that lets a burst wait for its readers."""

    def command(self, port, folder):
        return super().command(port, folder) + [
            "--outbound-soft", "16MiB", "--outbound-hard", "16MiB", "--outbound-time", "120s"]


def client_text_frame(payload: bytes) -> bytes:
    """With the key 0, which masks nothing."""
    assert len(payload) < 65536
    if len(payload) > 125:
        length = bytes([0x80 | 126]) + struct.pack(">H", len(payload))
    else:
        length = bytes([0x80 | len(payload)])
    return b"\x81" + length + bytes(4) + payload


def receive(client: socket.socket) -> bytes:
    received = client.recv(1 << 20)
    if not received:
        raise RuntimeError("a client's connection was closed")
    return received


def subscribe(port: int, filters: str, receive_buffer_bytes=0) -> socket.socket:
    client = socket.socket()
    client.settimeout(10)
    if receive_buffer_bytes > 0:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.connect(("127.0.0.1", port))
    client.sendall(UPGRADE)
    client.sendall(client_text_frame(f'{{"op":"subscribe","id":1,"filters":[{filters}]}}'.encode()))
    received = b""
    while b'"op":"subscribed"' not in received:
        received += receive(client)
    return client


def subscribe_fillers(port: int, count: int) -> List[socket.socket]:
    """Connections that subscribe to `count` topics that nobody publishes to."""
    return [subscribe(port, ",".join(
        f'"fill/{number // 100}/{number % 100}"'
        for number in range(first, min(first + FILTERS_PER_CONNECTION, count))))
            for first in range(0, count, FILTERS_PER_CONNECTION)]


def resident_mib(pid: int) -> float:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def publish_burst(port: int):
    """Each subscriber has a topic of its own, so that nothing of it is shared."""
    publisher = subscribe(port, '"burst/none"')
    data = "x" * BURST_BYTES
    for _ in range(BURST_MESSAGES):
        publisher.sendall(b"".join(client_text_frame(
            f'{{"op":"publish","topic":"burst/{number}","data":"{data}"}}'.encode())
                                   for number in range(BURST_CLIENTS)))
    publisher.sendall(client_text_frame(b'{"op":"ping","id":2}'))
    while b"pong" not in receive(publisher):
        pass
    publisher.close()


def read_burst(clients: List[socket.socket]):
    for client in clients:
        received_bytes = 0
        while received_bytes < BURST_MESSAGES * BURST_BYTES:
            received_bytes += len(receive(client))


class Growth:
    def __init__(self, options):
        self.options = options
        self.comparison = compare.Comparison(options, [])
        self.found: Dict[tuple, List[float]] = {}  # (curve, series, point) → µs of each round
        self.failed: Dict[tuple, str] = {}
        self.noted: Dict[tuple, str] = {}  # what the load warned of
        self.bursts: List[List[float]] = []  # resident MiB before, during and after each

    def measure_bursts(self):
        broker = PatientBroker(self.comparison.fanfare)
        with broker.running(str(self.options.server_core)) as (port, pid):
            clients = [subscribe(port, f'"burst/{number}"', receive_buffer_bytes=4096)
                       for number in range(BURST_CLIENTS)]
            for _ in range(BURSTS):
                memory = [resident_mib(pid)]
                publish_burst(port)
                memory.append(resident_mib(pid))
                read_burst(clients)
                time.sleep(1)
                memory.append(resident_mib(pid))
                self.bursts.append(memory)
                print("burst " + ", ".join(f"{mib:.1f}" for mib in memory) + " MiB",
                      file=sys.stderr, flush=True)

    def measure(self, curve: Curve, point: int):
        broker = Broker(self.comparison.fanfare)
        row = compare.Row(curve.name, curve.title, curve.bench(point), "delivery")
        with broker.running(str(self.options.server_core)) as (port, pid):
            fillers = subscribe_fillers(port, point) if curve.has_fillers else []
            found = self.comparison.bench(row, broker.bench_arguments(port), pid)
            for warning in found["warnings"]:
                self.noted[(curve.name, point)] = warning
                print(f"{curve.name} {point:>9,} {warning}", file=sys.stderr, flush=True)
            for client in fillers:
                client.close()
        self.keep(curve, "fanfare", point, found["broker"]["cpu_us_per_delivery"])

    def measure_floor(self, curve: Curve, point: int):
        clients, outstanding, payload = curve.floor(point)
        row = compare.Row(curve.name, curve.title, [], "delivery", [outstanding, payload])
        found = self.comparison.measure_floor(row, "send", clients)
        self.keep(curve, "floor", point, found["broker"]["cpu_us_per_delivery"])

    def attempt(self, measure, curve: Curve, point: int):
        """One that fails (a busy machine, too few descriptors) leaves a hole in its curve."""
        try:
            measure(curve, point)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            is_slow = isinstance(error, subprocess.TimeoutExpired)
            reason = "it took too long" if is_slow else str(error).replace("\n", " ")[:200]
            self.failed[(curve.name, point)] = reason
            print(f"{curve.name} {point:>9,} FAILED: {error}", file=sys.stderr, flush=True)

    def keep(self, curve, series, point, us):
        self.found.setdefault((curve.name, series, point), []).append(us)
        print(f"{curve.name} {point:>9,} {series:8} {us:.3f} µs", file=sys.stderr, flush=True)

    def run(self):
        self.measure_bursts()
        for _ in range(self.options.rounds):
            for curve in CURVES:
                for point in curve.points:
                    self.attempt(self.measure, curve, point)
                    if curve.floor is not None:
                        self.attempt(self.measure_floor, curve, point)

    def median(self, curve, series, point):
        rounds = self.found.get((curve.name, series, point))
        return statistics.median(rounds) if rounds else None


def table(growth: Growth, curve: Curve) -> str:
    lines = [f"| {curve.title} | " + " | ".join(f"{point:,}" for point in curve.points) + " |",
             "|---" * (len(curve.points) + 1) + "|"]
    for series, title in (("fanfare", "Fanfare, µs"), ("floor", "loop of send(2), µs")):
        values = [growth.median(curve, series, point) for point in curve.points]
        if all(value is None for value in values):
            continue
        lines.append(f"| {title} | " + " | ".join("–" if value is None else f"{value:.3f}"
                                                     for value in values) + " |")
    return "\n".join(lines) + "\n"


class Panel:
    """One curve: both axes logarithmic, each decade marked."""

    def __init__(self, growth: Growth, curve: Curve, left: int):
        self.growth, self.curve, self.left = growth, curve, left
        self.top, self.width, self.height = 40, 210, 190
        values = [value for series in ("fanfare", "floor") for point in curve.points
                  if (value := growth.median(curve, series, point)) is not None]
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self.first = math.log10(max(curve.points[0], 100 if curve.has_fillers else 1))
        self.last = math.log10(curve.points[-1])

    def x(self, point: int) -> float:
        # None at all stands at the left end.
        value = max(math.log10(point), self.first) if point > 0 else self.first
        return self.left + self.width * (value - self.first) / (self.last - self.first)

    def y(self, us: float) -> float:
        part = (math.log10(us) - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - part)

    def axes(self) -> List[str]:
        bottom = self.top + self.height
        parts = [f'<text x="{self.left}" y="24" font-weight="600">{self.curve.title}</text>']
        for exponent in range(self.low, self.high + 1):
            y = self.y(10.0 ** exponent)
            parts.append(f'<path d="M{self.left} {y:.1f}h{self.width}" stroke="#dddddd"/>'
                         f'<text x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end">'
                         f'{10.0 ** exponent:g}</text>')
        for point in self.curve.points[::2]:
            parts.append(f'<text x="{self.x(point):.1f}" y="{bottom + 16}" text-anchor="middle">'
                         f'{short_number(point)}</text>')
        return parts

    def line(self, series: str, colour: str) -> List[str]:
        places = [(self.x(point), self.y(us)) for point in self.curve.points
                  if (us := self.growth.median(self.curve, series, point)) is not None]
        if not places:
            return []
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'] + [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]


def short_number(value: int) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1_000:g} k" if value >= 1_000 else str(value)


def picture(growth: Growth) -> str:
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 280" '
             'font-family="system-ui, sans-serif" font-size="11">'
             '<rect width="800" height="280" fill="#ffffff"/>']
    for index, curve in enumerate(CURVES):
        panel = Panel(growth, curve, 40 + 262 * index)
        parts += panel.axes() + panel.line("floor", "#90989f") + panel.line("fanfare", "#1565c0")
    parts.append('<text x="40" y="270" fill="#1565c0">Fanfare: µs of CPU per delivery</text>'
                 '<text x="240" y="270" fill="#5d6675">a loop of send(2)</text></svg>')
    return "\n".join(parts) + "\n"


def section(growth: Growth) -> str:
    options = growth.options
    lines = ["## How the cost of a delivery grows", "",
             f"`bench/growth.py`, {compare.when_text(options)}. The broker's CPU time per delivery "
             "in µs, one worker alone on its core; medians. A window of messages is on the way: 16 "
             "to the subscribers of one topic, 64 in the rooms, 2 of each payload (to 200 "
             "subscribers). A payload of the load has at least 34 bytes, because it says when it "
             "was published.", ""]
    for curve in CURVES:
        lines.append(table(growth, curve))
    remarks = [f"Failed once or more: {name} at {point:,}: {reason}."
               for (name, point), reason in growth.failed.items()]
    # The cost of a delivery is the broker's, whoever was the bottleneck.
    remarks += [f"Noted of {name} at {point:,}: {warning}."
                for (name, point), warning in growth.noted.items() if "bottleneck" not in warning]
    lines += [*remarks, "", "![The cost of a delivery](growth.svg)", "",
              f"What remains of a burst: {BURST_CLIENTS} subscribers let "
              f"{BURST_MESSAGES * BURST_BYTES / 1e6:g} MB each wait for them, and read it then; the "
              "broker's resident memory in MiB.", "",
              "| | before | while it waits | a second after it was read |", "|---|---|---|---|"]
    lines += [f"| burst {number + 1} | " + " | ".join(f"{mib:.1f}" for mib in memory) + " |"
              for number, memory in enumerate(growth.bursts)]
    lines.append("")
    return "\n".join(lines)


def arguments():
    parser = compare.measuring_parser(__doc__, rounds=3, seconds=3)
    parser.add_argument("--write", action="store_true",
                        help="into bench/RESULTS.md and bench/growth.svg")
    return parser.parse_args()


def main():
    options = arguments()
    options.build = options.build.resolve()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    growth = Growth(options)
    growth.run()
    text = section(growth)
    print(text)
    if options.write:
        compare.write_section(FOLDER / "RESULTS.md", text, BEGIN_MARK, END_MARK)
        (FOLDER / "growth.svg").write_text(picture(growth))


if __name__ == "__main__":
    main()
