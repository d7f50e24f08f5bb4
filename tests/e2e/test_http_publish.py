#!/usr/bin/python3
"""Publishing with curl, as the documents show it."""

import json
import subprocess
import unittest

import broker_process
from broker_process import Broker

RULE = ("--workers", "3", "--topic-rule", "match=match/#,history_messages=100")


class HttpPublishTest(unittest.TestCase):
    def curl(self, broker, path, *arguments, body=None):
        """The status, the fields and the body of the answer."""
        result = subprocess.run(
            ["curl", "-sS", "-i", "--max-time", "20", *arguments,
             f"http://127.0.0.1:{broker.port}{path}"], check=True, capture_output=True, input=body)
        head, _, answer = result.stdout.decode().rpartition("\r\n\r\n")
        head = head.rpartition("\r\n\r\n")[2]  # without 100 Continue
        lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split(" ")[1]), fields, answer

    def test_a_key_publishes_once(self):
        with Broker(*RULE) as broker:
            answers = [self.curl(broker, "/topics/match/42", "-d", '{"score":"2:1"}',
                                 "-H", "Idempotency-Key: goal-3") for _ in range(3)]
            self.assertEqual([200] * 3, [status for status, _, _ in answers])
            first, *others = [json.loads(body) for _, _, body in answers]
            self.assertEqual({"op", "pos"}, first.keys())
            self.assertEqual([{**first, "duplicate": True}] * 2, others)

    def test_many_at_once(self):
        count = 500
        with Broker(*RULE) as broker:
            messages = [{"topic": f"match/{number % 50}", "data": number, "key": f"k-{number}"}
                        for number in range(count)]
            body = json.dumps({"messages": messages}).encode()
            for is_again in (False, True):
                status, _, answer = self.curl(broker, "/api/publish", "--data-binary", "@-",
                                              "-H", "Content-Type: application/json", body=body)
                self.assertEqual(200, status)
                results = json.loads(answer)["results"]
                self.assertEqual(count, len({result["pos"] for result in results}))
                self.assertEqual([is_again] * count,
                                 [result.get("duplicate", False) for result in results])
            self.assertEqual(count, broker.metrics()["fanfare_messages_published_total"])

    def test_refusals_say_why(self):
        with Broker(*RULE, "--partitions", "8", "--message-max", "1KiB") as broker:
            large = b"x" * 1025
            for status, code, path, arguments, body in (
                    (400, "invalid_topic", "/topics/a/%23", ("-d", "1"), None),
                    (403, "forbidden", "/topics/$SYS", ("-d", "1"), None),
                    (404, "invalid_request", "/nothing", ("-d", "1"), None),
                    (405, "invalid_request", "/topics/a", (), None),
                    (413, "too_large", "/topics/a",
                     ("--data-binary", "@-", "-H", "Expect: 100-continue"), large),
                    (501, "invalid_request", "/topics/a", ("-X", "POST", "-T", "-"), b"1"),
                    (403, "forbidden", "/topics/a", ("-d", "1", "-H", "Origin: http://x.example"),
                     None)):
                found, fields, answer = self.curl(broker, path, *arguments, body=body)
                answer = json.loads(answer)
                self.assertEqual((status, code, "error"), (found, answer["code"], answer["op"]))
                self.assertEqual("application/json", fields["Content-Type"])
                self.assertNotEqual("", answer["reason"])
            self.assertEqual(0, broker.metrics()["fanfare_messages_published_total"])

    def test_the_client_for_browsers_is_sent_once(self):
        with Broker() as broker:
            status, fields, body = self.curl(broker, "/fanfare.js")
            self.assertEqual(200, status)
            self.assertIn("export class Fanfare", body)
            known = ("-H", f"If-None-Match: {fields['ETag']}")
            self.assertEqual((304, ""), self.curl(broker, "/fanfare.js", *known)[::2])


if __name__ == "__main__":
    broker_process.main()
