#!/usr/bin/python3
"""Measures Fanfare beside other servers and the kernel's floor: bench/compare.py BUILD [options]

BUILD is the folder of a release build, with `fanfare` and `bench/floor`. Each server runs alone, on
one core, started anew for each figure; `fanfare bench` drives all of them from the other core.
Rounds alternate between the servers, and the table has the medians. Servers that are not installed
are left out, which the result says; bench/peers/README.md tells where they come from.

    bench/compare.py build/release --rounds 1 --seconds 1        a try, some minutes
    bench/compare.py build/release --write                       five rounds, some 25 minutes,
                                                                 into RESULTS.md
"""

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple, Optional

FOLDER = pathlib.Path(__file__).resolve().parent
PEERS = FOLDER / "peers"
START_TIMEOUT_S = 20
SERVER_NAMES = ("fanfare", "bun", "ws", "nats", "nchan")
BUSY_SHARE = 0.9  # of a core, as tools/bench/result.cc has it
BEGIN_MARK, END_MARK = "<!-- compare -->", "<!-- end compare -->"
TEXT_FRAMES = ["--dialect", "template", "--subscribe-frame", "sub {topic}", "--publish-frame",
               "pub {topic} {payload}", "--ready-text", "ok"]

NATS_CONFIGURATION = """
listen: "127.0.0.1:-1"
max_connections: 100000
max_pending: 256MB
websocket {{ listen: "127.0.0.1:{port}", no_tls: true, compression: false }}
"""
NGINX_CONFIGURATION = """
load_module {module};
worker_processes 1;
daemon off;
user root;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  nchan_max_reserved_memory 512M;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber websocket; nchan_channel_id $1; nchan_websocket_ping_interval 0;
      nchan_subscriber_first_message newest;
    }}
    location ~ ^/pub/(.+)$ {{
      nchan_publisher websocket; nchan_channel_id $1; nchan_message_buffer_length 0;
    }}
  }}
}}
"""


class Target(NamedTuple):
    """What Fanfare wants to be: its figure at most `most` times the best of the others."""
    text: str
    most: float
    of: str = "peers"                # or "floor-send"
    figure: Optional[str] = None     # of figures_of(); None: what cost_of() takes
    is_rate: bool = False            # more is better: at least `most` times
    most_absolute: Optional[float] = None


class Row(NamedTuple):
    name: str
    title: str
    bench: List[str]  # arguments of `fanfare bench`
    figure: str       # "delivery", "connection", "memory" or "latency"
    floor: Optional[List[str]] = None  # OUTSTANDING PAYLOAD, where the floor has a counterpart
    targets: List[Target] = []
    is_of_workers: bool = False  # one worker and two of Fanfare, and no other server


ROWS = [
    Row("fanout-1", "1 → 1,000, 64 B, 1 on the way", ["fanout", "--window", "1"], "delivery",
        ["1", "64"], [Target("at or below a loop of send(2)", 1.0, of="floor-send"),
                      Target("below the best peer", 1.0)]),
    Row("fanout-16", "1 → 1,000, 64 B, 16 on the way", ["fanout", "--window", "16"], "delivery",
        ["16", "64"], [Target("≤ 0.95 of the best peer", 0.95)]),
    Row("fanout-256", "1 → 1,000, 64 B, 256 on the way", ["fanout", "--window", "256"],
        "delivery", ["256", "64"],
        [Target("≤ 0.1 µs, and ≤ 0.4 of the best peer", 0.4, most_absolute=0.1)]),
    Row("fanout-1000B", "1 → 1,000, 1,000 B, 16 on the way",
        ["fanout", "--window", "16", "--payload", "1000"], "delivery", ["16", "1000"],
        [Target("≤ 0.95 of the best peer", 0.95)]),
    Row("rooms", "1,000 in 100 rooms, 20 publishers, 64 on the way",
        ["rooms", "--topics", "100", "--publishers", "20", "--window", "64"], "delivery",
        targets=[Target("≤ 0.85 of the best peer", 0.85)]),
    Row("fanin", "1,000 publishers → 1, 1,000 on the way", ["fanin", "--window", "1000"],
        "delivery", targets=[Target("≥ 1.5 × the best peer's messages/s", 1.5, figure="per_s",
                                    is_rate=True)]),
    Row("latency", "1 → 1,000 at half of the best peer's rate", ["fanout"], "latency",
        targets=[Target("p50 below every peer", 1.0, figure="p50"),
                 Target("p99 below every peer", 1.0, figure="p99")]),
    Row("upgrades", "connect, subscribe, disconnect", ["churn", "--clients", "100"],
        "connection", targets=[Target("below the best peer", 1.0)]),
    Row("idle", "5,000 idle subscribers", ["idle", "--clients", "5000"], "memory"),
    Row("workers", "1 → 1,000, 64 B, 16 on the way", ["fanout", "--window", "16"], "delivery",
        is_of_workers=True),
    Row("workers-rooms", "1,000 in 100 rooms, 20 publishers, 64 on the way",
        ["rooms", "--topics", "100", "--publishers", "20", "--window", "64"], "delivery",
        is_of_workers=True),
]


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"it does not listen after {START_TIMEOUT_S} s")


class Server:
    """How to start one, and what `fanfare bench` must know of it."""

    name = ""
    title = ""

    def missing(self) -> str:
        """Why it cannot be started here; empty when it can."""
        return ""

    def command(self, port: int, folder: pathlib.Path) -> List[str]:
        raise NotImplementedError

    def version(self) -> str:
        return ""

    def bench_arguments(self, port: int) -> List[str]:
        return ["--url", f"ws://127.0.0.1:{port}/"]

    def working_pid(self, process) -> int:
        return process.pid

    @contextlib.contextmanager
    def running(self, cores: str):
        """Yields the port and the process whose CPU counts."""
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            port = unused_port()
            command = ["taskset", "-c", cores, *self.command(port, pathlib.Path(folder))]
            with open(pathlib.Path(folder) / "log", "wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, preexec_fn=die_with_parent,
                                           env={**os.environ, "GOMAXPROCS": "1"})
            try:
                try:
                    wait_for_port(port, process)
                except RuntimeError as error:
                    log = (pathlib.Path(folder) / "log").read_text("utf-8", "replace")
                    raise RuntimeError(f"{error}: {log[-500:]}") from None
                yield port, self.working_pid(process)
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def milliseconds(seconds) -> str:
    return f"{round(seconds * 1000)}ms"


def first_line(*command) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).strip().split("\n")[0]


class Fanfare(Server):
    name, title = "fanfare", "Fanfare"

    def __init__(self, program, workers=1):
        self.program, self.workers = program, workers

    def command(self, port, folder):
        return [self.program, "serve", "--workers", str(self.workers), "--listen", f"127.0.0.1:{port}",
                "--connections-max", "9000", "--log-level", "warn"]

    def version(self):
        return first_line(self.program, "version")

    def bench_arguments(self, port):
        return ["--url", f"ws://127.0.0.1:{port}/ws"]


class FanfareWorkers(Fanfare):
    """For the comparison of workers, which run on all cores."""

    def __init__(self, program, workers):
        super().__init__(program, workers)
        self.name = f"workers-{workers}"
        self.title = f"{workers} worker" + ("s" if workers > 1 else "")


class Bun(Server):
    name, title = "bun", "uWebSockets in Bun"

    def __init__(self, program):
        self.program = program

    def missing(self):
        return "" if self.program else "bun is not installed"

    def command(self, port, folder):
        return [self.program, str(PEERS / "bun_server.mjs"), str(port)]

    def version(self):
        return "Bun " + first_line(self.program, "--version")

    def bench_arguments(self, port):
        return super().bench_arguments(port) + TEXT_FRAMES


class Ws(Server):
    name, title = "ws", "Node.js ws"

    def missing(self):
        if not shutil.which("node"):
            return "node is not installed"
        return "" if pathlib.Path("/usr/share/nodejs/ws").exists() else "node-ws is not installed"

    def command(self, port, folder):
        return ["node", str(PEERS / "ws_server.cjs"), str(port)]

    def version(self):
        manifest = json.loads(pathlib.Path("/usr/share/nodejs/ws/package.json").read_text())
        return f"ws {manifest['version']}, Node.js {first_line('node', '--version')}"

    def bench_arguments(self, port):
        return super().bench_arguments(port) + TEXT_FRAMES


class Nats(Server):
    name, title = "nats", "nats-server"

    def __init__(self, program):
        self.program = program

    def missing(self):
        return "" if self.program else "nats-server is not installed"

    def command(self, port, folder):
        file = folder / "nats.conf"
        file.write_text(NATS_CONFIGURATION.format(port=port))
        return [self.program, "-c", str(file)]

    def version(self):
        return first_line(self.program, "--version")

    def bench_arguments(self, port):
        return super().bench_arguments(port) + ["--dialect", "nats"]


class Nchan(Server):
    name, title = "nchan", "nginx, nchan"

    def __init__(self, program, module):
        self.program, self.module = program, module

    def missing(self):
        if not self.program:
            return "nginx is not installed"
        return "" if pathlib.Path(self.module).exists() else "nchan is not installed"

    def command(self, port, folder):
        file = folder / "nginx.conf"
        file.write_text(NGINX_CONFIGURATION.format(port=port, folder=folder, module=self.module))
        return [self.program, "-c", str(file), "-p", str(folder)]

    def version(self):
        return first_line(self.program, "-v")

    def bench_arguments(self, port):
        return super().bench_arguments(port) + ["--dialect", "nchan", "--subscribe-path",
                                                "/sub/{topic}", "--publish-path", "/pub/{topic}"]

    def working_pid(self, process):
        """The worker's, not the master's, which listens before it has one."""
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if pids := children.read_text().split():
                return int(pids[0])
            time.sleep(0.02)
        raise RuntimeError("it has no worker")


class Comparison:
    def __init__(self, options, servers: List[Server]):
        self.options = options
        self.fanfare = str(options.build / "fanfare")
        self.servers = servers
        self.workers = [FanfareWorkers(self.fanfare, count) for count in (1, 2)]
        self.found: Dict[tuple, List[dict]] = {}  # (row, server) → what each round found
        self.failed: Dict[tuple, str] = {}
        self.rate = 0.0

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def bench(self, row: Row, arguments: List[str], pid=None) -> dict:
        command = ["taskset", "-c", str(self.options.load_core), self.fanfare, "bench",
                   *row.bench, *arguments, "--json", "--duration", milliseconds(self.options.seconds),
                   "--warmup", milliseconds(self.options.warmup)]
        if pid is not None:
            command += ["--broker-pid", str(pid)]
        result = subprocess.run(command, capture_output=True, text=True, check=False,
                                timeout=120 + 10 * self.options.seconds,
                                preexec_fn=die_with_parent)
        if not result.stdout:
            raise RuntimeError(result.stderr.strip()[-300:] or f"ended with {result.returncode}")
        found = json.loads(result.stdout)
        if result.returncode != 0:
            raise RuntimeError(found["failure"] or trouble_of(found))
        return found

    def measure(self, row: Row, server: Server):
        more = []
        if row.figure == "latency":
            if self.rate == 0:
                return
            more = ["--rate", f"{self.rate:.1f}"]
        self.keep(row, server.name, lambda: self.measure_server(row, server, more))

    def measure_server(self, row, server, more):
        cores = f"0-{os.cpu_count() - 1}" if row.is_of_workers else str(self.options.server_core)
        with server.running(cores) as (port, pid):
            return self.bench(row, server.bench_arguments(port) + more, pid)

    def keep(self, row, name, measure):
        key = (row.name, name)
        if key in self.failed:
            return
        try:
            found = measure()
            if cost_of(row, figures_of(row, found)) <= 0:
                raise RuntimeError("too little was done to be measured: more --seconds are needed")
            self.found.setdefault(key, []).append(found)
            self.say(f"    {name:12} {figure_text(row, found)}")
            for warning in found["warnings"]:
                self.say(f"    {'':12} {warning}")
        except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            # A server that cannot do it once is not asked again: a round would take for ever.
            self.failed[key] = str(error).replace("\n", " ")[:200]
            self.say(f"    {name:12} FAILED: {self.failed[key]}")

    def measure_floor(self, row: Row, mode: str, clients="1000"):
        options = self.options
        result = subprocess.run(
            [str(options.build / "bench" / "floor"), clients, mode, *row.floor,
             str(options.seconds), str(options.server_core), str(options.load_core)],
            capture_output=True, text=True, check=False, timeout=20 + 4 * options.seconds,
            preexec_fn=die_with_parent)
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip())
        found = json.loads(result.stdout)
        # A round begins when all have read the one before: the writer waits for its readers.
        warnings = ["its readers were the bottleneck"] if found["cpu_share"] < BUSY_SHARE else []
        return {"delivered_per_s": found["delivered_per_s"], "warnings": warnings,
                "wire_bytes_per_delivery": found["frame_bytes"],
                "broker": {"cpu_us_per_delivery": found["cpu_us_per_delivery"],
                           "cpu_share": found["cpu_share"]}}

    def find_rate(self):
        """Half of what the best peer published per second in the row with 16 on the way."""
        rates = [statistics.median(one["published_per_s"] for one in found)
                 for (row, name), found in self.found.items()
                 if row == "fanout-16" and name not in ("fanfare", "floor-send", "floor-uring")]
        own = [found["published_per_s"] for found in self.found.get(("fanout-16", "fanfare"), [])]
        if not rates and own:
            self.say("no peer has a rate; half of Fanfare's own is taken")
        self.rate = max(rates or own or [0]) / 2

    def run(self, rows: List[Row]):
        for number in range(self.options.rounds):
            # Another one goes first in each round.
            shift = number % len(self.servers)
            servers = self.servers[shift:] + self.servers[:shift]
            for row in rows:
                self.say(f"round {number + 1} of {self.options.rounds}: {row.title}")
                if row.figure == "latency" and self.rate == 0:
                    self.find_rate()
                    if self.rate == 0:
                        self.say("    left out: its rate is known only with the row fanout-16")
                for server in self.workers if row.is_of_workers else servers:
                    self.measure(row, server)
                for mode in ("send", "uring") if row.floor and self.options.floor else ():
                    self.keep(row, f"floor-{mode}", lambda m=mode: self.measure_floor(row, m))


def figures_of(row: Row, found: dict) -> Dict[str, float]:
    broker = found.get("broker", {})
    if row.figure == "delivery":
        return {"us": broker["cpu_us_per_delivery"], "per_s": found["delivered_per_s"],
                "bytes": found["wire_bytes_per_delivery"]}
    if row.figure == "connection":
        return {"us": broker["cpu_us_per_connection"], "per_s": found["connects_per_s"]}
    if row.figure == "memory":
        return {"bytes": broker["resident_bytes_per_connection"]}
    latency = found["latency_ns"]
    return {name: latency[name] / 1e6 for name in ("p50", "p99", "p999")}


def figure_text(row: Row, found: dict) -> str:
    figures = figures_of(row, found)
    if row.figure == "delivery":
        return f"{figures['us']:.3f} µs, {figures['per_s'] / 1e6:.3f} M/s"
    if row.figure == "connection":
        return f"{figures['us']:.0f} µs, {figures['per_s']:,.0f}/s"
    if row.figure == "memory":
        return f"{figures['bytes']:,.0f} B"
    return f"{figures['p50']:.2f} / {figures['p99']:.2f} / {figures['p999']:.2f} ms"


def trouble_of(found: dict) -> str:
    """Why a run that came to its end was no good one."""
    if found["lost_connections"] + found["refused_attempts"] > 0:
        return (f"{found['lost_connections']} connections were ended, {found['refused_attempts']} "
                "refused")
    return f"{found['delivered']} of {found['expected']} deliveries came"


def median_of(row: Row, rounds: List[dict]) -> dict:
    """The figures of all rounds as one: the median of each."""
    all_figures = [figures_of(row, found) for found in rounds]
    return {name: statistics.median(figures[name] for figures in all_figures)
            for name in all_figures[0]}


def cell_text(row: Row, figures: dict) -> str:
    if row.figure == "delivery":
        return f"{figures['us']:.3f} µs · {figures['per_s'] / 1e6:.2f} M/s · {figures['bytes']:.0f} B"
    if row.figure == "connection":
        return f"{figures['us']:.0f} µs · {figures['per_s']:,.0f}/s"
    if row.figure == "memory":
        return f"{figures['bytes']:,.0f} B"
    return f"{figures['p50']:.2f} / {figures['p99']:.2f} / {figures['p999']:.2f} ms"


def cost_of(row: Row, figures: dict) -> float:
    return figures[{"delivery": "us", "connection": "us", "memory": "bytes",
                    "latency": "p99"}[row.figure]]


def rounds_of(comparison, row, name) -> List[dict]:
    """None of who has failed once: what went well before it is no result."""
    key = (row.name, name)
    return [] if key in comparison.failed else comparison.found.get(key, [])


def cell(comparison, row, name, own) -> str:
    if (row.name, name) in comparison.failed:
        return "failed"
    rounds = rounds_of(comparison, row, name)
    if not rounds:
        return "–"
    figures = median_of(row, rounds)
    text = cell_text(row, figures)
    if own and name != "fanfare" and cost_of(row, own) > 0:
        text += f" · **{cost_of(row, figures) / cost_of(row, own):.2f}×**"
    is_load_bound = any("bottleneck" in text for found in rounds for text in found["warnings"])
    return text + (" †" if is_load_bound else "")


def median_figures(comparison, row, name) -> Optional[Dict[str, float]]:
    rounds = rounds_of(comparison, row, name)
    return median_of(row, rounds) if rounds else None


def others_of(comparison, row, target) -> Dict[str, Dict[str, float]]:
    """By the name of each server that the target is about, its figures."""
    names = [server.name for server in comparison.servers if server.name != "fanfare"]
    if target.of != "peers":
        names = [target.of]
    found = {name: median_figures(comparison, row, name) for name in names}
    return {name: figures for name, figures in found.items() if figures}


def target_line(comparison, row, target) -> str:
    own = median_figures(comparison, row, "fanfare")
    others = others_of(comparison, row, target)
    if own is None or not others:
        return f"| {row.title} | {target.text} | – | – | – | not measured |"

    def value_of(figures):
        return figures[target.figure] if target.figure else cost_of(row, figures)

    best = (max if target.is_rate else min)(others, key=lambda name: value_of(others[name]))
    ratio = value_of(own) / value_of(others[best])
    is_met = ratio >= target.most if target.is_rate else ratio <= target.most
    if target.most_absolute is not None:
        is_met = is_met and value_of(own) <= target.most_absolute
    return (f"| {row.title} | {target.text} | {number_text(value_of(own))} | "
            f"{number_text(value_of(others[best]))} ({best}) | {ratio:.2f} | "
            f"{'yes' if is_met else '**no**'} |")


def number_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def targets_table(comparison, rows) -> str:
    lines = ["| | wanted | Fanfare | best of the others | ratio | met |", "|---|---|---|---|---|---|"]
    lines += [target_line(comparison, row, target) for row in rows for target in row.targets]
    return "\n".join(lines) + "\n"


def workers_table(comparison, rows) -> str:
    columns = [(server.name, server.title) for server in comparison.workers]
    lines = ["| | " + " | ".join(title for _, title in columns) + " |",
             "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [cell(comparison, row, name, None) for name, _ in columns]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def table(comparison, rows, columns) -> str:
    lines = ["| | " + " | ".join(title for _, title in columns) + " |",
             "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        own = median_figures(comparison, row, "fanfare")
        cells = [cell(comparison, row, name, own) for name, _ in columns]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(comparison, rows, columns) -> str:
    """Deliveries per second of CPU, each row's best as the full width."""
    colours = ("#1565c0", "#c2410c", "#2e7d32", "#7b1fa2", "#b8860b", "#5d6675", "#90989f")
    height_bar, gap, left, width = 14, 26, 150, 520
    parts, y = [], 30
    for row in rows:
        if row.figure != "delivery" or row.is_of_workers:
            continue
        costs = {}
        for name, _ in columns:
            if figures := median_figures(comparison, row, name):
                costs[name] = cost_of(row, figures)
        costs = {name: cost for name, cost in costs.items() if cost > 0}
        if not costs:
            continue
        parts.append(f'<text x="8" y="{y}" font-weight="600">{row.title}</text>')
        y += 8
        for index, (name, title) in enumerate(columns):
            if name not in costs:
                continue
            length = width * min(costs.values()) / costs[name]
            parts.append(
                f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{title}</text>'
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{height_bar - 2}" '
                f'fill="{colours[index % len(colours)]}"/>'
                f'<text x="{left + length + 6:.1f}" y="{y + 11}">{1 / costs[name]:.2f} M</text>')
            y += height_bar
        y += gap
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 {y}" '
            'font-family="system-ui, sans-serif" font-size="11">'
            f'<rect width="740" height="{y}" fill="#ffffff"/>'
            '<text x="8" y="14" font-size="12">Deliveries per second of the server\'s CPU '
            '(longer is better)</text>')
    return head + "\n".join(parts) + "</svg>\n"


def machine_text() -> str:
    model = re.search(r"model name\s*: (.+)", pathlib.Path("/proc/cpuinfo").read_text())
    name = model.group(1).strip() if model else platform.machine()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (f"{os.cpu_count()} cores of {name}, kernel {platform.release()}, load average at the "
            f"end {load}")


def commit_text() -> str:
    return first_line("git", "-C", str(FOLDER), "describe", "--always", "--dirty")


def when_text(options) -> str:
    return (f"{options.rounds} rounds of {options.seconds:g} s on "
            f"{datetime.date.today().isoformat()}, commit {commit_text()}. Machine: "
            f"{machine_text()}")


def noted(comparison) -> List[str]:
    """What the load warned of, once for each figure; the dagger stands for the bottleneck."""
    lines = []
    for (row, name), rounds in comparison.found.items():
        warnings = [text for found in rounds for text in found["warnings"]
                    if "bottleneck" not in text]
        if warnings:
            lines.append(f"Noted of {name} in `{row}`, in {len(warnings)} of {len(rounds)} "
                         f"rounds or more: {warnings[0]}.")
    return lines


def section(comparison, rows, columns, skipped) -> str:
    options = comparison.options
    lines = ["## Beside other servers", "",
             f"`bench/compare.py`, {when_text(options)}. The server alone on core "
             f"{options.server_core} (one worker, one thread), the load on core {options.load_core}; medians.", "",
             "Of a delivery: the server's CPU time, deliveries per second, and bytes on the wire as "
             "received. Of a connection: CPU time and connections per second. Of an idle one: "
             "resident memory of the process. Latency: p50 / p99 / p99.9 in ms"
             + (f" at {comparison.rate:,.0f} messages/s" if comparison.rate else "") +
             ", counted from when a message was due. **n×**: its cost divided by Fanfare's (for "
             "latency p99), so that above 1 is dearer. †: the load was the bottleneck, so the rate "
             "(not the CPU per delivery) could be higher.", ""]
    rows_of_workers = [row for row in rows if row.is_of_workers]
    rows = [row for row in rows if not row.is_of_workers]
    if rows:
        lines += [table(comparison, rows, columns),
                  "![Deliveries per second of CPU](comparison.svg)", "",
                  "What is wanted, in µs of the server's CPU (latency in ms) unless it says "
                  "messages/s; the ratio is Fanfare's figure divided by the best of the others:", "",
                  targets_table(comparison, rows)]
    if rows_of_workers:
        lines += [f"One worker and two, both free to run on all {os.cpu_count()} cores, of which "
                  "the load needs one: of a delivery the CPU time of all workers together, "
                  "deliveries per second, and bytes on the wire.", "",
                  workers_table(comparison, rows_of_workers)]
    versions = [f"{server.title}: {server.version()}" for server in comparison.servers]
    lines.append("Versions: " + "; ".join(versions) + ".")
    for (row, name), reason in comparison.failed.items():
        lines.append(f"Failed: {name} in `{row}`: {reason}.")
    lines += noted(comparison)
    for title, why in skipped:
        lines.append(f"Left out: {title}, because {why}.")
    return "\n".join(lines) + "\n"


def write_section(file: pathlib.Path, text: str, begin_mark=BEGIN_MARK, end_mark=END_MARK):
    whole = file.read_text()
    block = f"{begin_mark}\n{text}{end_mark}\n"
    if begin_mark in whole:
        begin = whole.index(begin_mark)
        end = whole.index(end_mark) + len(end_mark) + 1
        whole = whole[:begin] + block + whole[end:]
    else:
        whole = whole.rstrip("\n") + "\n\n" + block
    file.write_text(whole)


def rounds_count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("there is at least one round")
    return count


def measuring_parser(text, rounds, seconds):
    """What every comparison is asked for; `text` is the program's own."""
    parser = argparse.ArgumentParser(description=text.split("\n", 1)[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=text.split("\n", 2)[2])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=rounds_count, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each figure")
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    return parser


def arguments():
    parser = measuring_parser(__doc__, rounds=5, seconds=3)
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=[row.name for row in ROWS],
                        help="only these: " + ", ".join(row.name for row in ROWS))
    parser.add_argument("--servers", nargs="+", metavar="NAME", choices=SERVER_NAMES,
                        help="only these: " + ", ".join(SERVER_NAMES))
    parser.add_argument("--no-floor", dest="floor", action="store_false")
    parser.add_argument("--write", action="store_true",
                        help="into bench/RESULTS.md and bench/comparison.svg")
    parser.add_argument("--json", type=pathlib.Path, help="write what each round found")
    local_bun = PEERS / "node_modules" / ".bin" / "bun"
    parser.add_argument("--bun", default=shutil.which("bun") or
                        (str(local_bun) if local_bun.exists() else None))
    sbin = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    parser.add_argument("--nats-server", default=shutil.which("nats-server", path=sbin))
    parser.add_argument("--nginx", default=shutil.which("nginx", path=sbin))
    parser.add_argument("--nchan-module", default="/usr/lib/nginx/modules/ngx_nchan_module.so")
    return parser.parse_args()


def main():
    options = arguments()
    options.build = options.build.resolve()
    for program in ("fanfare", "bench/floor"):
        if not (options.build / program).exists():
            sys.exit(f"{options.build / program} is not there; build it: make bench")
    if os.cpu_count() < 2:
        sys.exit("needs two cores: one for the server, one for the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    candidates = [Fanfare(str(options.build / "fanfare")), Bun(options.bun),
                  Nats(options.nats_server), Nchan(options.nginx, options.nchan_module), Ws()]
    wanted = [server for server in candidates
              if options.servers is None or server.name in options.servers]
    skipped = [(server.title, server.missing()) for server in wanted if server.missing()]
    servers = [server for server in wanted if not server.missing()]
    rows = [row for row in ROWS if options.rows is None or row.name in options.rows]
    if not servers or not rows:
        sys.exit("there is nothing to measure; --help names the rows and servers")
    for title, why in skipped:
        print(f"left out: {title}, because {why}", file=sys.stderr)
    comparison = Comparison(options, servers)
    comparison.run(rows)
    columns = [(server.name, server.title) for server in servers]
    if options.floor:
        columns += [("floor-send", "floor: send(2)"), ("floor-uring", "floor: io_uring")]
    text = section(comparison, rows, columns, skipped)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(
            [{"row": row, "server": name, "rounds": found}
             for (row, name), found in comparison.found.items()]))
    if options.write:
        write_section(FOLDER / "RESULTS.md", text)
        (FOLDER / "comparison.svg").write_text(picture(comparison, rows, columns))


if __name__ == "__main__":
    main()
