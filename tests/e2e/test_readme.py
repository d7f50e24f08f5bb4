#!/usr/bin/python3
"""README.md's first minute, done as it stands there: the commands of its console blocks in a terminal,
in their order, and its pages in a browser. Only the port is another one.
"""

import functools
import http.server
import os
import pathlib
import pty
import re
import select
import shlex
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import broker_process
from broker_process import Broker, Options, unused_port
from chromium import Chromium

ROOT = pathlib.Path(__file__).resolve().parents[2]
README_PORT = "7788"
COMMAND_TIMEOUT_S = 30
POLL_S = 0.2


def blocks(language):
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands_of(block):
    """The commands of a console block, each with the output that stands below it."""
    commands = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


def serve_arguments():
    """What `make run` says behind `fanfare serve`."""
    recipe = re.search(r"fanfare serve (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1)
    return shlex.split(recipe.replace("$(ARGUMENTS)", ""))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="fanfare-readme-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        binary = self.folder / "build" / "release" / "fanfare"
        binary.parent.mkdir(parents=True)
        binary.symlink_to(Options.broker)
        self.port = str(unused_port())
        self.pages = self.serve_pages()

    def serve_pages(self):
        handler = functools.partial(QuietHandler, directory=self.folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://localhost:{server.server_address[1]}"

    def start_broker(self):
        return Broker("--allowed-origins", self.pages, *serve_arguments(),
                      listen=(f"127.0.0.1:{self.port}", f"[::1]:{self.port}"))

    def run_command(self, setup, command, expected):
        """Runs it in a terminal until it has printed what is expected; what runs on is interrupted."""
        expected = ".*?".join(map(re.escape, "\n".join(expected).split("…")))
        expected = re.compile(expected.replace(README_PORT, self.port) + r"\n?", re.S)
        script = "\n".join([*setup, command.replace(README_PORT, self.port)])
        terminal, other_end = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=other_end,
            stderr=other_end, start_new_session=True, preexec_fn=broker_process.die_with_parent,
            env=broker_process.clean_environment(
                NO_COLOR="1", FANFARE_URL=f"ws://127.0.0.1:{self.port}/ws"))
        os.close(other_end)
        output = ""
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        try:
            while time.monotonic() < deadline:
                if select.select([terminal], [], [], POLL_S)[0]:
                    try:
                        output += os.read(terminal, 65536).decode().replace("\r\n", "\n")
                        continue
                    except OSError:  # the other end is closed: it has ended
                        process.wait()
                if process.poll() is not None or (output and expected.fullmatch(output)):
                    break
            self.assertIsNotNone(expected.fullmatch(output), f"{command} printed {output}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            process.wait(COMMAND_TIMEOUT_S)
            os.close(terminal)

    def test_the_minute(self):
        with self.start_broker() as broker:
            self.assertIn(f"http://127.0.0.1:{self.port}/examples/chat.html", broker.output())
            self.assertEqual(200, broker.get("/examples/chat.html").status)
            count = 0
            setup = []
            for block in blocks("console"):
                for command, expected in commands_of(block):
                    if re.match(r"\w+=", command):
                        setup.append(command)
                        continue
                    self.run_command(setup, command, expected)
                    count += 1
            self.assertEqual(2, count, "the commands of the minute")
            pages = blocks("html")
            self.assertEqual(2, len(pages), "the pages of the minute")
            with Chromium() as browser:
                for number, page in enumerate(pages):
                    text = page.replace(README_PORT, self.port)
                    (self.folder / f"{number}.html").write_text(
                        f"<!doctype html><meta charset=utf-8><body>\n{text}")
                module = browser.open(f"{self.pages}/0.html")
                # Its own publish may be the last message already when its subscription begins.
                module.wait("document.body.innerText.includes('match/42 3:1')")
                raw = browser.open(f"{self.pages}/1.html")
                raw.wait("""document.body.innerText.includes('"data":{"score":"3:1"}')""")


if __name__ == "__main__":
    broker_process.main()
