#!/usr/bin/python3
"""Counts the instructions of the broker's user side: bench/instructions.py BUILD [options]

BUILD is the folder of a release build with `bench/instructions`. Each scenario runs once under
valgrind's callgrind, which counts what the shard executes from the return of one turn to the end of
the next one, the io_uring reactor included, the kernel and the clients not. Unlike times, the counts
hardly depend on what else the machine does: two runs of one binary differ by less than a percent
(`idle`, whose turns follow the clock, by some).

    bench/instructions.py build/release                        all of them, about twenty seconds
    bench/instructions.py build/release --rows fanout-16 --functions 20
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List, NamedTuple, Optional


class Row(NamedTuple):
    name: str
    title: str
    arguments: List[str]  # of bench/instructions
    most: Optional[int] = None  # instructions that one may cost


ROWS = [
    Row("fanout-1", "a delivery, 1 → 1,000, 1 at once", ["fanout", "1000", "1", "20"], 300),
    Row("fanout-16", "a delivery, 1 → 1,000, 16 at once", ["fanout", "1000", "16", "10"]),
    Row("fanout-256", "a delivery, 1 → 1,000, 256 at once", ["fanout", "1000", "256", "4"], 60),
    Row("rooms-64", "a delivery in a room of 10, 64 at once", ["rooms", "1000", "64", "20"]),
    Row("one", "a delivery to one subscriber, 64 at once", ["one", "1000", "64", "20"]),
    Row("crossing", "the same on another core", ["crossing", "1000", "64", "20"]),
    Row("fanin", "a message, 1,000 → 1, 1,000 at once", ["fanin", "1000", "1000", "4"]),
    Row("upgrade", "an upgrade, from the accept to the welcome", ["upgrade", "500", "1", "2"]),
    Row("subscribe", "a subscription", ["subscribe", "500", "1", "2"]),
    Row("close", "a close, from the Close frame on", ["close", "500", "1", "2"]),
    Row("idle", "a ping and its pong, and the turns between", ["idle", "1000", "1", "2"]),
]


def functions_of(profile: pathlib.Path, count: int) -> str:
    result = subprocess.run(["callgrind_annotate", "--auto=no", str(profile)],
                            capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if re.match(r"\s*[\d,]+ \(", line)]
    return "\n".join("        " + line.strip() for line in lines[:count])


def measure(program: pathlib.Path, row: Row, functions: int) -> Dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        profile = pathlib.Path(folder) / "profile"
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}",
             "--toggle-collect=counted_turn", str(program), *row.arguments],
            capture_output=True, text=True, check=False, timeout=600)
        if result.returncode != 0:
            raise RuntimeError(result.stderr[-1000:])
        found = json.loads(result.stdout)
        summary = re.search(r"^(?:summary|totals): (\d+)", profile.read_text(), re.MULTILINE)
        if functions > 0:
            print(functions_of(profile, functions), file=sys.stderr)
        return {"instructions": int(summary.group(1)) / found["count"],
                "per_turn": found["count"] / max(found["turns"], 1)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=__doc__.split("\n", 2)[2])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=[row.name for row in ROWS],
                        help="only these: " + ", ".join(row.name for row in ROWS))
    parser.add_argument("--functions", type=int, default=0, metavar="N",
                        help="show the N functions of each row that cost most")
    parser.add_argument("--check", action="store_true",
                        help="end with 1 when a row costs more than it may")
    return parser.parse_args()


def main():
    options = arguments()
    program = options.build.resolve() / "bench" / "instructions"
    if not program.exists():
        sys.exit(f"{program} is not there; build it: make bench")
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    print("| instructions of | measured | at most | in one turn |\n|---|---|---|---|")
    too_many = []
    for row in ROWS:
        if options.rows is not None and row.name not in options.rows:
            continue
        found = measure(program, row, options.functions)
        print(f"| {row.title} | {found['instructions']:,.0f} | {row.most or '–'} | "
              f"{found['per_turn']:,.1f} |", flush=True)
        if row.most is not None and found["instructions"] > row.most:
            too_many.append(row.name)
    if too_many and options.check:
        sys.exit("more instructions than allowed: " + ", ".join(too_many))


if __name__ == "__main__":
    main()
