#!/usr/bin/python3
"""`fanfare bench` against real servers: each scenario for a second, with every check on, and its
sums against the broker's own counters.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import broker_process
from broker_process import (Broker, die_with_parent, run_fanfare, start_fanfare,
                            unused_port, wait_until)

TIMEOUT_S = 60
SHORT = ("--duration", "1s", "--warmup", "200ms")

# A server of another kind: what begins with "sub " subscribes, all else goes to the topic it names.
# It can be told to mistreat every hundredth delivery.
WS_SERVER = """
const { WebSocketServer } = require("/usr/share/nodejs/ws");
const topics = new Map();
const fault = process.argv[2];
const server = new WebSocketServer({ port: Number(process.argv[1]), host: "127.0.0.1" });
let count = 0;
let held = null;
function deliver(socket, payload) {
  const text = `{"p":"${payload}"}`;
  const isBad = ++count % 100 === 0;
  if (isBad && fault === "drop") return;
  if (isBad && fault === "swap") { held = text; return; }
  socket.send(isBad && fault === "damage" ? text.replace("<", "<x") : text);
  if (isBad && fault === "repeat") socket.send(text);
  if (held !== null) { socket.send(held); held = null; }
}
server.on("connection", (socket) => {
  socket.on("message", (data) => {
    const [verb, topic, payload] = data.toString().split(" ", 3);
    if (verb === "sub") {
      if (!topics.has(topic)) topics.set(topic, []);
      topics.get(topic).push(socket);
      socket.send("ok");
    } else {
      for (const other of topics.get(topic) ?? []) deliver(other, payload);
    }
  });
});
server.on("listening", () => console.log("ready"));
"""


def bench(*arguments, expected=0, timeout_s=TIMEOUT_S):
    """Runs it to its end; answers its JSON."""
    result = run_fanfare("bench", *arguments, "--json", timeout_s=timeout_s)
    if result.returncode != expected:
        raise AssertionError(f"ended with {result.returncode}: {result.stderr}\n{result.stdout}")
    return json.loads(result.stdout)


class ScenariosTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker("--workers", "2", "--topic-rule",
                            "match=kept/#,history_messages=10000")
        cls.broker.__enter__()
        cls.addClassCleanup(lambda: cls.broker.__exit__(None, None, None))

    def run_scenario(self, *arguments):
        """A run with all checks; its sums must be the broker's."""
        # Those of the run before may still be subscribed to the same topics.
        wait_until(lambda: self.broker.metrics()["fanfare_websockets"] == 0, 10, "all have gone")
        before = self.broker.metrics()
        found = bench(*arguments, *SHORT, "--check", "--url", self.broker.url, "--broker-pid",
                      str(self.broker.pid))
        after = self.broker.metrics()
        self.assertTrue(found["is_clean"], found)
        self.assertEqual("", found["failure"])
        self.assertEqual(found["expected"], found["delivered"])
        self.assertEqual(found["delivered"], found.get("check", {}).get("checked"))
        for figure in ("skipped", "repeated", "damaged"):
            self.assertEqual(0, found["check"][figure])
        self.assertEqual(0, found["foreign_messages"])
        self.assertEqual(0, found["lost_connections"])

        def rise(name):
            return after[name] - before.get(name, 0)

        self.assertEqual(found["published"], rise("fanfare_messages_published_total"))
        if found["plan"]["scenario"] == "reconnect":
            # What was on its way to those that were cut was queued, lost, and queued again.
            self.assertLessEqual(found["delivered"], rise("fanfare_deliveries_total"))
        else:
            self.assertEqual(found["delivered"], rise("fanfare_deliveries_total"))
        self.assertGreater(found["load_cpu_share"], 0)
        self.assertTrue(found["broker"]["resident_bytes"] > 0)
        return found

    def check_latency(self, found):
        latency = found["latency_ns"]
        self.assertGreater(latency["count"], 0)
        self.assertLessEqual(latency["count"], found["delivered"])
        steps = [latency[name] for name in ("min", "p50", "p90", "p99", "p999", "p9999", "max")]
        self.assertEqual(sorted(steps), steps)
        self.assertGreater(latency["min"], 1_000)

    def test_fanout(self):
        found = self.run_scenario("fanout", "--clients", "200")
        self.assertEqual(found["published"] * 200, found["delivered"])
        self.check_latency(found)
        self.assertGreater(found["broker"]["cpu_us_per_delivery"], 0)
        # {"op":"message","topic":"bench/0","data":"…64…"} and two bytes of header.
        self.assertAlmostEqual(110, found["wire_bytes_per_delivery"], delta=1)

    def test_open_loop(self):
        found = self.run_scenario("fanout", "--clients", "20", "--rate", "300")
        self.assertAlmostEqual(300, found["published_per_s"], delta=30)
        self.check_latency(found)
        self.assertIn("lateness_ns", found)

    def test_fanin(self):
        found = self.run_scenario("fanin", "--clients", "50", "--window", "200")
        self.assertEqual(found["published"], found["delivered"])

    def test_rooms(self):
        found = self.run_scenario("rooms", "--clients", "100", "--topics", "10", "--publishers",
                                  "4", "--payload", "34..2000", "--threads", "3")
        self.assertEqual(found["published"] * 10, found["delivered"])
        self.assertEqual(3, found["plan"]["threads"])

    def test_wildcards(self):
        found = self.run_scenario("wildcards", "--clients", "90", "--topics", "9", "--publishers",
                                  "2")
        # Ten clients of each topic, thirty over the three rows, thirty over the columns.
        self.assertGreater(found["delivered"], found["published"] * 10)

    def test_echo(self):
        found = self.run_scenario("echo", "--clients", "30", "--window", "60")
        self.assertEqual(found["published"], found["delivered"])
        self.assertEqual(30, found["plan"]["connections"])

    def test_large_messages(self):
        found = self.run_scenario("fanout", "--clients", "10", "--payload", "60000", "--window",
                                  "4")
        self.assertGreater(found["wire_bytes_per_delivery"], 60_000)

    def test_reconnect(self):
        found = self.run_scenario("reconnect", "--clients", "100", "--topics", "10", "--rate",
                                  "300", "--topic-prefix", "kept")
        self.assertEqual(100, found["resume_ns"]["count"])
        self.assertEqual(0, found["not_recovered"])
        self.assertGreater(found["all_live_again_s"], 0)
        self.assertEqual([], [text for text in found["warnings"] if "history" in text])

    def test_reconnect_without_history(self):
        """What was missed cannot come back; that is no success, and the cure is named."""
        result = run_fanfare("bench", "reconnect", "--clients", "300", "--topics", "10", "--rate",
                             "5000", *SHORT, "--url", self.broker.url)
        self.assertEqual(4, result.returncode, result.stdout)
        self.assertIn("MISSING", result.stdout)
        self.assertIn("--topic-rule", result.stdout)

    def test_churn(self):
        before = self.broker.metrics()['fanfare_connections_closed_total{code="1000"}']
        found = bench("churn", "--clients", "10", *SHORT, "--url", self.broker.url)
        self.assertTrue(found["is_clean"])
        self.assertGreater(found["cycles"], 100)
        self.assertEqual(0, found["lost_connections"])
        self.assertGreaterEqual(found["connect_ns"]["count"], found["cycles"])
        after = self.broker.metrics()['fanfare_connections_closed_total{code="1000"}']
        # Those that are leaving at the end may be missing.
        self.assertAlmostEqual(after - before, found["connect_ns"]["count"], delta=10)

    def test_churn_at_a_rate(self):
        found = bench("churn", "--clients", "20", "--rate", "100", *SHORT, "--url",
                      self.broker.url)
        self.assertAlmostEqual(100, found["connects_per_s"], delta=25)

    def test_churn_that_cannot_keep_its_rate(self):
        """Then whoever comes counts from when it was due, and the report says what is missing."""
        found = bench("churn", "--clients", "2", "--rate", "200000", *SHORT, "--url",
                      self.broker.url)
        self.assertGreater(found["connect_ns"]["p50"], 100_000_000)
        self.assertTrue(any("was due by the rate" in text for text in found["warnings"]))

    def test_the_load_waits_for_no_clock(self):
        """A connection is ready when the broker has made it so, not at the load's next look."""
        found = bench("churn", "--clients", "1", *SHORT, "--url", self.broker.url)
        self.assertLess(found["connect_ns"]["min"], 900_000)

    def test_idle(self):
        found = self.run_idle("--clients", "300")
        self.assertEqual(300, found["connect_ns"]["count"])
        self.assertIn("resident_bytes_per_connection", found["broker"])
        self.assertIn("anonymous_bytes_per_connection", found["broker"])

    def run_idle(self, *arguments):
        found = bench("idle", *arguments, *SHORT, "--url", self.broker.url, "--broker-pid",
                      str(self.broker.pid))
        self.assertTrue(found["is_clean"])
        self.assertEqual(0, found["delivered"])
        return found

    def test_more_connections_than_descriptors(self):
        """The sockets live in the tables of several rings: 96 descriptors hold 300 connections."""
        if self.broker.is_plain:
            self.skipTest("there are no tables on this kernel")
        def lower_the_limit():
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))

        result = run_fanfare("bench", "idle", "--clients", "300", "--connect-rate", "1000", *SHORT,
                             "--url", self.broker.url, "--json", preexec=lower_the_limit,
                             timeout_s=TIMEOUT_S)
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertEqual(300, json.loads(result.stdout)["connect_ns"]["count"])

    def test_too_few_descriptors(self):
        """Wherever they end, it is said, and no assertion of ours fails."""
        for limit in range(10, 30):
            def lower_the_limit():
                import resource
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

            result = run_fanfare("bench", "idle", "--clients", "8", "--threads", "8", "--url",
                                 self.broker.url, "--duration", "100ms", "--warmup", "0s",
                                 preexec=lower_the_limit, timeout_s=TIMEOUT_S)
            self.assertIn(result.returncode, (0, 2), result.stderr)
            if result.returncode == 2:
                self.assertIn("ulimit -n", result.stderr)

    def test_before_all_others(self):
        """Under SCHED_FIFO a load without rest must leave its own coordinator its time."""
        def go_first():
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

        try:
            process = start_fanfare("bench", "idle", "--clients", "1", "--duration", "60s",
                                    "--url", self.broker.url, preexec=go_first)
        except subprocess.SubprocessError:
            self.skipTest("this user may not use SCHED_FIFO")

        def priorities():
            threads = sorted(int(one) for one in os.listdir(f"/proc/{process.pid}/task"))
            return [os.sched_getparam(thread).sched_priority for thread in threads]

        wait_until(lambda: priorities() == [2, 1], 10, "the coordinator precedes the load")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)

    def test_sources(self):
        found = self.run_idle("--clients", "20", "--source", "127.0.0.7", "--source", "127.0.0.8")
        self.assertEqual(20, found["plan"]["connections"])

    def test_report(self):
        with tempfile.TemporaryDirectory(prefix="fanfare-e2e-bench-") as folder:
            file = pathlib.Path(folder) / "report.html"
            result = run_fanfare("bench", "fanout", "--clients", "5", *SHORT, "--url",
                                 self.broker.url, "--report", str(file))
            self.assertEqual(0, result.returncode, result.stderr)
            self.assertIn("latency", result.stdout)
            page = file.read_text()
            self.assertIn("deliveries per second", page)
            self.assertTrue(page.endswith("</html>\n"))

    def test_a_storm_at_a_rate(self):
        """The time without connections to make is no credit for those that come at once."""
        found = bench("reconnect", "--clients", "30", "--topics", "3", "--connect-rate", "30",
                      "--topic-prefix", "kept", "--duration", "2s", "--warmup", "1s", "--url",
                      self.broker.url)
        self.assertGreater(found["all_live_again_s"], 0.9)

    def test_listen(self):
        process = start_fanfare("bench", "listen", "--clients", "2", "--duration", "3s",
                                "--warmup", "0s", "--json", "--url", self.broker.url)
        wait_until(lambda: self.broker.metrics()['fanfare_subscriptions{state="live"}'] >= 2, 10, "subscribed")
        bench("fanout", "--clients", "1", "--rate", "100", "--duration", "500ms", "--warmup", "0s",
              "--url", self.broker.url)
        out, error = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(0, process.returncode, error)
        found = json.loads(out)
        self.assertGreater(found["delivered"], 20)
        self.assertNotIn("latency_ns", found)  # nobody knows when they were due

    def test_two_loads_in_the_same_topics(self):
        """Neither takes the other's messages for its own, or has to wait for them."""
        wait_until(lambda: self.broker.metrics()["fanfare_websockets"] == 0, 10, "all have gone")
        other = start_fanfare("bench", "fanout", "--clients", "3", "--rate", "500", "--duration",
                              "2s", "--check", "--json", "--url", self.broker.url)
        wait_until(lambda: self.broker.metrics()['fanfare_subscriptions{state="live"}'] >= 3, 10, "subscribed")
        found = bench("fanout", "--clients", "4", "--check", *SHORT, "--url", self.broker.url)
        out, error = other.communicate(timeout=TIMEOUT_S)
        self.assertEqual(0, other.returncode, error)
        for one in (found, json.loads(out)):
            self.assertEqual(one["expected"], one["delivered"])
            self.assertGreater(one["foreign_messages"], 0)
            self.assertTrue(any("somebody else" in text for text in one["warnings"]))

    def test_a_lost_message_is_not_hidden(self):
        """Somebody else's messages in the same topics are no deliveries of ours."""
        process = start_fanfare("bench", "fanout", "--clients", "2", "--duration", "2s", "--json",
                                "--url", self.broker.url, "--check")
        wait_until(lambda: self.broker.metrics()['fanfare_subscriptions{state="live"}'] >= 2, 10, "subscribed")
        self.broker.get("/topics/bench/0", "POST", b'"hello"', {"Content-Type": "application/json"})
        out, _ = process.communicate(timeout=TIMEOUT_S)
        found = json.loads(out)
        self.assertEqual(2, found["foreign_messages"])
        self.assertTrue(any("somebody else" in text for text in found["warnings"]))

    def test_slow_metrics(self):
        """What is measured does not wait for them."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            def answer():
                for _ in range(2):
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(4096)
                        time.sleep(0.6)
                        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nfanfare_x_total 1\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            found = bench("fanout", "--clients", "2", *SHORT, "--url", self.broker.url,
                          "--metrics-url", f"ws://127.0.0.1:{server.getsockname()[1]}/")
            thread.join(10)
        self.assertAlmostEqual(1, found["seconds"], delta=0.1)
        times = [moment["s"] for moment in found["moments"]]
        self.assertEqual(sorted(set(times)), times)

    def test_interrupt(self):
        """Ctrl-C ends the measurement, not the report."""
        process = start_fanfare("bench", "fanout", "--clients", "5", "--duration", "60s", "--json",
                                "--url", self.broker.url)
        wait_until(lambda: self.broker.metrics()['fanfare_subscriptions{state="live"}'] >= 5, 10, "subscribed")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(0, process.returncode, error)
        found = json.loads(out)
        self.assertGreater(found["delivered"], 0)
        self.assertTrue(any("interrupted" in text for text in found["warnings"]))


class TroubleTest(unittest.TestCase):
    def test_nobody_there(self):
        result = run_fanfare("bench", "--url", f"ws://127.0.0.1:{unused_port()}")
        self.assertEqual((2, ""), (result.returncode, result.stdout))
        self.assertIn("Is the broker running?", result.stderr)

    def test_not_a_websocket(self):
        with Broker() as broker:
            result = run_fanfare("bench", "--url", f"ws://127.0.0.1:{broker.port}/nowhere",
                                 "--clients", "1")
            self.assertEqual((2, ""), (result.returncode, result.stdout))
            self.assertIn("404", result.stderr)

    def test_nobody_there_for_a_churn(self):
        """It goes on over refusals, but not if it has never been let in."""
        result = run_fanfare("bench", "churn", "--url", f"ws://127.0.0.1:{unused_port()}")
        self.assertEqual((2, ""), (result.returncode, result.stdout))
        self.assertIn("Is the broker running?", result.stderr)
        with Broker() as broker:
            result = run_fanfare("bench", "churn", "--url",
                                 f"ws://127.0.0.1:{broker.port}/nowhere")
            self.assertEqual((2, ""), (result.returncode, result.stdout))
            self.assertIn("404", result.stderr)

    def test_a_churn_that_is_refused_now_and_then(self):
        with Broker("--upgrade-rate", "20") as broker:
            found = bench("churn", "--clients", "5", *SHORT, "--url", broker.url, expected=2)
            self.assertGreater(found["refused_attempts"], 0)
            self.assertGreater(found["cycles"], 0)
            self.assertFalse(found["is_clean"])

    def test_an_idle_connection_that_is_ended(self):
        with Broker() as broker:
            process = start_fanfare("bench", "idle", "--clients", "3", "--duration", "3s",
                                    "--url", broker.url)
            wait_until(lambda: broker.metrics()["fanfare_websockets"] == 3, 10, "all are there")
            time.sleep(1)
            broker.stop()
            out, error = process.communicate(timeout=TIMEOUT_S)
            self.assertEqual(2, process.returncode, out)
            self.assertIn(b"ended 3 connections", error)
            self.assertIn(b"LOST", out)

    def test_sources_that_cannot_be(self):
        with Broker() as broker:
            for source, words in (("192.0.2.1", "no such address"), ("::1", "family")):
                result = run_fanfare("bench", "idle", "--clients", "1", "--source", source,
                                     "--url", broker.url, timeout_s=5)
                self.assertEqual((2, ""), (result.returncode, result.stdout))
                self.assertIn(words, result.stderr)

    def test_a_full_broker(self):
        with Broker("--connections-max", "20") as broker:
            result = run_fanfare("bench", "--url", broker.url, "--clients", "50")
            self.assertEqual(2, result.returncode)
            self.assertIn("503", result.stderr)

    def test_a_broker_that_goes_away(self):
        with Broker() as broker:
            process = start_fanfare("bench", "--url", broker.url, "--clients", "5", "--duration",
                                    "60s")
            wait_until(lambda: broker.metrics()["fanfare_deliveries_total"] > 0, 20, "messages")
            broker.stop()
            out, error = process.communicate(timeout=TIMEOUT_S)
            self.assertEqual(2, process.returncode, out)
            self.assertRegex(error.decode(), "refused|lost")

    def test_wrong_arguments(self):
        for arguments, words in ((["dance"], "dance"), (["--rate", "5", "--window", "5"], "exclude"),
                                 (["--payload", "10"], "34"), (["--duration", "5"], "5s"),
                                 (["--dialect", "template"], "--publish-frame"),
                                 (["rooms", "--clients", "5", "--topics", "6"], "--topics"),
                                 (["--dialect", "nchan", "echo"], "echo"),
                                 (["--source", "nowhere"], "nowhere"),
                                 (["reconnect", "--duration", "100ms"], "200ms"),
                                 (["--broker-pid", "-5"], "--broker-pid")):
            with self.subTest(arguments):
                result = run_fanfare("bench", *arguments)
                self.assertIn(result.returncode, (1, 2))
                self.assertEqual("", result.stdout)
                self.assertIn(words, result.stderr)


class TemplateTest(unittest.TestCase):
    def run_against(self, fault, *arguments, expected=0):
        port = unused_port()
        server = subprocess.Popen(["node", "-e", WS_SERVER, str(port), fault],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  preexec_fn=die_with_parent)
        try:
            self.assertEqual(b"ready\n", server.stdout.readline())
            return bench(*arguments, "--check", *SHORT, "--dialect", "template", "--url",
                         f"ws://127.0.0.1:{port}/", "--subscribe-frame", "sub {topic}",
                         "--publish-frame", "pub {topic} {payload}", "--ready-text", "ok",
                         "--broker-pid", str(server.pid), expected=expected)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def test_node(self):
        found = self.run_against("none", "rooms", "--clients", "20", "--topics", "4",
                                 "--publishers", "2")
        self.assertTrue(found["is_clean"], found)
        self.assertEqual(found["published"] * 5, found["delivered"])
        self.assertEqual(found["delivered"], found["check"]["checked"])
        self.assertGreater(found["delivered"], 100)

    def test_faults_are_found(self):
        """The checks can fail: each fault is counted as what it is, and the exit code says so."""
        for fault, counted in (("drop", "skipped"), ("repeat", "repeated"),
                               ("damage", "damaged"), ("swap", "repeated")):
            with self.subTest(fault):
                found = self.run_against(fault, "fanout", "--clients", "1", "--rate", "1000",
                                         expected=4)
                self.assertFalse(found["is_clean"])
                # Every hundredth of some 1,200; the last one of a swap may still be held.
                faults = found["published"] // 100
                self.assertGreater(faults, 5)
                self.assertAlmostEqual(faults, found["check"][counted], delta=1)
                self.assertEqual(faults if fault == "drop" else 0,
                                 found["missing"] if fault != "swap" else 0)
                others = {"skipped", "repeated", "damaged"} - {counted}
                if fault == "swap":
                    others.remove("skipped")  # it is, until it comes
                for other in others:
                    self.assertEqual(0, found["check"][other], other)

    def test_repetitions_do_not_stop_a_closed_loop(self):
        found = self.run_against("repeat", "fanout", "--clients", "1", expected=4)
        self.assertGreater(found["delivered"], found["expected"] + 10)
        self.assertGreater(found["published"], 2_000)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
