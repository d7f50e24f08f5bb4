"""Text is UTF-8 (RFC 6455 §5.6, §8.1, RFC 3629), however it is cut, and the first byte that makes
it impossible fails the connection: nothing more has to be sent.
"""

from typing import Iterator

from harness import case
from utf8_table import INVALID, TRUNCATED, VALID, impossible_at
from wire import (BINARY, CONTINUATION, PING, TEXT, binary, cut, fragments, frame, header, key_for,
                  mask, pong, unfinished)

# Around the widths of vectors, so that the sequence lies inside, across and behind one.
PADDINGS = [0, 1, 13, 14, 15, 16, 30, 31, 32, 61, 62, 63, 64, 127]
LEADS = range(0xC0, 0x100)
# The borders of the ranges in which the second byte decides.
SECONDS = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]


def table(sequences):
    return {name: (data,) for name, data in sequences.items()}


def expect_1007(server, *data: bytes) -> None:
    with server.connect() as client:
        client.send(*data).expect_close(1007)


@case("RFC 6455 §8.1", each=table(VALID))
def valid(server, data):
    with server.connect() as client:
        for padding in PADDINGS:
            padded = b"p" * padding + data + b"s" * 20
            client.send(frame(TEXT, padded)).expect_text(padded)
        client.send(frame(TEXT, data)).expect_text(data)


@case("RFC 6455 §8.1", each=table(VALID))
def valid_cut_into_two_fragments_everywhere(server, data):
    with server.connect() as client:
        for at in range(len(data) + 1):
            client.send(*fragments(TEXT, [data[:at], data[at:]])).expect_text(data)


@case("RFC 6455 §8.1", each=table(VALID))
def valid_byte_by_byte(server, data):
    with server.connect() as client:
        client.send(*fragments(TEXT, cut(data, 1))).expect_text(data)
        client.send_chopped(frame(TEXT, data)).expect_text(data)


@case("RFC 6455 §8.1", heavy=True)
def all_code_points(server):
    everything = "".join(map(chr, range(0xD800))) + "".join(map(chr, range(0xE000, 0x110000)))
    data = everything.encode()
    with server.connect() as client:
        client.send(frame(TEXT, data)).expect_text(data)
        client.send(*fragments(TEXT, cut(data, 997))).expect_text(data)


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid(server, data):
    for padding in PADDINGS:
        expect_1007(server, frame(TEXT, b"p" * padding + data + b"s" * 20))
    expect_1007(server, frame(TEXT, data))
    with server.connect() as client:
        client.send(frame(TEXT, "before"), frame(TEXT, data), frame(PING, "after"))
        client.expect_text("before")
        client.expect_close(1007)


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid_in_fragments(server, data):
    for at in range(len(data) + 1):
        expect_1007(server, *fragments(TEXT, [data[:at], data[at:]]))
    expect_1007(server, *fragments(TEXT, cut(data, 1)))


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid_chopped(server, data):
    with server.connect() as client:
        client.send_chopped(frame(TEXT, data)).expect_close(1007)


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid_fails_at_the_first_impossible_byte(server, data):
    """The frame is left unfinished: the server must not wait for the rest."""
    at = impossible_at(data)
    for before in (b"", "so far so gøød ".encode(), b"x" * 500):
        expect_1007(server, unfinished(TEXT, before + data[:at + 1]))
        with server.connect() as client:
            client.send(frame(TEXT, before, fin=False), unfinished(CONTINUATION, data[:at + 1], 5))
            client.expect_close(1007)


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid_does_not_fail_before_its_first_impossible_byte(server, data):
    at = impossible_at(data)
    with server.connect() as client:
        client.send(frame(TEXT, data[:at], fin=False), frame(PING, "fine so far?"))
        client.expect_pong(b"fine so far?")
        client.send(unfinished(CONTINUATION, data[at:at + 1], 1 << 20)).expect_close(1007)


@case("RFC 6455 §8.1", each=table(INVALID))
def invalid_byte_by_byte_until_it_fails(server, data):
    """Also a piece that ends inside a sequence must be remembered, without being refused."""
    at = impossible_at(data)
    key = key_for(TEXT, 1)
    masked = mask(data[:at + 1], key)
    with server.connect() as client:
        client.send(frame(TEXT, "before")).expect_text("before")
        client.send(header(TEXT, 1000, key=key)).send_chopped(masked)
        client.expect_close(1007)


@case("RFC 6455 §8.1", each=table(TRUNCATED))
def truncated_at_the_end_of_the_message(server, data):
    """Possible until the message ends: only its last frame shows the fault."""
    for padding in PADDINGS:
        expect_1007(server, frame(TEXT, b"p" * padding + data))
    with server.connect() as client:
        client.send(frame(TEXT, data, fin=False), frame(CONTINUATION, b"", fin=False),
                    frame(PING, "fine so far?")).expect_pong(b"fine so far?")
        client.send(frame(CONTINUATION, b"")).expect_close(1007)
    with server.connect() as client:
        client.send_chopped(frame(TEXT, data)).expect_close(1007)


@case("RFC 6455 §8.1", each=table(TRUNCATED))
def truncated_does_not_reach_into_the_next_message(server, data):
    with server.connect() as client:
        client.send(frame(TEXT, data, fin=False), frame(CONTINUATION, b""), frame(TEXT, b"\x80"))
        client.expect_close(1007)


@case("RFC 6455 §8.1", each={f"{lead:02X}": lead for lead in LEADS})
def second_byte_at_every_border(server, lead):
    for second in SECONDS:
        data = bytes([lead, second])
        at = impossible_at(data)
        if at is not None:
            expect_1007(server, unfinished(TEXT, data[:at + 1]))
            expect_1007(server, frame(TEXT, data + b"\x80\x80"))
            continue
        needed = 0 if lead < 0xE0 else 1 if lead < 0xF0 else 2
        with server.connect() as client:
            whole = data + b"\x80" * needed
            client.send(frame(TEXT, whole)).expect_text(whole)
            client.send(*fragments(TEXT, [data[:1], data[1:], b"\x80" * needed])).expect_text(whole)


@case("RFC 6455 §8.1", each={"a continuation": b"\x80", "a lead": b"\xe2", "never": b"\xff"},
      heavy=True)
def bad_byte_at_every_place(server, bad):
    for at in range(200):
        text = bytearray(b"x" * 200)
        text[at:at + 1] = bad
        expect_1007(server, frame(TEXT, bytes(text)))


def long_texts() -> Iterator[bytes]:
    for letter in ("z", "ß", "€", "𐍈"):
        yield (letter * 100_000).encode()


@case("RFC 6455 §8.1", heavy=True)
def bad_byte_at_the_end_of_a_long_text(server):
    for data in long_texts():
        with server.connect() as client:
            client.send(frame(TEXT, data)).expect_text(data)
            client.send(frame(TEXT, data + b"\xff")).expect_close(1007)
        expect_1007(server, unfinished(TEXT, data + b"\xff"))


@case("RFC 6455 §5.6", each=table({**INVALID, **TRUNCATED}))
def binary_and_pings_may_carry_it(server, data):
    with server.connect() as client:
        client.send(frame(BINARY, data), frame(PING, data[:125]))
        client.expect(binary(data), pong(data[:125]))
