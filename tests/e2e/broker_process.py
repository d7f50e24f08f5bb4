"""A broker of one's own for every test: started on ports that the kernel chooses, stopped in good
order, and looked at afterwards.

A test ends well only if its broker did: exit code 0 after SIGTERM, no word of a sanitizer, and the
line that sums up the run. Whatever happens, no process outlives the test: each is killed with the
Python that started it.
"""

import ctypes
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 40
POLL_S = 0.02
LOG_TAIL_BYTES = 6_000
SANITIZER = re.compile(r"(Address|Leak|Thread)Sanitizer|runtime error:|CHECK failed")
PR_SET_PDEATHSIG = 1

LIBC = ctypes.CDLL(None, use_errno=True)


class Options:
    """What ctest says on the command line, for all tests of the process."""

    broker = ""
    is_sanitized = False  # slower by an order of magnitude, and memory is kept back on purpose
    flags = ()  # of every broker


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def clean_environment(**more):
    """The environment without what would configure a broker; `more` comes on top."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("FANFARE_") and name != "NO_COLOR"}
    kept.update(more)
    return kept


def wait_until(condition, timeout_s, what):
    """Answers the first true value of condition(), or fails."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(POLL_S)


class Broker:
    """`fanfare serve` as a context: with Broker("--workers", "2") as broker: …"""

    def __init__(self, *arguments, listen=("127.0.0.1:0",), environment=None, preexec=None):
        self.arguments = list(arguments)
        for address in listen:
            self.arguments += ["--listen", address]
        self.environment = environment or {}
        self.preexec = preexec
        self.process = None
        self.places = []  # as printed: ws://127.0.0.1:45123/ws, unix:/tmp/fanfare.sock
        self.folder = tempfile.TemporaryDirectory(prefix="fanfare-e2e-")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None and self.process is not None:
                self.stop()
        finally:
            if kind is not None or sys.exc_info()[0] is not None:
                print(f"--- the broker's log, its end\n{self.log()[-LOG_TAIL_BYTES:]}\n---",
                      file=sys.stderr)
            self.kill()
            self.folder.cleanup()

    def start(self):
        def prepare():
            die_with_parent()
            if self.preexec is not None:
                self.preexec()

        folder = pathlib.Path(self.folder.name)
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "ab") as err:
            self.process = subprocess.Popen(
                [Options.broker, "serve", *Options.flags, *self.arguments], stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, env=clean_environment(**self.environment), preexec_fn=prepare)
        self.places = wait_until(self._read_places, START_TIMEOUT_S, "the broker listens")

    def _read_places(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"the broker ended with {self.process.returncode}: {self.log()}")
        match = re.search(r"listens on (.+) \(\d+ workers?\)\n", self.output())
        return match and match.group(1).split(", ")

    def output(self):
        return (pathlib.Path(self.folder.name) / "stdout").read_text("utf-8", "replace")

    def log(self):
        file = pathlib.Path(self.folder.name) / "stderr"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_plain(self):
        """Its connections are open files, as this kernel or the test wants it."""
        return "connections are open files" in self.log()

    @property
    def url(self):
        return self.places[0]

    @property
    def port(self):
        return urllib.parse.urlsplit(self.url).port

    def stop(self, signal_number=signal.SIGTERM, timeout_s=STOP_TIMEOUT_S):
        """Stops in good order, and checks that it was."""
        self.process.send_signal(signal_number)
        self.expect_end(timeout_s)

    def expect_end(self, timeout_s=STOP_TIMEOUT_S, exit_code=0):
        process = self.process
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the broker did not stop within {timeout_s} s") from None
        self.process = None
        log = self.log()
        found = SANITIZER.search(log)
        if found is not None:
            raise AssertionError(f"the broker's log says {found.group(0)!r}")
        if process.returncode != exit_code:
            raise AssertionError(f"the broker ended with {process.returncode}")
        if "msg=stopped" not in log:
            raise AssertionError("the broker ended without its summary")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path, method="GET", body=None, headers=None):
        """One HTTP request; answers the response, with its content in .content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            response.content = response.read()
            return response
        finally:
            connection.close()

    def metrics_text(self):
        return self.get("/metrics").content.decode()

    def metrics(self):
        return parse_metrics(self.metrics_text())

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M).group(1)) * 1024


def parse_metrics(text):
    """name → sum over all shards, and name{label="value"} → value for labels that are no shard."""
    values = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        series, value = line.rsplit(" ", 1)
        name, _, labels = series.partition("{")
        labels = [label for label in labels.rstrip("}").split(",")
                  if label and not label.startswith("shard=")]
        key = name + ("{" + ",".join(labels) + "}" if labels else "")
        values[key] = values.get(key, 0) + float(value)
    return values


def run_fanfare(*arguments, input_bytes=None, timeout_s=30, environment=None, preexec=None):
    """Runs a subcommand to its end; answers subprocess' result with text."""
    def prepare():
        die_with_parent()
        if preexec is not None:
            preexec()

    result = subprocess.run(
        [Options.broker, *arguments], capture_output=True, timeout=timeout_s, preexec_fn=prepare,
        input=b"" if input_bytes is None else input_bytes,
        env=clean_environment(**(environment or {})))
    result.stdout = result.stdout.decode("utf-8", "replace")
    result.stderr = result.stderr.decode("utf-8", "replace")
    found = SANITIZER.search(result.stderr)
    if found is not None:
        raise AssertionError(f"fanfare {' '.join(arguments)}: {result.stderr}")
    return result


def start_fanfare(*arguments, environment=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                  preexec=None):
    """Starts a subcommand with pipes; the caller ends it."""
    def prepare():
        die_with_parent()
        if preexec is not None:
            preexec()

    return subprocess.Popen(
        [Options.broker, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
        preexec_fn=prepare, env=clean_environment(**(environment or {})))


def unused_port():
    """A port that was free a moment ago; for tests that must know it before the broker does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    """test_x.py BROKER [--sanitized] [--plain-descriptors] [unittest's arguments]"""
    if len(sys.argv) < 2 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(f"usage: {sys.argv[0]} BROKER [--sanitized] [--plain-descriptors] [unittest's arguments]")
    Options.broker = os.path.abspath(sys.argv[1])
    rest = sys.argv[2:]
    Options.is_sanitized = "--sanitized" in rest
    Options.flags = tuple(argument for argument in rest if argument == "--plain-descriptors")
    rest = [argument for argument in rest if argument not in ("--sanitized", *Options.flags)]
    unittest.main(module="__main__", argv=[sys.argv[0], *rest], verbosity=2)
