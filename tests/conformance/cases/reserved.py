"""Reserved bits and opcodes (RFC 6455 §5.2): each fails the connection, but what came before has
been answered by then.
"""

from harness import case
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, header, text

KINDS = {"text": (TEXT, b"hello"), "empty text": (TEXT, b""), "binary": (BINARY, b"\0\xff"),
         "ping": (PING, b"ping"), "pong": (PONG, b"pong"), "close": (CLOSE, b"\x03\xe8")}
BITS = range(1, 8)
OPCODES = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
PLACES = ["first", "after a text", "after a fragment", "byte by byte", "before a ping"]


def fails_in_place(server, place, bad):
    with server.connect() as client:
        if place == "first":
            client.send(bad)
        elif place == "after a text":
            client.send(frame(TEXT, "before"), bad).expect_text("before")
        elif place == "after a fragment":
            client.send(frame(TEXT, "before"), frame(TEXT, "begun", fin=False), bad)
            client.expect_text("before")
        elif place == "byte by byte":
            client.send_chopped(frame(TEXT, "before") + bad).expect_text("before")
        else:
            client.send(frame(TEXT, "before"), bad, frame(PING, "after")).expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.2", each={f"{bits}, {kind}, {place}": (bits, opcode, payload, place)
                             for bits in BITS for kind, (opcode, payload) in KINDS.items()
                             for place in PLACES})
def bits(server, rsv, opcode, payload, place):
    fails_in_place(server, place, frame(opcode, payload, rsv=rsv))


@case("RFC 6455 §5.2", each=BITS)
def bits_in_a_continuation(server, rsv):
    for fin in (False, True):
        with server.connect() as client:
            client.send(frame(TEXT, "before"), frame(TEXT, "begun", fin=False),
                        frame(CONTINUATION, "more", fin=fin, rsv=rsv))
            client.expect_text("before")
            client.expect_close(1002)


@case("RFC 6455 §5.2", each=BITS)
def bits_without_the_rest_of_the_frame(server, rsv):
    """One byte is enough to see it."""
    with server.connect() as client:
        client.send(frame(TEXT, "before"), frame(TEXT, "hello", rsv=rsv)[:1]).expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.2", each={f"{opcode}, {len(payload)} bytes, {place}": (opcode, payload, place)
                             for opcode in OPCODES for payload in (b"", b"payload", bytes(125))
                             for place in PLACES})
def opcode(server, number, payload, place):
    fails_in_place(server, place, frame(number, payload))


@case("RFC 6455 §5.2", each=OPCODES)
def opcode_without_fin(server, number):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), frame(number, "begun", fin=False)).expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.2", each=OPCODES)
def opcode_of_a_long_frame(server, number):
    with server.connect() as client:
        client.send(header(number, 70_000))
        client.expect_close(1002)


@case("RFC 6455 §5.2", each=OPCODES)
def opcode_between_two_texts(server, number):
    """The first is answered, the second never looked at."""
    with server.connect() as client:
        client.send(frame(TEXT, "one"), frame(number), frame(TEXT, "two"))
        client.expect(text("one"))
        client.expect_close(1002)
