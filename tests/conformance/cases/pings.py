"""Pings and pongs (RFC 6455 §5.5, §5.5.2, §5.5.3)."""

from harness import Failure, Skipped, case, expect_equal
from wire import (BINARY, CONTINUATION, PING, PONG, TEXT, Server, cut, fragments, frame, header,
                  mask, pong, request, text)

PAYLOADS = {"empty": b"", "text": b"are you there?", "zeros": bytes(8), "all high": b"\xff" * 32,
            "not UTF-8": b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", "124 bytes": b"a" * 124,
            "125 bytes": b"\xfe" * 125}


@case("RFC 6455 §5.5.2", each=PAYLOADS)
def pong_repeats(server, payload):
    with server.connect() as client:
        client.send(frame(PING, payload)).expect_pong(payload)
        client.expect_alive()


@case("RFC 6455 §5.5.2")
def pong_repeats_every_length(server):
    payloads = [bytes((index + size) % 256 for index in range(size)) for size in range(126)]
    with server.connect() as client:
        client.send(*(frame(PING, payload) for payload in payloads))
        client.expect(*(pong(payload) for payload in payloads))


@case("RFC 6455 §5.5.2", each=[1, 2, 3, 7])
def ping_chopped(server, size):
    with server.connect() as client:
        for payload in PAYLOADS.values():
            client.send_chopped(frame(PING, payload), size).expect_pong(payload)


@case("RFC 6455 §5.5.3", each={"one write": 0, "byte by byte": 1, "two bytes each": 2})
def ten_pings_in_a_row(server, size):
    pings = b"".join(frame(PING, f"payload-{index}") for index in range(10))
    with server.connect() as client:
        client.send_chopped(pings, size or len(pings))
        client.expect(*(pong(f"payload-{index}".encode()) for index in range(10)))


@case("RFC 6455 §5.5.2")
def a_thousand_pings(server):
    with server.connect() as client:
        client.send(*(frame(PING, str(index)) for index in range(1000)))
        client.expect(*(pong(str(index).encode()) for index in range(1000)))


@case("RFC 6455 §5.5", each={f"{name}, {form} bits": (opcode, size, form)
                             for name, opcode in (("ping", PING), ("pong", PONG))
                             for size, form in ((126, 16), (127, 16), (65535, 16), (65536, 64))})
def control_frame_too_long(server, opcode, size, form):
    """126 bytes are refused on the header alone."""
    with server.connect() as client:
        client.send(frame(TEXT, "before"), header(opcode, size, form=form))
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.5", each={"ping, 16 bits": (PING, 16), "pong, 16 bits": (PONG, 16),
                             "ping, 64 bits": (PING, 64), "pong, 64 bits": (PONG, 64)})
def control_frame_with_a_long_form_of_its_length(server, opcode, form):
    with server.connect() as client:
        client.send(header(opcode, 5, form=form))
        client.expect_close(1002)


@case("RFC 6455 §5.5", each={"ping": PING, "pong": PONG})
def control_frame_fragmented(server, opcode):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), frame(opcode, "begun", fin=False),
                    frame(CONTINUATION, "ended"))
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.5", each={"ping": PING, "pong": PONG})
def control_frame_fragmented_inside_a_message(server, opcode):
    with server.connect() as client:
        client.send(frame(TEXT, "begun", fin=False), frame(opcode, b"", fin=False))
        client.expect_close(1002)


@case("RFC 6455 §5.5.3", each=PAYLOADS)
def unsolicited_pong_is_ignored(server, payload):
    with server.connect() as client:
        client.send(frame(PONG, payload))
        client.expect_alive()


@case("RFC 6455 §5.5.3")
def unsolicited_pongs_among_pings_and_messages(server):
    with server.connect() as client:
        client.send(frame(PONG, "no"), frame(PING, "yes"), frame(PONG, "no"), frame(TEXT, "t"),
                    frame(PONG, "no"), frame(PING, "again"), frame(PONG))
        client.expect(pong(b"yes"), text("t"), pong(b"again"))
        client.expect_alive()


@case("RFC 6455 §5.4, §5.5", each={"text": TEXT, "binary": BINARY})
def ping_between_fragments_is_answered_at_once(server, opcode):
    with server.connect() as client:
        client.send(frame(opcode, "frag", fin=False), frame(PING, "now"))
        client.expect_pong(b"now")
        client.send(frame(CONTINUATION, "men", fin=False), frame(PING, "and now"))
        client.expect_pong(b"and now")
        client.send(frame(CONTINUATION, "ted"))
        client.expect(text("fragmented") if opcode == TEXT else
                      text("fragmented")._replace(kind="binary"))


@case("RFC 6455 §5.4", each=[0, 1, 2, 5])
def ping_and_pong_between_all_fragments(server, size):
    """`size` 0: everything in one write, else chopped into such pieces."""
    parts = []
    for index, one in enumerate(fragments(TEXT, cut(b"every letter alone", 1))):
        parts += [one, frame(PING, str(index)), frame(PONG, b"ignored")]
    data = b"".join(parts)
    with server.connect() as client:
        client.send_chopped(data, size or len(data))
        client.expect(text("every letter alone"),
                      *(pong(str(index).encode()) for index in range(18)))


@case("RFC 6455 §5.4")
def ping_does_not_disturb_a_code_point_in_two_fragments(server):
    with server.connect() as client:
        client.send(frame(TEXT, b"\xe2\x82", fin=False), frame(PING, b"\xff"))
        client.expect_pong(b"\xff")
        client.send(frame(CONTINUATION, b"\xac"))
        client.expect_text("€")


@case("RFC 6455 §5.5")
def half_a_ping_waits_for_the_other_half(server):
    with server.connect() as client:
        whole = frame(PING, b"two halves")
        client.send(frame(TEXT, "before"), whole[:9]).expect_text("before")
        client.send(whole[9:]).expect_pong(b"two halves")
        client.expect_alive()


@case("RFC 6455 §5.5.2")
def ping_with_a_mask_of_its_own(server):
    with server.connect() as client:
        for key in (b"\0\0\0\0", b"\xff\0\xff\0", b"\x01\x02\x03\x04"):
            client.send(header(PING, 9, key=key), mask(b"nine byte", key)).expect_pong(b"nine byte")


@case("RFC 6455 §5.5.2, §5.5.3", each={"a service": [],
                                       "a browser": [("Origin", "http://localhost")]})
def silent_client_is_pinged(server, fields):
    """Needs a process of its own, with a short interval. Nothing else than pings may come."""
    if server.broker is None:
        raise Skipped("only with a broker of our own")
    from broker_process import Broker, Options
    Options.broker = server.broker
    arguments = ["--echo", "--workers", "1", "--heartbeat-interval", "100ms"]
    with Broker(*arguments) as broker, Server(("127.0.0.1", broker.port)).dial() as client:
        client.send(request("localhost", add=fields))
        expect_equal(101, client.read_response().status, "status")
        for _ in range(3):
            ping = client.read()
            expect_equal("ping", ping.kind, "frame")
            client.send(frame(PONG, ping.payload))
        client.send(frame(TEXT, "still there?"))
        while (found := client.read()).kind == "ping":
            pass
        if found != text("still there?"):
            raise Failure("the echo", str(found))


@case("RFC 6455 §5.5.2")
def nothing_is_answered_after_a_failure(server):
    with server.connect() as client:
        client.send(frame(PING, "before"), frame(TEXT, b"\xff"), frame(PING, "after"))
        client.expect_pong(b"before")
        client.expect_close(1007)
