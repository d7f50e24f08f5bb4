#!/usr/bin/python3
"""The command line as people and scripts use it: help, configuration, errors that name the cure,
`fanfare sub` and `fanfare pub`, signals.
"""

import ctypes
import errno
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import broker_process
from broker_process import (LIBC, Broker, clean_environment, run_fanfare, start_fanfare,
                            unused_port, wait_until)
from raw_client import RawClient

SUBCOMMANDS = ("serve", "config", "config check", "config print", "sub", "pub", "history", "bench",
               "version")
ESCAPE = "\x1b"


class Instruction(ctypes.Structure):
    """sock_filter of <linux/filter.h>."""

    _fields_ = [("code", ctypes.c_uint16), ("jump_true", ctypes.c_uint8),
                ("jump_false", ctypes.c_uint8), ("value", ctypes.c_uint32)]


class Program(ctypes.Structure):
    """sock_fprog of <linux/filter.h>."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(Instruction))]


def forbid_io_uring():
    """What the seccomp profiles of Docker and Kubernetes do: io_uring_setup answers EPERM."""
    load_number, jump_if_equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    io_uring_setup = 425  # the same on all architectures
    refuse, allow = 0x00050000 | errno.EPERM, 0x7FFF0000  # SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
    instructions = (Instruction * 4)(
        (load_number, 0, 0, 0), (jump_if_equal, 0, 1, io_uring_setup), (answer, 0, 0, refuse),
        (answer, 0, 0, allow))
    program = Program(len(instructions), instructions)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    LIBC.prctl(no_new_privileges, 1, 0, 0, 0)
    if LIBC.prctl(set_seccomp, filter_mode, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


class HelpTest(unittest.TestCase):
    def test_help(self):
        whole = run_fanfare("--help")
        self.assertEqual(0, whole.returncode)
        for subcommand in SUBCOMMANDS:
            with self.subTest(subcommand):
                result = run_fanfare(*subcommand.split(), "--help")
                self.assertEqual((0, ""), (result.returncode, result.stderr))
                self.assertIn(f"fanfare {subcommand}", result.stdout)
                if " " not in subcommand:
                    self.assertRegex(whole.stdout, rf"(?m)^ +{subcommand} ")

    def test_help_names_every_setting_three_times(self):
        text = run_fanfare("serve", "--help").stdout
        names = re.findall(r"^# .*\n(\w+) = ", run_fanfare("config", "print").stdout, re.M)
        self.assertGreater(len(names), 20)
        for name in names:
            self.assertIn("--" + name.replace("_", "-") + " ", text)
            self.assertIn(f"[FANFARE_{name.upper()}]", text)

    def test_version(self):
        for arguments in (["version"], ["--version"]):
            result = run_fanfare(*arguments)
            self.assertEqual((0, ""), (result.returncode, result.stderr))
            self.assertRegex(result.stdout, r"^fanfare \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        for arguments in ([], ["dance"], ["serve", "--loud"], ["sub"], ["pub"], ["config"],
                          ["sub", "a", "--timeout", "5"], ["pub", "a", "b", "--json", "--text"],
                          ["sub", "a", "--format", "xml"]):
            with self.subTest(arguments):
                result = run_fanfare(*arguments)
                self.assertEqual(1, result.returncode)
                self.assertTrue(result.stderr or result.stdout)


class ConfigTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="fanfare-e2e-config-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, text):
        file = self.folder / "fanfare.toml"
        file.write_text(text)
        return str(file)

    def setting(self, name, *arguments, **environment):
        """The value in force, as `config print` shows it."""
        result = run_fanfare("config", "print", *arguments, environment=environment)
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        return re.search(rf"^{name} = (.+)$", result.stdout, re.M).group(1)

    def test_round_trip(self):
        changed = run_fanfare("config", "print", "--workers", "3", "--heartbeat-interval", "1500ms",
                              "--allowed-origins", "https://a.example", "--allowed-origins", "*",
                              "--message-max", "1000", "--allow-anonymous").stdout
        file = self.file(changed)
        checked = run_fanfare("config", "check", "--config", file)
        self.assertEqual((0, ""), (checked.returncode, checked.stderr))
        self.assertEqual(changed, run_fanfare("config", "print", "--config", file).stdout)
        self.assertNotEqual(changed, run_fanfare("config", "print").stdout)

    def test_precedence(self):
        file = self.file('workers = 2\npartitions = 8\nlog_level = "warn"\n')
        arguments = ("--config", file)
        environment = {"FANFARE_WORKERS": "3", "FANFARE_PARTITIONS": "16"}
        self.assertEqual('"auto"', self.setting("workers"))
        self.assertIn("2", self.setting("workers", *arguments))
        self.assertIn("3", self.setting("workers", *arguments, **environment))
        self.assertIn("4", self.setting("workers", "--workers", "4", *arguments, **environment))
        self.assertEqual("16", self.setting("partitions", *arguments, **environment))
        self.assertEqual('"warn"', self.setting("log_level", *arguments, **environment))
        self.assertEqual("8", self.setting("partitions", FANFARE_CONFIG=file))

    def test_a_full_disk(self):
        """What could not be printed must not be taken for a configuration, nor be silent."""
        with open("/dev/full", "wb") as full:
            for arguments in (["config", "print"], ["config", "check"]):
                process = start_fanfare(*arguments, stdout=full)
                self.assertIn(b"cannot write the output: No space left", process.stderr.read())
                self.assertEqual(1, process.wait(20))
                process.stderr.close()

    def test_lists(self):
        environment = {"FANFARE_LISTEN": "127.0.0.1:1,[::1]:2"}
        self.assertEqual('["127.0.0.1:1", "[::1]:2"]', self.setting("listen", **environment))
        self.assertEqual('["127.0.0.1:3"]',
                         self.setting("listen", "--listen", "127.0.0.1:3", **environment))

    def expect_refused(self, words, *arguments, **environment):
        """The same complaint from `config check` and from `serve`, with exit code 1."""
        for command in (["config", "check"], ["serve"]):
            result = run_fanfare(*command, *arguments, environment=environment)
            self.assertEqual(1, result.returncode, result.stdout)
            self.assertEqual("", result.stdout)
            for word in words:
                self.assertIn(word, result.stderr)

    def test_bad_values(self):
        for name, value, words in (
                ("workers", "0", ["workers", "1 to 64"]),
                ("workers", "many", ["workers", "auto or a number"]),
                ("heartbeat-interval", "25", ["heartbeat-interval", "25s"]),
                ("heartbeat-interval", "1ms", ["heartbeat-interval", "100ms"]),
                ("message-max", "64 KiB", ["message-max", "64KiB"]),
                ("message-max", "1GiB", ["message-max", "16MiB"]),
                ("log-level", "loud", ["log-level", "debug"]),
                ("lane-size", "100000", ["lane-size", "power of two"]),
                ("outbound-soft", "2MiB", ["outbound-soft", "outbound-hard"]),
                ("allowed-origins", "app.example", ["allowed-origins", "https://"])):
            with self.subTest(name, value=value):
                self.expect_refused(words, "--" + name, value)

    def test_environment(self):
        self.expect_refused(["FANFARE_WORKER", "unknown"], FANFARE_WORKER="2")
        self.expect_refused(["FANFARE_WORKERS", "many"], FANFARE_WORKERS="many")

    def test_file(self):
        for text, words in (('heartbeat = "5s"\n', [":1:", "heartbeat", "unknown key"]),
                            ('workers = 2\nmessage_max = "big"\n', [":2:", "message-max", "big"]),
                            ("workers = \n", [":1"]),
                            ("[workers]\n", ["workers"])):
            with self.subTest(text):
                self.expect_refused(words, "--config", self.file(text))
        self.expect_refused(["nowhere.toml"], "--config", str(self.folder / "nowhere.toml"))


class ServeTest(unittest.TestCase):
    def expect_failure(self, *arguments, preexec=None):
        """What `serve` says when it cannot start; it must not take long to say it."""
        result = run_fanfare("serve", *arguments, preexec=preexec)
        self.assertEqual((1, ""), (result.returncode, result.stdout))
        self.assertTrue(result.stderr.startswith("fanfare: "), result.stderr)
        return result.stderr

    def test_port_of_another_fanfare(self):
        for workers in ("1", "2"):
            with Broker("--workers", workers) as broker:
                place = f"127.0.0.1:{broker.port}"
                words = self.expect_failure("--listen", place, "--workers", "2")
                self.assertIn(place, words)
                self.assertIn("in use", words)
                with RawClient(("127.0.0.1", broker.port)) as client:
                    client.command(op="ping")
                    client.read_op("pong")

    def test_port_of_another_program(self):
        for reuse in (0, 1):
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse)
                other.bind(("127.0.0.1", 0))
                other.listen()
                place = f"127.0.0.1:{other.getsockname()[1]}"
                self.assertIn("--listen", self.expect_failure("--listen", place))

    def test_addresses_that_cannot_be(self):
        for address, word in (("localhost:80", "not an IPv4 address"), (":7788", "127.0.0.1:7788"),
                              ("127.0.0.1", "port"), ("127.0.0.1:70000", "65535"),
                              ("192.0.2.1:0", "no such address"),
                              ("unix:/nowhere/at/all", "create"),
                              ("unix:", "unix:/path")):
            with self.subTest(address):
                arguments = ("--listen", address, "--allow-anonymous")
                self.assertIn(word, self.expect_failure(*arguments))

    def test_reachable_from_elsewhere(self):
        self.assertIn("--allow-anonymous", self.expect_failure("--listen", "0.0.0.0:0"))
        admin = unused_port()
        with Broker("--allow-anonymous", "--admin-listen", f"127.0.0.1:{admin}",
                    listen=["0.0.0.0:0"]) as broker:
            # There the metrics are elsewhere, and any name is accepted.
            self.assertEqual(404, broker.get("/metrics").status)
            answer = broker.get("/topics/x", "POST", body="1", headers={"Host": "broker.example"})
            self.assertEqual(200, answer.status)
            with RawClient(("127.0.0.1", admin), upgrade=False) as client:
                client.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertEqual(200, client.read_response().status)
                client.send(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertEqual(404, client.read_response().status)

    def test_io_uring_refused(self):
        words = self.expect_failure("--listen", "127.0.0.1:0", preexec=forbid_io_uring)
        self.assertIn("io_uring is forbidden", words)
        self.assertIn("seccomp", words)

    def test_few_descriptors(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

        with Broker("--workers", "2", preexec=limit) as broker:
            wait_until(lambda: "connections-max lowered" in broker.log(), 10, "the warning")
            self.assertIn("ulimit -n", broker.log())
            # Ten rings of 40 sockets for each of the workers, without what refusals need.
            self.assertIn("connections_max=336", broker.log())
            clients = [RawClient(("127.0.0.1", broker.port)) for _ in range(50)]
            for client in clients:
                client.command(op="ping")
                client.read_op("pong")
                client.close()

    def test_places(self):
        """IPv4, IPv6 and a Unix socket of one broker with two workers reach each other."""
        with tempfile.TemporaryDirectory(prefix="fanfare-e2e-") as folder:
            path = f"{folder}/fanfare.sock"
            listen = ["127.0.0.1:0", "unix:" + path]
            if has_ipv6():
                listen.insert(1, "[::1]:0")
            with Broker("--workers", "2", listen=listen) as broker:
                self.assertEqual(len(listen), len(broker.places))
                self.assertEqual("unix:" + path, broker.places[-1])
                self.assertIn("in use", self.expect_failure("--listen", "unix:" + path))
                self.check_places(broker.places)
            # A file that a dead broker left behind is in nobody's way.
            with socket.socket(socket.AF_UNIX) as dead:
                if os.path.exists(path):
                    os.unlink(path)
                dead.bind(path)
            with Broker(listen=["unix:" + path]) as broker:
                self.check_places(broker.places)

    def check_places(self, places):
        for place in places:
            sub = start_fanfare("sub", "--url", place, "--count", str(len(places)), "--timeout",
                                "20s", "places/#")
            wait_for_line(sub.stderr, "connected to")
            for other in places:
                self.assertEqual(0, run_fanfare("pub", "--url", other, "places/x", "1").returncode)
            out, err = sub.communicate(timeout=30)
            self.assertEqual(0, sub.returncode, err)
            self.assertEqual(len(places), out.count(b"\n"))

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Broker("--workers", "2") as broker:
                with RawClient(("127.0.0.1", broker.port)) as client:
                    client.command(op="subscribe", id=1, filter="#")
                    client.read_op("subscribed")
                    client.command(op="publish", topic="last/words", text="…")
                    client.read_op("message")
                    broker.process.send_signal(number)
                    goodbye = client.read_op("goodbye")
                    self.assertEqual("draining", goodbye["code"])
                    self.assertGreater(goodbye["retry_ms"], 0)
                    self.assertEqual(1001, client.read_close()[0])
                broker.expect_end()
                self.assertRegex(broker.log(), "msg=stopped signals=1 published=1 delivered=1 told=1 "
                                 r"cut=0 flushed_bytes=\d+ unsent_bytes=0 seconds=\d+\.\d+\n")

    def test_what_was_confirmed_is_delivered_before_the_end(self):
        with Broker("--workers", "2") as broker:
            place = ("127.0.0.1", broker.port)
            subscriber, publisher = RawClient(place), RawClient(place)
            subscriber.command(op="subscribe", id=1, filter="drain/#")
            subscriber.read_op("subscribed")
            for number in range(500):
                publisher.command(op="publish", id=number, topic=f"drain/{number % 7}", data=number)
            broker.process.send_signal(signal.SIGTERM)
            confirmed = set()
            try:
                while True:
                    message = publisher.read_json()
                    if message["op"] == "published":
                        confirmed.add(message["id"])
            except EOFError:
                pass
            arrived = []
            try:
                while True:
                    message = subscriber.read_json()
                    if message["op"] == "message":
                        arrived.append(message["data"])
            except EOFError:
                pass
            publisher.close()
            subscriber.close()
            broker.expect_end()
            self.assertEqual(len(arrived), len(set(arrived)))
            self.assertLessEqual(confirmed, set(arrived))

    def test_second_signal_ends_at_once(self):
        with Broker("--drain-timeout", "60s", "--close-timeout", "60s") as broker:
            client = RawClient(("127.0.0.1", broker.port))  # which will not answer the Close
            broker.process.send_signal(signal.SIGTERM)
            client.read_op("goodbye")
            time.sleep(0.5)
            self.assertIsNone(broker.process.poll())
            self.assertEqual(503, refused_or_503(broker))
            broker.process.send_signal(signal.SIGTERM)
            broker.expect_end(timeout_s=10, exit_code=1)
            self.assertIn("signals=2", broker.log())
            client.close()


def refused_or_503(broker):
    """After the signal the port is closed; a connection that was faster hears 503."""
    try:
        return broker.get("/readyz").status
    except OSError:
        return 503


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def wait_for_line(pipe, words, timeout_s=20):
    """Reads from the pipe, unbuffered, until the words came; answers what was read."""
    deadline = time.monotonic() + timeout_s
    seen = b""
    while words.encode() not in seen:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([pipe], [], [], max(0, left))
        data = os.read(pipe.fileno(), 65536) if ready else b""
        if not data:
            raise AssertionError(f"no {words!r} in {seen!r}")
        seen += data
    return seen.decode("utf-8", "replace")


class ToolsTest(unittest.TestCase):
    """`fanfare sub` and `fanfare pub` with a broker of two workers."""

    def setUp(self):
        self.broker = self.enterContext(Broker("--workers", "2"))

    def start_sub(self, *arguments, **how):
        sub = start_fanfare("sub", "--url", self.broker.url, *arguments, **how)
        self.addCleanup(self.end, sub)
        wait_for_line(sub.stderr, "connected to")
        return sub

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def pub(self, *arguments, **how):
        result = run_fanfare("pub", "--url", self.broker.url, *arguments, **how)
        self.assertEqual((0, "", ""), (result.returncode, result.stdout, result.stderr))

    def lines(self, sub):
        out, err = sub.communicate(timeout=30)
        self.assertEqual(0, sub.returncode, err)
        return [json.loads(line) for line in out.decode().splitlines()]

    def test_kinds(self):
        sub = self.start_sub("--count", "6", "--timeout", "20s", "kinds/#")
        self.pub("kinds/1", '{"b": 1, "a": [2.50]}')
        self.pub("kinds/2", "not json")
        self.pub("kinds/3", "--text", "7")
        self.pub("kinds/4", "--binary", "--", "-", input_bytes=b"\x00\xff\n\x00")
        self.pub("kinds/5", "--json", "null")
        self.pub("kinds/ü", "🎺")
        self.assertEqual(
            [{"op": "message", "topic": "kinds/1", "data": {"b": 1, "a": [2.5]}},
             {"op": "message", "topic": "kinds/2", "text": "not json"},
             {"op": "message", "topic": "kinds/3", "text": "7"},
             {"op": "message", "topic": "kinds/4", "base64": "AP8KAA=="},
             {"op": "message", "topic": "kinds/5", "data": None},
             {"op": "message", "topic": "kinds/ü", "text": "🎺"}],
            sorted(self.lines(sub), key=lambda message: message["topic"]))

    def test_lines_of_the_input(self):
        count = 3_000
        sub = self.start_sub("--count", str(count), "--timeout", "30s", "lines")
        text = "".join(f"{number}\n" for number in range(count - 1)) + "the last, unended"
        self.pub("lines", "-", input_bytes=text.encode())
        messages = self.lines(sub)
        self.assertEqual(list(range(count - 1)), [message["data"] for message in messages[:-1]])
        self.assertEqual("the last, unended", messages[-1]["text"])

    def test_bad_lines_are_named_and_the_others_published(self):
        sub = self.start_sub("--count", "2", "--timeout", "20s", "lines")
        result = run_fanfare("pub", "--url", self.broker.url, "--json", "lines",
                             input_bytes=b"1\n{oops\n3\n")
        self.assertEqual(1, result.returncode)
        self.assertIn("line 2", result.stderr)
        self.assertEqual([1, 3], [message["data"] for message in self.lines(sub)])

    def test_exit_codes(self):
        url = ("--url", self.broker.url)
        nobody = ("--url", f"ws://127.0.0.1:{unused_port()}/ws")
        for code, words, arguments in (
                (0, "", ["sub", *url, "--timeout", "300ms", "quiet"]),
                (3, "", ["sub", *url, "--timeout", "300ms", "--count", "1", "quiet"]),
                (1, "wildcard", ["sub", *url, "a+"]),
                (1, "unix:", ["sub", "--url", "http://x", "a"]),
                (2, "127.0.0.1", ["sub", *nobody, "a"]),
                (2, "127.0.0.1", ["pub", *nobody, "a", "1"]),
                (1, "wildcard", ["pub", *url, "a/#", "1"]),
                (1, "$", ["pub", *url, "$x", "1"]),
                (1, "JSON", ["pub", *url, "--json", "a", "{"]),
                (1, "at most", ["pub", *url, "a", "x" * 70_000]),
                (4, "404", ["sub", "--url", self.broker.url[:-2] + "other", "a"])):
            with self.subTest(arguments[:6]):
                result = run_fanfare(*arguments)
                self.assertEqual(code, result.returncode, result.stderr)
                self.assertIn(words, result.stderr)

    def test_closed_standard_descriptors(self):
        """The connection must not get the number of one, and be read from or printed to."""
        result = run_fanfare("pub", "--url", self.broker.url, "closed", "-",
                             preexec=lambda: os.close(0))
        self.assertEqual(1, result.returncode)
        self.assertIn("cannot read the input: Bad file descriptor", result.stderr)
        sub = self.start_sub("closed", preexec=lambda: os.close(1))
        self.pub("closed", "1")
        self.assertEqual(1, sub.wait(20))
        self.assertIn(b"cannot write the output: Bad file descriptor", sub.stderr.read())

    def test_url_of_the_environment(self):
        environment = {"FANFARE_URL": self.broker.url}
        self.assertEqual(0, run_fanfare("pub", "a", "1", environment=environment).returncode)

    def test_reader_that_leaves(self):
        """As `fanfare sub … | head -1`: the end of the reader is no error."""
        sub = self.start_sub("many")
        for number in range(3):
            self.pub("many", str(number))
        sub.stdout.readline()
        sub.stdout.close()
        sub.stdout = None
        self.pub("many", "more")
        self.pub("many", "and more")
        self.assertEqual(0, sub.wait(20))

    def test_terminal(self):
        """People get colours and plain lines; what is published moves no cursor."""
        for environment, colour in (({}, True), ({"NO_COLOR": "1"}, False)):
            master, slave = pty.openpty()
            sub = subprocess.Popen(
                [broker_process.Options.broker, "sub", "--url", self.broker.url, "--count", "1",
                 "--timeout", "20s", "term/#"],
                stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE,
                env=clean_environment(TERM="xterm", **environment),
                preexec_fn=broker_process.die_with_parent)
            os.close(slave)
            self.addCleanup(self.end, sub)
            wait_for_line(sub.stderr, "connected to")
            self.pub("term/x", "--text", "evil \x1b[2J\x9b31m \u2028 end")
            shown = ""
            while "\n" not in shown:
                shown += os.read(master, 4096).decode("utf-8", "replace")
            self.assertEqual(0, sub.wait(20))
            os.close(master)
            self.assertEqual(colour, shown.startswith(ESCAPE + "[1mterm/x"), shown)
            self.assertIn("evil \\u001b[2J", shown)
            self.assertEqual(2 if colour else 0, shown.count(ESCAPE))

    def test_overlap_and_order(self):
        sub = self.start_sub("--count", "4", "--timeout", "20s", "o/#", "o/+/t", "o/a/t")
        self.pub("o/a/t", "-", input_bytes=b"1\n2\n3\n4\n")
        self.assertEqual([1, 2, 3, 4], [message["data"] for message in self.lines(sub)])


class ReconnectTest(unittest.TestCase):
    def test_restart(self):
        port = unused_port()
        listen = [f"127.0.0.1:{port}"]
        with Broker(listen=listen) as broker:
            sub = start_fanfare("sub", "--url", broker.url, "--count", "2", "--timeout", "60s",
                                "r/#")
            self.addCleanup(ToolsTest.end, sub)
            wait_for_line(sub.stderr, "connected to")
            run_fanfare("pub", "--url", broker.url, "r/1", "1")
            self.assertIn('"r/1"', wait_for_line(sub.stdout, "\n"))
        words = wait_for_line(sub.stderr, "reconnecting in")
        self.assertIn("draining", words)
        with Broker(listen=listen) as broker:
            # Two lines, which may come one after the other.
            self.assertIn("connected again", wait_for_line(sub.stderr, "may be missing", 40))
            self.assertEqual(0, run_fanfare("pub", "--url", broker.url, "r/2", "2").returncode)
            out, err = sub.communicate(timeout=30)
            self.assertEqual(0, sub.returncode, err)
            self.assertIn(b'"r/2"', out)

    def test_killed_broker(self):
        """Nobody said goodbye; without --no-reconnect it would try again."""
        with Broker() as broker:
            sub = start_fanfare("sub", "--url", broker.url, "--no-reconnect", "k")
            self.addCleanup(ToolsTest.end, sub)
            wait_for_line(sub.stderr, "connected to")
            broker.kill()
            self.assertEqual(2, sub.wait(20))

    def test_publisher_sends_again(self):
        """What was not confirmed is published after the restart."""
        port = unused_port()
        listen = [f"127.0.0.1:{port}"]
        with Broker(listen=listen) as broker:
            pub = start_fanfare("pub", "--url", broker.url, "again", stdin=subprocess.PIPE)
            self.addCleanup(ToolsTest.end, pub)
            pub.stdin.write(b"1\n")
            pub.stdin.flush()
            wait_until(lambda: broker.metrics()["fanfare_messages_published_total"] == 1, 20, "1")
        wait_for_line(pub.stderr, "reconnecting in")
        with Broker(listen=listen) as broker:
            sub = start_fanfare("sub", "--url", broker.url, "--count", "1", "--timeout", "40s",
                                "again")
            self.addCleanup(ToolsTest.end, sub)
            wait_for_line(sub.stderr, "connected to")
            pub.stdin.write(b"2\n")
            pub.stdin.close()
            pub.stdin = None
            self.assertEqual(0, pub.wait(40))
            out, err = sub.communicate(timeout=45)
            self.assertEqual(0, sub.returncode, err)
            self.assertEqual(2, json.loads(out)["data"])


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
