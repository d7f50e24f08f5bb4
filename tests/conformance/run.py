#!/usr/bin/python3
"""Runs the conformance cases against a broker of their own, or any server with an echo path.

    run.py BROKER [--only PATTERN] [--require-compression]     starts BROKER with --echo
    run.py --at HOST:PORT [...]                                a server that runs already
    run.py --list [--only PATTERN]

One line for each case that failed, with the section of the RFC; then the sum. Exit code 0 only if
no case failed, at least one passed, and the broker that was started ended in good order.
"""

import argparse
import contextlib
import fnmatch
import importlib
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from typing import Dict, Iterator, List, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
sys.dont_write_bytecode = True
import deflate  # noqa: E402
import harness  # noqa: E402
import wire  # noqa: E402

CASE_TIMEOUT_S = 120
# Most cases wait for the server most of the time; the few that compute do so outside of its core.
WORKERS_PER_PROCESSOR = 3
STRICT = "--require-compression"


class Result(NamedTuple):
    name: str
    state: str  # passed, failed, skipped
    text: str
    seconds: float


class Worker:
    """What every worker process has; set before they are forked."""
    server: wire.Server
    is_deflate_known = False


def load_cases() -> None:
    for path in sorted((HERE / "cases").glob("*.py")):
        importlib.import_module(f"cases.{path.stem}")


def matches(name: str, patterns: List[str]) -> bool:
    return not patterns or any(pattern in name or fnmatch.fnmatchcase(name, pattern)
                               for pattern in patterns)


def on_alarm(number, stack):
    raise harness.Failure(f"the case to end within {CASE_TIMEOUT_S} s", "neither good nor bad")


def run_case(name: str) -> Result:
    one = harness.CASES[name]
    begin_s = time.monotonic()
    state, text = "passed", ""
    try:
        if one.needs_deflate and not Worker.is_deflate_known:
            raise harness.Skipped("the server declines permessage-deflate")
        signal.alarm(CASE_TIMEOUT_S)
        one.function(Worker.server, *one.arguments)
    except harness.Skipped as reason:
        state, text = "skipped", str(reason)
    except harness.Failure as failure:
        state, text = "failed", str(failure)
    except Exception as error:  # a case that stumbles must not stop the others
        state, text = "failed", f"the case itself broke: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return Result(name, state, text, time.monotonic() - begin_s)


def prepare_worker() -> None:
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def offers_deflate(server: wire.Server) -> bool:
    with server.dial() as client:
        client.send(wire.request(client.host,
                                 add=[("Sec-WebSocket-Extensions", "permessage-deflate")]))
        values = client.read_response().values("Sec-WebSocket-Extensions")
        return deflate.agreed(values, "permessage-deflate") is not None


@contextlib.contextmanager
def server_of(arguments) -> Iterator[wire.Server]:
    if arguments.at:
        host, _, port = arguments.at.rpartition(":")
        yield wire.Server((host, int(port)))
        return
    from broker_process import Broker, Options
    Options.broker = os.path.abspath(arguments.broker)
    # Messages of 16 MiB, inflated under sanitizers, are work for a second and more; that the broker
    # would refuse others meanwhile is not what is tested here.
    with Broker("--echo", "--overload-delay", "0s") as broker:
        yield wire.Server(("127.0.0.1", broker.port), Options.broker)


def run(server: wire.Server, names: List[str], workers: int) -> Iterator[Result]:
    Worker.server = server
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, prepare_worker) as pool:
        yield from pool.imap_unordered(run_case, names)


def report(results: List[Result], slowest: int, seconds: float) -> bool:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    skipped: Dict[str, int] = {}
    for result in results:
        counts[result.state] += 1
        if result.state == "skipped":
            skipped[result.text] = skipped.get(result.text, 0) + 1
    for result in sorted(results, key=lambda one: -one.seconds)[:slowest]:
        print(f"  {result.seconds:6.2f} s  {result.name}")
    for reason, count in sorted(skipped.items()):
        print(f"skipped {count}: {reason}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped "
          f"in {seconds:.1f} s")
    return counts["failed"] == 0 and counts["passed"] > 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="WebSocket conformance: RFC 6455, RFC 7692.")
    parser.add_argument("broker", nargs="?", metavar="BROKER", help="the executable to start")
    parser.add_argument("--at", metavar="HOST:PORT", help="test the server that listens there")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="cases whose name contains it, or matches it as a shell pattern")
    parser.add_argument(STRICT, action="store_true", dest="require_compression",
                        help="a server that declines permessage-deflate fails")
    parser.add_argument("--light", action="store_true", help="leave out the cases that take long")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--slowest", type=int, default=0, metavar="N",
                        help="print the N cases that took longest")
    parser.add_argument("--workers", type=int, metavar="N",
                        default=WORKERS_PER_PROCESSOR * (os.cpu_count() or 1))
    arguments = parser.parse_args()
    if not arguments.list and (arguments.broker is None) == (arguments.at is None):
        parser.error("name the BROKER to start, or a server with --at")
    return arguments


def run_against(arguments, cases: List[harness.Case]) -> bool:
    begin_s = time.monotonic()
    results: List[Result] = []
    with server_of(arguments) as server:
        try:
            Worker.is_deflate_known = offers_deflate(server)
        except harness.Failure as failure:
            # Its own case tells; here it must only not stop the others.
            print(f"the first handshake with an extension: {failure}")
            Worker.is_deflate_known = True
        if arguments.require_compression:
            Worker.is_deflate_known = True
        for result in run(server, [one.name for one in cases], arguments.workers):
            results.append(result)
            if result.state == "failed":
                section = harness.CASES[result.name].section
                print(f"FAILED {result.name} ({section}): {result.text}", flush=True)
    return report(results, arguments.slowest, time.monotonic() - begin_s)


def main() -> int:
    arguments = parse_arguments()
    load_cases()
    cases = [one for one in harness.CASES.values() if matches(one.name, arguments.only)
             and not (arguments.light and one.is_heavy)]
    cases.sort(key=lambda one: not one.is_heavy)
    if arguments.list:
        for one in cases:
            print(f"{one.name}  ({one.section})")
        print(f"{len(cases)} cases")
        return 0
    try:
        return 0 if run_against(arguments, cases) else 1
    except AssertionError as error:  # how the broker's process says that it did not end well
        print(f"FAILED the broker itself: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
