"""The closing handshake (RFC 6455 §5.5.1, §7)."""

import time

from cases.framing import letters, noise
from harness import Failure, Skipped, case, expect_equal
from wire import (BINARY, CLOSE, CONTINUATION, PING, TEXT, Server, close_payload, fragments, frame,
                  header, pong, text, unfinished)

# Well below any timeout after which a server gives up on a silent client.
PROMPT_S = 3
GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
              3000, 3001, 3999, 4000, 4001, 4999]
BAD_CODES = [0, 1, 2, 3, 100, 256, 999, 1004, 1005, 1006, 1015, 1016, 1017, 1099, 1100, 1500, 2000,
             2500, 2998, 2999, 5000, 5001, 10000, 32767, 32768, 65534, 65535]
BAD_REASONS = {"never UTF-8": b"\xff", "Latin-1": b"caf\xe9!", "overlong": b"\xc0\xaf",
               "a surrogate": b"\xed\xa0\x80", "beyond Unicode": b"\xf4\x90\x80\x80",
               "cut": b"cut: \xe2\x82", "cut after its first byte": b"\xf0",
               "at the end of a long one": b"r" * 122 + b"\xff",
               "cut at 125 bytes": b"r" * 121 + b"\xe2\x82"}


@case("RFC 6455 §5.5.1")
def without_a_code(server):
    with server.connect() as client:
        client.send(frame(CLOSE)).expect_close(None)


@case("RFC 6455 §7.4.1, §7.4.2", each=GOOD_CODES)
def code_is_answered_with_the_same(server, code):
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(code))).expect_close(code)


@case("RFC 6455 §7.4.1, §7.4.2", each=GOOD_CODES)
def code_with_a_reason(server, code):
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(code, "that was all"))).expect_close(code)


@case("RFC 6455 §7.4.1, §7.4.2", each=BAD_CODES)
def code_that_must_not_be_sent(server, code):
    for reason in ("", "a reason"):
        with server.connect() as client:
            client.send(frame(TEXT, "before"), frame(CLOSE, close_payload(code, reason)))
            client.expect_text("before")
            client.expect_close(1002)


@case("RFC 6455 §5.5.1")
def payload_of_one_byte(server):
    for byte in (b"\x03", b"\0", b"\xff"):
        with server.connect() as client:
            client.send(frame(CLOSE, byte)).expect_close(1002)


@case("RFC 6455 §5.5.1", each=[0, 1, 2, 62, 63, 64, 122, 123])
def reason_of(server, size):
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1000, letters(size)))).expect_close(1000)


@case("RFC 6455 §5.5.1")
def reason_in_many_scripts(server):
    reason = "конец, τέλος, 終わり, النهاية, 🏁"
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1001, reason))).expect_close(1001)


@case("RFC 6455 §5.5", each={"126 bytes": (126, 16), "65536 bytes": (65536, 64)})
def too_long(server, size, form):
    with server.connect() as client:
        client.send(header(CLOSE, size, form=form)).expect_close(1002)


@case("RFC 6455 §5.5.1, §8.1", each={name: (reason,) for name, reason in BAD_REASONS.items()})
def reason_that_is_not_utf8(server, reason):
    data = frame(CLOSE, close_payload(1000, reason))
    with server.connect() as client:
        client.send(data).expect_close(1007)
    with server.connect() as client:
        client.send_chopped(data).expect_close(1007)


@case("RFC 6455 §8.1")
def reason_fails_at_its_first_impossible_byte(server):
    payload = close_payload(1000, b"so far so \xff")
    with server.connect() as client:
        client.send(unfinished(CLOSE, payload, 20)).expect_close(1007)


@case("RFC 6455 §5.5")
def fragmented(server):
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1000), fin=False), frame(CONTINUATION))
        client.expect_close(1002)


@case("RFC 6455 §5.5", each=[1, 2, 3, 5])
def chopped(server, size):
    with server.connect() as client:
        client.send_chopped(frame(CLOSE, close_payload(1000, "slowly")), size).expect_close(1000)


AFTERWARDS = {"text": frame(TEXT, "late"), "binary": frame(BINARY, b"late"),
              "ping": frame(PING, "late"), "close": frame(CLOSE, close_payload(1001)),
              "close without code": frame(CLOSE),
              "a reserved opcode": frame(7, "late"), "reserved bits": frame(TEXT, "late", rsv=7),
              "an unmasked frame": frame(TEXT, "late", key=None), "bad UTF-8": frame(TEXT, b"\xff"),
              "half a frame": frame(TEXT, "late")[:4], "noise": noise(500),
              "too long a message": header(BINARY, 1 << 40), "much": frame(BINARY, bytes(500_000))}


@case("RFC 6455 §1.4, §5.5.1", each=AFTERWARDS)
def what_follows_a_close_is_ignored(server, data):
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1000)), data).expect_close(1000)
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1000))).expect_close(1000)
        client.send(data)
        client.expect_end()


@case("RFC 6455 §5.5.1")
def ping_before_and_after(server):
    with server.connect() as client:
        client.send(frame(PING, "before"), frame(CLOSE, close_payload(1000)), frame(PING, "after"))
        client.expect(pong(b"before"))
        client.expect_close(1000)


@case("RFC 6455 §1.4")
def what_was_said_before_is_still_answered(server):
    with server.connect() as client:
        client.send(frame(TEXT, "one"), frame(TEXT, "two"), frame(CLOSE, close_payload(1000)))
        client.expect(text("one"), text("two"))
        client.expect_close(1000)


@case("RFC 6455 §1.4", each={"1 MiB": 1 << 20, "8 MiB": 1 << 23}, heavy=True)
def a_long_answer_is_finished_first(server, size):
    with server.connect() as client:
        client.send(frame(BINARY, bytes(size)), frame(CLOSE, close_payload(4321)))
        client.expect_binary(bytes(size))
        client.expect_close(4321)


@case("RFC 6455 §1.4, §5.5.1", each={"256 KiB": 1 << 18, "8 MiB": 1 << 23}, heavy=True)
def a_long_answer_then_the_close_and_no_pong(server, size):
    with server.connect() as client:
        client.send(frame(BINARY, bytes(size)))
        client.send(frame(CLOSE, close_payload(1000)))
        client.send(frame(PING, "too late"))
        client.expect_binary(bytes(size))
        client.expect_close(1000)


@case("RFC 6455 §5.4, §5.5.1", each={"with a code": (1000,), "without": (None,)})
def inside_a_fragmented_message(server, code):
    """The message is lost, the handshake is good."""
    with server.connect() as client:
        client.send(frame(TEXT, "begun", fin=False),
                    frame(CLOSE, close_payload(code) if code else b""), frame(CONTINUATION, "late"))
        client.expect_close(code)


@case("RFC 6455 §7.1.5")
def violation_and_close_cross(server):
    """Both ends close: the server because of the bad frame, the client right behind it."""
    with server.connect() as client:
        client.send(frame(TEXT, b"\xff"), frame(CLOSE, close_payload(1000))).expect_close(1007)


@case("RFC 6455 §7.1.2")
def failure_is_answered_and_closed(server):
    with server.connect() as client:
        client.send(frame(3)).expect_close(1002)
        client.send(frame(CLOSE, close_payload(1002)))
        client.end()
        client.expect_end()


@case("RFC 6455 §7.1.1")
def server_closes_first(server):
    """The client does not end its side, and still sees the end at once: the server does not leave
    the TCP connection to the client's good will, and keeps the TIME_WAIT.
    """
    with server.connect() as client:
        client.send(frame(CLOSE, close_payload(1000)))
        client.deadline_s = min(client.deadline_s, time.monotonic() + PROMPT_S)
        client.expect_close(1000)


@case("RFC 6455 §7.4.1", each={"protocol error": frame(3), "bad UTF-8": frame(TEXT, b"\xff"),
                               "too big": header(BINARY, 1 << 40)})
def failures_say_why(server, data):
    with server.connect() as client:
        found = client.send(data).expect_close([1002, 1007, 1009])
        if len(found.payload) <= 2:
            raise Failure("a reason for people", "none")


@case("RFC 6455 §7.1.1")
def client_that_ends_without_a_close(server):
    for data in (b"", frame(TEXT, "half")[:4], frame(TEXT, "begun", fin=False)):
        with server.connect() as client:
            client.send(data).end()
            while client.read_frame() is not None:
                pass
    with server.connect() as client:
        client.expect_alive()


@case("RFC 6455 §7.3", each={"the client answers": True, "both at once": False})
def broker_that_stops_says_going_away(server, answers):
    """Needs a process of its own."""
    if server.broker is None:
        raise Skipped("only with a broker of our own")
    from broker_process import Broker, Options
    Options.broker = server.broker
    with Broker("--echo", "--workers", "1") as broker:
        with Server(("127.0.0.1", broker.port)).connect() as client:
            client.send(frame(TEXT, "before")).expect_text("before")
            broker.process.terminate()
            if not answers:
                client.send(frame(CLOSE, close_payload(1000)))
            found = client.read()
            expect_equal("close", found.kind, "frame")
            codes = (1001,) if answers else (1000, 1001)
            if int.from_bytes(found.payload[:2], "big") not in codes:
                raise Failure(f"Close {codes}", str(found))
            if answers:
                client.send(frame(CLOSE, found.payload))
            client.expect_end()
        broker.expect_end()


@case("RFC 6455 §5.5.1", each=[1, 2, 3, 9])
def message_in_fragments_then_close_chopped(server, size):
    data = b"".join(fragments(TEXT, [b"last ", b"words"])) + frame(CLOSE, close_payload(1000))
    with server.connect() as client:
        client.send_chopped(data, size).expect_text("last words")
        client.expect_close(1000)
