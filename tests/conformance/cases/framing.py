"""Frames: lengths, masks, and the echo of whole messages (RFC 6455 §5.2, §5.3, §5.6)."""

import random

from harness import case
from wire import (BINARY, CLOSE, CONTINUATION, PING, TEXT, binary, cut, frame, header, mask, pong,
                  text)

KIB, MIB = 1 << 10, 1 << 20
LENGTHS = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 63, 64, 65, 124, 125, 126, 127, 128, 129, 255, 256,
           1023, 4096, 16383, 16384, 16385, 32768, 65534, 65535, 65536, 65537, 131072]
KEYS = {"zeros": b"\0\0\0\0", "ones": b"\xff\xff\xff\xff", "first byte": b"\x80\0\0\0",
        "last byte": b"\0\0\0\x01", "mixed": b"\x12\x34\x56\x78"}


def letters(size: int) -> bytes:
    """ASCII that does not repeat with a period that a masking mistake could hide behind."""
    return bytes(33 + (index * index + 7 * index) % 89 for index in range(size))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@case("RFC 6455 §5.2", each=LENGTHS)
def text_of(server, size):
    with server.connect() as client:
        client.send(frame(TEXT, letters(size))).expect_text(letters(size))
        client.expect_alive()


@case("RFC 6455 §5.2", each=LENGTHS)
def binary_of(server, size):
    with server.connect() as client:
        client.send(frame(BINARY, noise(size))).expect_binary(noise(size))
        client.expect_alive()


@case("RFC 6455 §5.2", each=[0, 1, 125, 126, 127, 128, 1000, 65535, 65536, 70000])
def chopped(server, size):
    whole = frame(BINARY, noise(size))
    with server.connect() as client:
        for piece in (1, 7, 997, 16384):
            if len(whole) <= 2000 * piece:
                client.send_chopped(whole, piece).expect_binary(noise(size))


@case("RFC 6455 §5.2")
def cut_in_two_at_every_byte_of_the_header(server):
    with server.connect() as client:
        for size in (0, 5, 126, 65536):
            whole = frame(BINARY, noise(size))
            for at in range(1, min(len(whole), 18)):
                client.send_pieces([whole[:at], whole[at:]]).expect_binary(noise(size))


@case("RFC 6455 §5.2")
def cut_in_two_at_every_byte_of_a_message(server):
    payload = letters(70)
    whole = frame(TEXT, payload)
    with server.connect() as client:
        for at in range(1, len(whole)):
            client.send_pieces([whole[:at], whole[at:]]).expect_text(payload)


@case("RFC 6455 §5.2")
def every_small_length(server):
    with server.connect() as client:
        for begin in range(0, 300, 50):
            sizes = range(begin, begin + 50)
            client.send(*(frame(BINARY, noise(size, size)) for size in sizes))
            client.expect(*(binary(noise(size, size)) for size in sizes))


NOT_MINIMAL = [(16, 0), (16, 1), (16, 64), (16, 125), (64, 0), (64, 1), (64, 125), (64, 126),
               (64, 32768), (64, 65535)]


@case("RFC 6455 §5.2", each={f"{form} bits for {size}, {kind}": (form, size, opcode)
                             for form, size in NOT_MINIMAL
                             for kind, opcode in (("text", TEXT), ("binary", BINARY))})
def length_not_minimal(server, form, size, opcode):
    """The header is enough: no byte of the payload is sent."""
    with server.connect() as client:
        client.send(frame(TEXT, "before"), header(opcode, size, form=form))
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.2", each={"16 bits": 16, "64 bits": 64})
def length_not_minimal_in_a_continuation(server, form):
    with server.connect() as client:
        client.send(frame(TEXT, "begun", fin=False), header(CONTINUATION, 5, form=form))
        client.expect_close(1002)


@case("RFC 6455 §5.2", each={f"{size:x}": size for size in
                             (1 << 63, (1 << 63) + 1, (1 << 63) + 125, (1 << 64) - 1)})
def highest_bit_of_the_length(server, size):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), header(BINARY, size, form=64))
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.3", each=KEYS)
def masked_with(server, key):
    with server.connect() as client:
        for size in (1, 2, 3, 4, 5, 63, 64, 65, 200, 65536):
            client.send(frame(BINARY, noise(size), key=key)).expect_binary(noise(size))
        client.send(frame(TEXT, letters(1000), key=key)).expect_text(letters(1000))
        client.send(frame(PING, b"ping", key=key)).expect_pong(b"ping")


@case("RFC 6455 §5.3")
def every_frame_has_its_own_key(server):
    chance = random.Random(53)
    pieces = cut(noise(1000), 37)
    frames = [frame(CONTINUATION if index else BINARY, piece, fin=index == len(pieces) - 1,
                    key=chance.randbytes(4)) for index, piece in enumerate(pieces)]
    with server.connect() as client:
        client.send(*frames).expect_binary(noise(1000))
        client.send_pieces(frames).expect_binary(noise(1000))


@case("RFC 6455 §5.3")
def mask_goes_on_over_every_cut(server):
    """The key's phase must survive pieces of any length, also within one vector."""
    payload = noise(300)
    key = b"\xa1\xb2\xc3\xd4"
    whole = header(BINARY, len(payload), key=key) + mask(payload, key)
    with server.connect() as client:
        for size in (1, 2, 3, 5, 6, 7, 9, 13, 31, 33, 63, 65, 127):
            client.send_chopped(whole, size).expect_binary(payload)


UNMASKED = {"text": frame(TEXT, "naked", key=None), "empty text": frame(TEXT, b"", key=None),
            "binary": frame(BINARY, b"naked", key=None), "ping": frame(PING, b"naked", key=None),
            "pong": frame(0xA, b"naked", key=None), "close": frame(CLOSE, b"", key=None),
            "close 1000": frame(CLOSE, b"\x03\xe8", key=None),
            "continuation": frame(TEXT, "begun", fin=False) + frame(CONTINUATION, "x", key=None),
            "only two bytes of it": frame(TEXT, "naked", key=None)[:2],
            "long": frame(BINARY, bytes(70000), key=None)}


@case("RFC 6455 §5.1", each=UNMASKED)
def unmasked(server, data):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), data)
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.6")
def binary_of_all_bytes(server):
    payload = bytes(range(256)) * 16
    with server.connect() as client:
        client.send(frame(BINARY, payload)).expect_binary(payload)


@case("RFC 6455 §5.6")
def binary_is_not_looked_into(server):
    with server.connect() as client:
        for payload in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0" * 100):
            client.send(frame(BINARY, payload)).expect_binary(payload)


@case("RFC 6455 §5.6")
def text_stays_text_and_binary_binary(server):
    with server.connect() as client:
        client.send(frame(TEXT, "same"), frame(BINARY, b"same"), frame(TEXT, ""), frame(BINARY))
        client.expect(text("same"), binary(b"same"), text(""), binary(b""))


@case("RFC 6455 §5.4")
def messages_of_all_kinds_in_one_write(server):
    with server.connect() as client:
        client.send(frame(TEXT, "a"), frame(PING, b"1"), frame(BINARY, b"\0"), frame(PING, b"2"),
                    frame(TEXT, "b", fin=False), frame(PING, b"3"), frame(CONTINUATION, "c"))
        client.expect(text("a"), binary(b"\0"), text("bc"), pong(b"1"), pong(b"2"), pong(b"3"))
