#!/usr/bin/python3
"""Peers that vanish without a FIN: their network is cut, or they are frozen. All of them are gone
within the bound, none before, memory comes back, and clients elsewhere notice nothing.

The peers are bench/overload_load in a network namespace of its own, behind a link that can be cut;
clients that live are on the other side, and publish and receive all the time.

FANFARE_TEST_CLIENTS says how many peers there are; 18000 is the full size, with a longer heartbeat.
Each test prints what it measured.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import unittest

import broker_process
from broker_process import Broker, Options, wait_until
from live_clients import LiveClients
from namespaces import FAR_ADDRESS, NEAR_ADDRESS, Network

IS_SANITIZED = "--sanitized" in sys.argv
CLIENTS_COUNT = int(os.environ.get("FANFARE_TEST_CLIENTS", 300 if IS_SANITIZED else 1_500))
INTERVAL_S = TIMEOUT_S = 2 if CLIENTS_COUNT <= 2_000 else 10
# An eviction: the Close frame gets a second to leave; two ticks of the broker's timers.
GRACE_S = 1
TICKS_S = 0.128
# The kernel counts from its first retransmission, which comes after 200 ms or a little more.
RETRANSMISSION_S = 0.5
# Of the machine, and of our looking; and of the kernel's timers, which come when it finds time.
LATE_S = 3 if IS_SANITIZED else 1
KERNEL_LATE_S = 2 * LATE_S if CLIENTS_COUNT <= 2_000 else 20
# A pong may have been on its way when the link was cut.
ROUND_TRIP_S = 1
LIVE_COUNT = 5 if IS_SANITIZED else 10
RATE = 20  # messages a second to those who live
HELD_RATE = 20 if CLIENTS_COUNT <= 2_000 else 2  # the same, to the peers as well
# After it something is on the way to each of them: a message was due, and has been sent to all.
ON_THE_WAY_S = 0.5 if CLIENTS_COUNT <= 2_000 else 3
MESSAGE_BYTES = 200
CALM_S = 2 if CLIENTS_COUNT <= 2_000 else 10
HELD_TIMEOUT_S = 100
DELAY_MAX_MS = 2_000
MEMORY_SLACK_BYTES = 2 << 20  # spare chunks, and what is on its way at the moment of looking
GROWTH_BYTES_MAX = 2 << 20
ESTABLISHED = "01"


class Peers:
    """The holder: connections that read and answer pings, on the far side of the link."""

    def __init__(self, network, port, count=CLIENTS_COUNT):
        program = pathlib.Path(Options.broker).parent / "bench" / "overload_load"

        def prepare():
            broker_process.die_with_parent()
            network.enter_far()

        self.process = subprocess.Popen(
            [program, "hold", NEAR_ADDRESS, str(port), str(count)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, preexec_fn=prepare)

    def expect_all(self):
        """Waits until all of them are there (again)."""
        line = self.process.stdout.readline()
        if line != "held\n":
            raise AssertionError(f"the peers did not come: {line!r}")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def closed(code):
    return f'fanfare_connections_closed_total{{code="{code}"}}'


def memory_bytes(metrics):
    return sum(value for name, value in metrics.items() if name.startswith("fanfare_memory_bytes{"))


def kernel_sockets(port):
    """States of the kernel's sockets for the peers, those without a process included."""
    far = socket.inet_aton(FAR_ADDRESS)[::-1].hex().upper()
    states = []
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            _, local, remote, state = line.split()[:4]
            if local.endswith(f":{port:04X}") and remote.startswith(far):
                states.append(state)
    return states


class VanishedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.network = Network()

    def start(self, *arguments, topic="live", rate=RATE, message_bytes=MESSAGE_BYTES,
              heartbeat_s=(INTERVAL_S, TIMEOUT_S)):
        """A broker, clients that live, and peers that will not."""
        self.broker = self.enterContext(Broker(
            "--workers", "2", "--allow-anonymous", "--connections-max", str(CLIENTS_COUNT + 100),
            "--heartbeat-interval", f"{heartbeat_s[0]}s", "--heartbeat-timeout",
            f"{heartbeat_s[1]}s",
            *arguments, listen=("127.0.0.1:0", f"{NEAR_ADDRESS}:0")))
        self.port = int(self.broker.places[1].rpartition(":")[2].partition("/")[0])
        self.live = self.enterContext(
            LiveClients(self.broker.port, LIVE_COUNT, topic, rate, message_bytes))
        self.before = self.broker.metrics()
        self.report = {"test": self.id().rpartition(".")[2], "peers": CLIENTS_COUNT,
                       "resident_before": self.broker.resident_bytes(),
                       "kernel_before": self.before["fanfare_kernel_socket_bytes"]}
        self.peers = self.start_peers()

    def start_peers(self):
        peers = Peers(self.network, self.port)
        self.addCleanup(peers.end)
        peers.expect_all()
        # One interval, so that the pings are spread as they are in the long run.
        time.sleep(INTERVAL_S)
        self.live.begin("before")
        time.sleep(CALM_S)
        self.report["resident_with_peers"] = self.broker.resident_bytes()
        metrics = self.broker.metrics()
        self.report["kernel_with_peers"] = metrics["fanfare_kernel_socket_bytes"]
        self.assertEqual(CLIENTS_COUNT + LIVE_COUNT + 1, metrics["fanfare_websockets"])
        return peers

    def expect_ended(self, since_s, codes, not_before_s, within_s):
        """All peers end by one of the codes, in the given time since `since_s`."""
        evicted_s, ended_s = [], []
        while len(ended_s) < CLIENTS_COUNT:
            asked_s = time.monotonic() - since_s
            metrics = self.broker.metrics()
            told_s = time.monotonic() - since_s
            left = int(metrics["fanfare_websockets"]) - LIVE_COUNT - 1
            ended = int(sum(metrics[closed(code)] for code in codes))
            evicted_s += [told_s] * (CLIENTS_COUNT - left - len(evicted_s))
            ended_s += [told_s] * (ended - len(ended_s))
            if evicted_s:
                self.assertGreater(told_s, not_before_s, f"{len(evicted_s)} ended too early")
            if ended < CLIENTS_COUNT:
                self.assertLess(asked_s, within_s, f"only {ended} have ended: {metrics}")
            time.sleep(0.02)
        self.assertEqual(CLIENTS_COUNT, sum(value for name, value in metrics.items()
                                            if name.startswith("fanfare_connections_closed_total")))
        for name, times_s in (("evicted", evicted_s), ("ended", ended_s)):
            self.report[f"{name}_s"] = {"first": round(times_s[0], 2),
                                        "p50": round(times_s[len(times_s) // 2], 2),
                                        "last": round(times_s[-1], 2)}
        self.report["codes"] = {code: int(metrics[closed(code)]) for code in codes}

    def expect_as_before(self):
        """What the broker held for the peers is free."""
        def is_free():
            metrics = self.broker.metrics()
            return (metrics["fanfare_connections"] == LIVE_COUNT + 2 and  # this one
                    metrics["fanfare_filters"] == self.before["fanfare_filters"] and
                    memory_bytes(metrics) <= memory_bytes(self.before) + MEMORY_SLACK_BYTES)
        wait_until(is_free, 2 + LATE_S, "the memory of those who are gone")
        self.report["resident_after"] = self.broker.resident_bytes()

    def expect_kernel_gone(self, since_s, within_s):
        """The kernel has given up the sockets that had something on the way."""
        wait_until(lambda: not kernel_sockets(self.port), within_s - (time.monotonic() - since_s),
                   "the kernel's sockets are gone")
        self.report["kernel_gone_s"] = round(time.monotonic() - since_s, 2)

    def finish(self):
        delays = self.live.finish()
        self.report["delays"] = delays
        self.report["load_average"] = os.getloadavg()[0]
        print(json.dumps(self.report), flush=True)
        return delays

    def expect_unnoticed(self):
        delays = self.finish()
        self.assertLess(delays["during"]["max_ms"], DELAY_MAX_MS)

    BOUND_S = INTERVAL_S + TIMEOUT_S + GRACE_S + TICKS_S + LATE_S

    def test_the_link_is_cut_and_nothing_is_on_the_way(self):
        self.start()
        self.live.begin("during")
        cut_s = time.monotonic()
        self.network.pull_the_plug()
        self.addCleanup(self.network.plug_in)
        self.expect_ended(cut_s, [4200], TIMEOUT_S - ROUND_TRIP_S, self.BOUND_S)
        self.expect_as_before()
        # What is on the way is the ping, which left up to an interval after the cut.
        self.expect_kernel_gone(
            cut_s, INTERVAL_S + INTERVAL_S + TIMEOUT_S + RETRANSMISSION_S + KERNEL_LATE_S)
        self.expect_unnoticed()

    def test_again_and_again(self):
        """The second time finds the memory of the first one."""
        self.start()
        resident = []
        for count in range(1, 4):
            self.network.pull_the_plug()
            try:
                wait_until(lambda: self.broker.metrics()[closed(4200)] == count * CLIENTS_COUNT,
                           self.BOUND_S, "all are evicted")
            finally:
                self.peers.end()
                self.network.plug_in()
            self.expect_as_before()
            resident.append(self.broker.resident_bytes())
            if count < 3:
                self.peers = self.start_peers()
        self.report["resident_after"] = resident
        if not Options.is_sanitized:
            self.assertLess(max(resident[1:]) - resident[0], GROWTH_BYTES_MAX)
        self.finish()

    def test_messages_are_on_the_way(self):
        """Their kernel reads, but what it says is lost. The heartbeat is first; what it leaves to
        the kernel, the kernel gives up."""
        self.start(topic="held", rate=HELD_RATE)
        self.live.begin("during")
        cut_s = time.monotonic()
        self.network.lose_what_comes_back()
        self.addCleanup(self.network.find_it_again)
        self.expect_ended(cut_s, [4200], TIMEOUT_S - ROUND_TRIP_S, self.BOUND_S)
        self.expect_as_before()
        # The first message that was not acknowledged left at once; sockets are without a process
        # for the rest of the time.
        given_up_s = INTERVAL_S + TIMEOUT_S + 1 / HELD_RATE + RETRANSMISSION_S + KERNEL_LATE_S
        self.expect_kernel_gone(cut_s, max(self.BOUND_S, given_up_s))
        self.expect_unnoticed()

    @unittest.skipIf(CLIENTS_COUNT > 2_000, "so many do not get 200 kB/s each on one machine")
    def test_more_is_on_the_way_than_their_queues_take(self):
        """A queue that is full ends its connection long before its silence does."""
        rate, message_bytes, hard_bytes, close_s = 50, 4_000, 64 << 10, 1
        self.start("--outbound-soft", "16KiB", "--outbound-hard", f"{hard_bytes}B",
                   "--unsent-max", "16KiB", "--close-timeout", f"{close_s}s", topic="held",
                   rate=rate, message_bytes=message_bytes, heartbeat_s=(30, 30))
        self.live.begin("during")
        cut_s = time.monotonic()
        self.network.lose_what_comes_back()
        self.addCleanup(self.network.find_it_again)
        # The queue, and what the kernel takes: unsent bytes, and the window in flight.
        full_s = (hard_bytes + (512 << 10)) / (rate * message_bytes)
        self.expect_ended(cut_s, [4100], 0, full_s + close_s + LATE_S)
        self.expect_as_before()
        self.expect_unnoticed()

    def test_the_kernel_gives_up_while_the_broker_stands_still(self):
        """A broker that was stopped blames nobody, but the kernel counted on (TCP_USER_TIMEOUT)."""
        self.start(topic="held", rate=HELD_RATE)
        self.live.begin("during")
        cut_s = time.monotonic()
        self.network.lose_what_comes_back()
        self.addCleanup(self.network.find_it_again)
        time.sleep(ON_THE_WAY_S)
        os.kill(self.broker.pid, signal.SIGSTOP)
        # Nobody was evicted in that time, and nobody will be before the timeout begins again.
        time.sleep(INTERVAL_S + TIMEOUT_S + RETRANSMISSION_S + KERNEL_LATE_S)
        os.kill(self.broker.pid, signal.SIGCONT)
        self.expect_ended(cut_s, [1006], INTERVAL_S + TIMEOUT_S,
                          time.monotonic() - cut_s + min(TIMEOUT_S, LATE_S))
        self.assertEqual([], kernel_sockets(self.port))
        self.expect_as_before()
        self.finish()  # the messages of that time came late, but they came

    def test_frozen_peers_are_evicted_and_come_back(self):
        """Their kernel acknowledges everything, so only the heartbeat can tell."""
        self.start()
        self.live.begin("during")
        frozen_s = time.monotonic()
        self.peers.process.send_signal(signal.SIGSTOP)
        self.expect_ended(frozen_s, [4200], TIMEOUT_S - ROUND_TRIP_S, self.BOUND_S)
        self.expect_as_before()
        self.live.begin("thaw")
        thawed_s = time.monotonic()
        self.peers.process.send_signal(signal.SIGCONT)
        self.peers.expect_all()
        self.report["back_s"] = round(time.monotonic() - thawed_s, 2)
        metrics = self.broker.metrics()
        self.assertEqual(CLIENTS_COUNT + LIVE_COUNT + 1, metrics["fanfare_websockets"])
        self.expect_unnoticed()

    def test_a_frozen_broker_evicts_nobody(self):
        self.start()
        for _ in range(2):
            os.kill(self.broker.pid, signal.SIGSTOP)
            time.sleep(INTERVAL_S + TIMEOUT_S + 1)
            os.kill(self.broker.pid, signal.SIGCONT)
            time.sleep(INTERVAL_S + TIMEOUT_S)
        metrics = self.broker.metrics()
        self.assertEqual(CLIENTS_COUNT + LIVE_COUNT + 1, metrics["fanfare_websockets"])
        self.assertEqual([ESTABLISHED] * CLIENTS_COUNT, kernel_sockets(self.port))
        self.assertEqual(0, sum(value for name, value in metrics.items()
                                if name.startswith("fanfare_connections_closed_total")))
        self.finish()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
