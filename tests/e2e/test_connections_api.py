#!/usr/bin/python3
"""Who is slow? The broker tells an operator, who closes whom it concerns."""

import json
import sys
import unittest

import broker_process
from broker_process import Broker, unused_port, wait_until
from raw_client import CLOSE, TEXT, RawClient

MESSAGE_BYTES = 30_000
# More than the kernel takes for a reader that does not read.
MESSAGES_COUNT = 400


class ConnectionsApiTest(unittest.TestCase):
    def start(self, *arguments):
        broker = self.enterContext(Broker("--workers", "2", *arguments))
        self.place = ("127.0.0.1", broker.port)
        return broker

    @staticmethod
    def ask(broker, query=""):
        response = broker.get("/api/connections" + query)
        assert response.status == 200, response.content
        assert response.headers["Content-Type"] == "application/json"
        return json.loads(response.content)

    def ask_when_alone(self, broker, query, connections_count):
        """The answer when the connections of earlier questions have gone."""
        answers = []

        def is_alone():
            answers.append(self.ask(broker, query))
            return answers[-1]["connections_count"] == connections_count

        wait_until(is_alone, 10, f"{connections_count} connections are left")
        return answers[-1]

    def test_the_slowest_of_all_workers_stands_first_and_can_be_closed(self):
        # The policy must not act before the operator does.
        broker = self.start("--outbound-soft", "32MiB", "--outbound-hard", "64MiB")
        living = [self.enterContext(RawClient(self.place)) for _ in range(20)]
        slow = self.enterContext(RawClient(self.place, receive_buffer_bytes=4096))
        slow.command(op="subscribe", id=1, filters=["a", "b"])
        slow.read_op("subscribed")
        for number in range(MESSAGES_COUNT):
            living[0].send_frame(TEXT, json.dumps(
                {"op": "publish", "topic": "a", "text": "x" * MESSAGE_BYTES}))
        living[0].command(op="ping", id=1)
        living[0].read_op("pong")

        wait_until(lambda: self.ask(broker, "?sort=lag&limit=1")["connections"][0]["lag_ms"] > 300,
                   10, "what waits gets older")
        for query in ("?sort=outbound_bytes", "?sort=lag"):
            # The question comes on a connection, too.
            rows = self.ask_when_alone(broker, query, connections_count=22)["connections"]
            self.assertEqual(22, len(rows))
            self.assertEqual({"0", "1"}, {row["id"].split("-")[0] for row in rows})
            self.assertEqual(21, sum(row["websocket"] for row in rows))
            first = rows[0]
            self.assertEqual(("open", 2, "127.0.0.1"),
                             (first["state"], first["subscriptions"], first["address"]))
            self.assertGreater(first["outbound_bytes"], MESSAGE_BYTES)
            self.assertEqual([0] * 21, [row["outbound_bytes"] for row in rows[1:]])
        self.assertEqual([first["id"]],
                         [row["id"] for row in self.ask(broker, "?limit=1")["connections"]])

        path = "/api/connections/" + first["id"]
        self.assertEqual((204, b""), (lambda r: (r.status, r.content))(broker.get(path, "DELETE")))
        while True:
            opcode, payload = slow.read_frame()
            if opcode == CLOSE:
                break
        self.assertEqual(4102, int.from_bytes(payload[:2], "big"))
        slow.close()
        wait_until(lambda: broker.get(path, "DELETE").status == 404, 10, "it is gone")
        self.assertEqual(
            1, broker.metrics()['fanfare_connections_closed_total{code="4102"}'])
        for client in living:  # nobody else was concerned
            client.command(op="ping", id=2)
            client.read_op("pong")

    def test_only_the_admin_surface_tells(self):
        admin_port = unused_port()
        broker = self.start("--listen", "0.0.0.0:0", "--allow-anonymous",
                            "--admin-listen", f"127.0.0.1:{admin_port}")
        self.assertEqual(404, broker.get("/api/connections").status)
        self.assertEqual(404, broker.get("/api/connections/0-0-1", "DELETE").status)

    def test_bad_questions(self):
        broker = self.start()
        for query in ("?limit=0", "?limit=1001", "?sort=age", "?limit"):
            self.assertEqual(400, broker.get("/api/connections" + query).status)
        self.assertEqual(405, broker.get("/api/connections", "DELETE").status)
        self.assertEqual(400, broker.get("/api/connections/x", "DELETE").status)
        self.assertEqual(404, broker.get("/api/connections/1-0-99", "DELETE").status)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    broker_process.main()
