#!/usr/bin/python3
"""What the heartbeat of an idle connection costs the broker, in CPU time and bytes.

    bench/heartbeat_cost.py build/release/fanfare [CONNECTIONS] [SECONDS]

Opens idle WebSockets that do nothing but answer pings, with a short heartbeat interval, and takes
the broker's own CPU time from /proc/PID/stat; the same without pings is taken off.
"""

import os
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
import urllib.request

UPGRADE = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
PING_BYTES = 4
PONG_HEAD = b"\x8a\x82\0\0\0\0"  # masked with zeros
WARM_UP_S = 5


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks_per_s, int(fields[12]) / ticks_per_s


def counters(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    sums = {}
    for name, value in re.findall(r"^fanfare_(\w+)\{shard=\"\d+\"\} (\d+)$", text, re.M):
        sums[name] = sums.get(name, 0) + int(value)
    return sums


def answer_pings(selector, until):
    while (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            data = key.fileobj.recv(4096)
            if not data:
                sys.exit("the broker closed a connection")
            for begin in range(0, len(data), PING_BYTES):
                key.fileobj.send(PONG_HEAD + data[begin + 2:begin + PING_BYTES])


def measure(binary, connections_count, seconds, interval):
    broker = subprocess.Popen(
        [binary, "serve", "--workers", "1", "--listen", "127.0.0.1:0", "--heartbeat-interval",
         interval, "--heartbeat-timeout", "20s", "--connections-max", str(connections_count + 10)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = int(re.search(r":(\d+)/ws", broker.stdout.readline()).group(1))
        selector = selectors.EpollSelector()
        for _ in range(connections_count):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(UPGRADE)
            data = b""
            while not data.endswith(b"}"):  # of the welcome
                data += client.recv(4096)
            selector.register(client, selectors.EVENT_READ)
        answer_pings(selector, time.monotonic() + WARM_UP_S)
        asked, before, before_s = counters(port), counters(port), cpu_s(broker.pid)
        answer_pings(selector, time.monotonic() + seconds)
        after_s, after = cpu_s(broker.pid), counters(port)
        # Without what asking costs, which lies between the first two.
        grown = {name: after[name] - 2 * before[name] + asked[name] for name in after}
        return grown, after_s[0] - before_s[0], after_s[1] - before_s[1]
    finally:
        broker.kill()
        broker.wait()


def main():
    binary = sys.argv[1]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections_count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    _, idle_user_s, idle_kernel_s = measure(binary, connections_count, seconds, "1h")
    print(f"{connections_count} idle connections without pings: user {idle_user_s:.2f} s, "
          f"kernel {idle_kernel_s:.2f} s in {seconds} s")
    grown, user_s, kernel_s = measure(binary, connections_count, seconds, "2s")
    pings = grown["pings_total"]
    print(f"{pings} pings: user {(user_s - idle_user_s) / pings * 1e9:.0f} ns, "
          f"kernel {(kernel_s - idle_kernel_s) / pings * 1e9:.0f} ns each; "
          f"{grown['sent_bytes_total'] / pings:.2f} bytes sent, "
          f"{grown['received_bytes_total'] / pings:.2f} received each; the clock's step is "
          f"{1e9 / os.sysconf('SC_CLK_TCK') / pings:.0f} ns of each")


if __name__ == "__main__":
    main()
