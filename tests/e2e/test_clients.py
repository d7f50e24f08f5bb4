#!/usr/bin/python3
"""The broker with clients that nobody here wrote: Python's websockets, Node's ws, Go's gorilla, and
Chromium. Each runs the same checks, in clients/, and is told goodbye at the end.
"""

import http.server
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

import broker_process
import golang
from broker_process import Broker

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
TIMEOUT_S = 120
CHECKS = {"welcome", "overlap_once", "payloads", "ping_command", "ping_frame", "error_reply",
          "fragmented", "largest_message", "too_large", "binary_frame", "close_by_client",
          "survives_silence", "unknown_subprotocol", "goodbye"}
# A script can send neither pings nor fragments; but it has an origin.
BROWSER_CHECKS = CHECKS - {"ping_frame", "fragmented"} | {"foreign_origin"}

# Often enough that a short silence sees several; and a slow machine evicts nobody.
HEARTBEAT = ("--heartbeat-interval", "300ms", "--heartbeat-timeout", "20s")
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage",
            "--no-proxy-server")


class PageServer(http.server.ThreadingHTTPServer):
    """Serves the browser's page and takes its reports, as lines of a queue."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), PageHandler)
        self.reports = queue.Queue()
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class PageHandler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        is_page = urllib.parse.urlsplit(self.path).path == "/"
        body = (CLIENTS / "client_browser.html").read_bytes() if is_page else b""
        self.answer(200 if is_page else 404, body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.reports.put(body.decode())
        self.answer(204, b"")

    def log_message(self, *arguments):
        pass


def lines_of(process):
    """A queue of the lines that the process prints; None follows the last."""
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


class ClientsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="fanfare-e2e-client-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *command, **environment):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            env=broker_process.clean_environment(**environment), start_new_session=True,
            preexec_fn=broker_process.die_with_parent)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        # A browser is many processes; they are a group of their own.
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()

    def follow(self, broker, lines, last):
        """Reads reports until `last`, and stops the broker when the client waits for it."""
        passed, failed = set(), []
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                line = lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                self.fail(f"the client is stuck after {sorted(passed)}")
            if line == last:
                break
            if line == "waiting for goodbye":
                self.assertGreater(broker.metrics()["fanfare_pings_total"], 0)
                broker.stop()
            elif line is not None and line.startswith("ok "):
                passed.add(line[3:])
            else:
                failed.append(line)
        self.assertEqual([], failed)
        return passed

    def run_program(self, *command, **environment):
        with Broker("--workers", "2", *HEARTBEAT) as broker:
            process = self.start(*command, broker.url, **environment)
            self.assertEqual(CHECKS, self.follow(broker, lines_of(process), None))

    def test_python(self):
        self.run_program("/usr/bin/python3", str(CLIENTS / "client_python.py"))

    def test_node(self):
        # Where Debian's packages are, for a node that came from elsewhere.
        self.run_program("node", str(CLIENTS / "client_node.js"), NODE_PATH="/usr/share/nodejs")

    def test_go(self):
        self.run_program(golang.build("client_go", self.folder))

    def test_chromium(self):
        server = PageServer()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        profile = self.folder / "profile"
        with Broker(*HEARTBEAT) as foreign, \
                Broker("--workers", "2", "--allowed-origins", server.origin, *HEARTBEAT) as broker:
            page = server.origin + "/?" + urllib.parse.urlencode(
                {"url": broker.url, "foreign": foreign.url})
            with open(self.folder / "chromium.log", "wb") as log:
                process = subprocess.Popen(
                    [*CHROMIUM, f"--user-data-dir={profile}", "--remote-debugging-port=0", page],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                    env=broker_process.clean_environment(HOME=str(self.folder)),
                    start_new_session=True, preexec_fn=broker_process.die_with_parent)
            self.addCleanup(shutil.rmtree, profile, True)
            self.addCleanup(self.end, process)
            self.assertEqual(BROWSER_CHECKS, self.follow(broker, server.reports, "done"))
            refused = foreign.metrics()['fanfare_upgrades_total{status="403"}']
            self.assertEqual(1, refused)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
