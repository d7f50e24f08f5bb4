#!/usr/bin/python3
"""Measures how clients catch up: bench/run_resume.py BUILD [--rounds N] [--scenario NAME …]

BUILD is the folder of a release build, with `fanfare` and `bench/resume_load` (which says what the
scenarios are). The broker has one worker on processor 0, the load runs on processor 1. Each round
goes through all scenarios, in another order, each with a broker of its own; what is printed are
medians.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

from compare import rounds_count

SCENARIOS = {  # clients, messages
    "same": (1_000, 10_000),
    "spread": (1_000, 10_000),
    "fanout": (1_000, 10_000),
    "storm": (10_000, 100),
    "arrival": (10_000, 100),
}
BROKER_CPU, LOAD_CPU = "0", "1"


class Broker:
    def __init__(self, build, prefix, more=("--topic-rule", "match=sensors/#,history_messages=100000"),
                 connections_max=12_000):
        self.arguments = [
            *prefix, "taskset", "-c", BROKER_CPU, build / "fanfare", "serve",
            "--listen", "127.0.0.1:0", "--workers", "1", "--connections-max", str(connections_max),
            "--heartbeat-interval", "5m", *more]

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log)
        for line in self.process.stdout:
            found = re.search(r"listens on ws://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found.group(1))
                return self
        self.log.seek(0)
        sys.exit(f"the broker did not start: {self.log.read().decode()}")

    def __exit__(self, kind, value, traceback):
        self.process.kill()  # thousands of clients are gone without a word: nothing to drain
        self.process.wait()
        self.log.close()


def measure(build, name, prefix):
    clients_count, messages_count = SCENARIOS[name]
    with Broker(build, prefix) as broker:
        load = subprocess.run(
            [*prefix, "taskset", "-c", LOAD_CPU, build / "bench" / "resume_load", name,
             str(broker.port), str(broker.process.pid), str(clients_count), str(messages_count)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if load.returncode != 0:
            sys.exit(f"{name}: {load.stderr}")
    result = json.loads(load.stdout)
    result["machine_load"] = os.getloadavg()[0]
    return result


def describe(results):
    """One line with the medians of one scenario."""
    def median(value):
        return statistics.median(value(result) for result in results)

    def median_of(name):
        return median(lambda result: result[name])

    seconds = median_of("seconds")
    parts = [f"{results[0]['scenario']:8} {seconds:7.2f} s",
             f"broker {100 * median(lambda r: r['broker_cpu_s'] / r['seconds']):4.0f} % of a core",
             f"load {100 * median(lambda r: r['load_cpu_s'] / r['seconds']):4.0f} %",
             f"machine's load {median_of('machine_load'):4.1f}"]
    if "p99_ms" in results[0]:
        parts.insert(1, f"delay of others p99 {median_of('p99_ms'):.1f} ms, "
                        f"most {median_of('max_ms'):.1f} ms "
                        f"(calm: p99 {median_of('calm_p99_ms'):.1f} ms)")
    elif results[0]["deliveries"]:
        rate = median(lambda r: r["deliveries"] / r["seconds"])
        cost = median(lambda r: 1e9 * r["broker_cpu_s"] / r["deliveries"])
        parts.insert(1, f"{rate / 1e6:6.3f} M messages/s, {cost:6.0f} ns of broker each")
    return "; ".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=rounds_count, default=5)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--realtime", action="store_true",
                        help="before everything else that runs (SCHED_FIFO), on a busy machine")
    options = parser.parse_args()
    prefix = ["chrt", "-f", "10"] if options.realtime else []
    results = {name: [] for name in options.scenario}
    for round_index in range(options.rounds):
        turn = round_index % len(options.scenario)
        for name in options.scenario[turn:] + options.scenario[:turn]:
            results[name].append(measure(options.build.resolve(), name, prefix))
            print(json.dumps(results[name][-1]), file=sys.stderr, flush=True)
    print(f"kernel {platform.release()}, {options.rounds} rounds, medians")
    for name in options.scenario:
        print(describe(results[name]))
    if "same" in results and "fanout" in results:
        ratios = [caught["broker_cpu_s"] / caught["deliveries"] * live["deliveries"] /
                  live["broker_cpu_s"] for caught, live in zip(results["same"], results["fanout"])]
        rates = [caught["deliveries"] / caught["seconds"] * live["seconds"] / live["deliveries"]
                 for caught, live in zip(results["same"], results["fanout"])]
        print(f"same / fanout: {statistics.median(rates):.2f} of the rate, "
              f"{statistics.median(ratios):.2f} of the processor time per message")


if __name__ == "__main__":
    main()
