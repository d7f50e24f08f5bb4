#!/usr/bin/python3
"""Measures what slow readers, crowds and arrivals do to the others: bench/run_overload.py BUILD [--rounds N]

BUILD is the folder of a release build, with `fanfare` and `bench/overload_load` (which says what the
scenarios are). The broker has one worker on processor 0, the load runs on processor 1. Within a
scenario rounds with and without the disturbance alternate; what is printed are medians over rounds.
"""

import argparse
import json
import pathlib
import subprocess

from compare import rounds_count
from run_resume import LOAD_CPU, Broker


def scenarios(rounds, crowd):
    """name, arguments of the load"""
    slow = ["slow", 1_000, 100, 2_000, 10, 3, rounds]
    yield "slow, catch_up", [*slow, "kept"]
    yield "slow, drop_oldest", [*slow, "drop"]
    yield "slow, conflate", [*slow, "last"]
    yield "room", ["room", crowd, 3, rounds]
    yield "crowd", ["crowd", 1_000, 10_000, 10]


# In a round each subscriber is sent 600 KB: whoever does not read passes the limits.
LIMITS = ("--outbound-soft", "64KiB", "--outbound-hard", "192KiB", "--outbound-time", "30s")
RULES = ("match=kept/#,history_messages=100000", "match=drop/#,history_messages=0,on_slow=drop_oldest",
         "match=last/#,history_messages=0,on_slow=conflate")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=rounds_count, default=5)
    parser.add_argument("--crowd", type=int, default=20_000, help="subscribers beside the room")
    parser.add_argument("--scenario", help="only those whose name begins so")
    parser.add_argument("--realtime", action="store_true", help="before other work on the machine (SCHED_FIFO)")
    options = parser.parse_args()
    prefix = ["chrt", "-f", "10"] if options.realtime else []
    rules = [word for rule in RULES for word in ("--topic-rule", rule)]
    for name, load in scenarios(options.rounds, options.crowd):
        if options.scenario and not name.startswith(options.scenario):
            continue
        connections_max = max(12_000, options.crowd + 50)
        with Broker(options.build, prefix, [*LIMITS, *rules], connections_max=connections_max) as running:
            arguments = [load[0], str(running.port), str(running.process.pid), *map(str, load[1:])]
            result = subprocess.run(
                [*prefix, "taskset", "-c", LOAD_CPU, options.build / "bench" / "overload_load", *arguments],
                capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"{name}: {result.stderr}")
        print(f"{name:20}", json.dumps({key: value for key, value in json.loads(result.stdout).items()
                                        if key != "scenario"}), flush=True)


if __name__ == "__main__":
    main()
