"""Compressed messages in both directions: RFC 7692 §6, §7.2."""

import functools
import random
import zlib

import deflate
import wire
from cases.framing import letters, noise
from harness import Failure, case
from wire import (BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, binary,
                  close_payload, cut, fragments, frame, header, pong, text)

KIB, MIB = 1 << 10, 1 << 20
MESSAGE_BYTES_MAX = 64 * MIB
PLAIN = "permessage-deflate"
NO_TAKEOVER = f"{PLAIN}; server_no_context_takeover; client_no_context_takeover"
WINDOWS = [f"{PLAIN}; server_max_window_bits={bits}; client_max_window_bits={bits}"
           for bits in range(9, 16)]
TAKEOVER = [PLAIN, f"{PLAIN}; client_max_window_bits", f"{PLAIN}; server_no_context_takeover",
            f"{PLAIN}; client_no_context_takeover", NO_TAKEOVER]
# What clients ask of the server while they leave their own side to it, alone and one after another.
GENEROUS = f"{PLAIN}; client_no_context_takeover; client_max_window_bits"
ASKING = [GENEROUS, *(f"{GENEROUS}; {asked}" for asked in (
    "server_no_context_takeover", "server_max_window_bits=9", "server_max_window_bits=15",
    "server_no_context_takeover; server_max_window_bits=9",
    "server_no_context_takeover; server_max_window_bits=15")),
    f"{GENEROUS}; server_no_context_takeover; server_max_window_bits=9, "
    f"{GENEROUS}; server_no_context_takeover, {GENEROUS}"]
# What RFC 7692 leaves open is only how a server says that it cannot inflate something.
INFLATE_ERRORS = (1002, 1007)
STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "filtered": zlib.Z_FILTERED,
              "Huffman only": zlib.Z_HUFFMAN_ONLY, "runs": zlib.Z_RLE, "fixed codes": zlib.Z_FIXED}


@functools.lru_cache(maxsize=256)
def words(size: int, seed: int = 1) -> bytes:
    """Text that compresses as people's does, with repetitions near and far."""
    chance = random.Random(seed)
    lexicon = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyzäöüß€", k=chance.randint(2, 9)))
               for _ in range(400)]
    whole = " ".join(chance.choices(lexicon, k=min(size, 200_000) // 5 + 1)).encode() + b"."
    whole *= size // len(whole) + 1
    whole = whole[:size].decode(errors="ignore").encode()
    return whole + b"." * (size - len(whole))


def compressed(client: wire.Client, opcode: int, data: bytes, **how) -> bytes:
    return frame(opcode, client.deflate.compress(data, **how), rsv=RSV1)


def echo(client: wire.Client, opcode: int, data: bytes, **how) -> wire.Event:
    """Sends it compressed and checks what comes back; answers that."""
    client.send(compressed(client, opcode, data, **how))
    found = client.read()
    wanted = (text if opcode == TEXT else binary)(data)
    if found[:2] != wanted[:2]:
        raise Failure(str(wanted), str(found))
    return found


SIZES = [0, 1, 2, 10, 63, 64, 125, 126, 127, 128, 255, 256, 257, 1000, 4096, 16384, 32767, 32768,
         32769, 65535, 65536, 65537, 131072, MIB]


@case("RFC 7692 §7.2", each=SIZES, needs_deflate=True)
def text_of(server, size):
    with server.connect_deflate() as client:
        echo(client, TEXT, words(size))
        echo(client, TEXT, b"a" * size)
        client.expect_alive()


@case("RFC 7692 §7.2", each=SIZES, needs_deflate=True)
def binary_of(server, size):
    with server.connect_deflate() as client:
        for data in (noise(size), bytes(size), words(size)):
            echo(client, BINARY, data)


@case("RFC 7692 §7.2", each={"text": TEXT, "binary": BINARY}, heavy=True, needs_deflate=True)
def sixteen_mebibytes(server, opcode):
    with server.connect_deflate() as client:
        echo(client, opcode, words(MIB) * 16)


@case("RFC 7692 §7.2", heavy=True, needs_deflate=True)
def sixteen_mebibytes_that_cannot_be_compressed(server):
    with server.connect_deflate() as client:
        echo(client, BINARY, noise(16 * MIB))


@case("RFC 7692 §7.2", each=STRATEGIES, needs_deflate=True)
def strategy(server, how):
    with server.connect_deflate(NO_TAKEOVER) as client:
        for data in (words(20_000), bytes(20_000), noise(20_000)):
            echo(client, BINARY, data, strategy=how)


@case("RFC 7692 §7.2", each=range(10), needs_deflate=True)
def level(server, number):
    """Level 0 makes stored blocks only (§7.2.3.3)."""
    with server.connect_deflate(NO_TAKEOVER) as client:
        for data in (words(200_000), noise(1000), b"x"):
            echo(client, BINARY, data, level=number)


@case("RFC 7692 §7.2.1", needs_deflate=True)
def server_compresses_what_is_worth_it(server):
    """No RFC demands it, but agreeing and never compressing would help nobody."""
    with server.connect_deflate() as client:
        if not echo(client, TEXT, words(4096)).is_compressed:
            raise Failure("RSV1 on the echo of 4 KiB of words", "a message as it is")


# The bytes of RFC 7692 §7.2.3.
HELLO = {
    "7.2.3.1, one frame": ["f248cdc9c90700"],
    "7.2.3.1, two frames": ["f248cd", "c9c90700"],
    "7.2.3.3, a stored block": ["000500faff48656c6c6f00"],
    "7.2.3.4, BFINAL": ["f348cdc9c9070000"],
    "7.2.3.5, two blocks": ["f248050000 00ffffcac9c90700"],
    "every byte alone": ["f2", "48", "cd", "c9", "c9", "07", "00"],
    "empty frames around": ["", "f248cdc9c90700", ""],
}


@case("RFC 7692 §7.2.3", each=HELLO, needs_deflate=True)
def hello(server, pieces):
    with server.connect_deflate(NO_TAKEOVER) as client:
        frames = fragments(TEXT, [bytes.fromhex(piece) for piece in pieces], rsv=RSV1)
        client.send(*frames).expect_text("Hello")
        client.send(*frames, frame(TEXT, "plain"), *frames)
        client.expect(text("Hello"), text("plain"), text("Hello"))


@case("RFC 7692 §7.2.3.2", needs_deflate=True)
def hello_again_from_the_window(server):
    with server.connect_deflate() as client:
        first = bytes.fromhex("f248cdc9c90700")
        if client.deflate.parameters.client_no_context_takeover:
            client.send(frame(TEXT, first, rsv=RSV1), frame(TEXT, first, rsv=RSV1))
        else:
            client.send(frame(TEXT, first, rsv=RSV1), frame(TEXT, b"\xf2\0\x11\0\0", rsv=RSV1))
        client.expect(text("Hello"), text("Hello"))


@case("RFC 7692 §7.2.3.4", needs_deflate=True)
def final_block_in_the_middle_of_a_message(server):
    """A block with BFINAL ends nothing: blocks follow it, with or without it."""
    def final(data):
        whole = zlib.compressobj(6, zlib.DEFLATED, -15)
        return whole.compress(data) + whole.flush(zlib.Z_FINISH)

    with server.connect_deflate(NO_TAKEOVER) as client:
        hello_data = bytes.fromhex("f248cdc9c90700")
        for data, expected in ((final(b"Hello ") + hello_data, b"Hello Hello"),
                               (final(b"a") + final(b"b") + b"\0", b"ab"),
                               (final(words(1000)) + hello_data, words(1000) + b"Hello")):
            client.send(frame(TEXT, data, rsv=RSV1)).expect_text(expected)


@case("RFC 7692 §7.2.3.6", each={"one frame": [b"\0"], "an empty frame first": [b"", b"\0"],
                                 "an empty frame last": [b"\0", b""],
                                 "an empty final block": [b"\x03\0\0"],
                                 "many empty blocks": [b"\0\0\0\xff\xff" * 100 + b"\0"]},
      needs_deflate=True)
def empty_message(server, pieces):
    with server.connect_deflate() as client:
        for opcode, make in ((TEXT, text), (BINARY, binary)):
            client.send(*fragments(opcode, pieces, rsv=RSV1)).expect(make(b""))
        echo(client, TEXT, words(500))


@case("RFC 7692 §7.2.2", needs_deflate=True)
def payload_of_no_bytes(server):
    """Not what a compressor makes; whether it is an empty message or an error, it is no hang."""
    with server.connect_deflate() as client:
        client.send(frame(TEXT, b"", rsv=RSV1), frame(CLOSE, close_payload(1000)))
        found = client.read()
        if found.kind == "text" and found.payload == b"":
            client.expect_close(1000)
        elif found.kind != "close" or wire.close_payload(1000) == found.payload:
            raise Failure("an empty text or a failure", str(found))


@case("RFC 7692 §6.1", each=[1, 2, 3, 7, 16, 64, 125, 126, 1000, 16_384], needs_deflate=True)
def in_fragments_of(server, size):
    """The fragments are cut from the compressed bytes, anywhere."""
    data = words(40_000 if size > 60 else 3_000)
    with server.connect_deflate() as client:
        for opcode, make in ((TEXT, text), (BINARY, binary)):
            client.send(*fragments(opcode, cut(client.deflate.compress(data), size), rsv=RSV1))
            client.expect(make(data))


@case("RFC 7692 §6.1", each=[1, 2, 5, 64, 1000], needs_deflate=True)
def chopped(server, size):
    data = words(20_000 if size > 60 else 1_000)
    with server.connect_deflate() as client:
        whole = b"".join(fragments(TEXT, cut(client.deflate.compress(data), 300), rsv=RSV1))
        client.send_chopped(whole, size).expect_text(data)


@case("RFC 7692 §6.1", needs_deflate=True)
def cut_into_two_frames_everywhere(server):
    data = "Ein Text, der zerschnitten wird: ß€𐍈, ß€𐍈, ß€𐍈.".encode()
    with server.connect_deflate(NO_TAKEOVER) as client:
        packed = client.deflate.compress(data)
        for at in range(len(packed) + 1):
            client.send(*fragments(TEXT, [packed[:at], packed[at:]], rsv=RSV1)).expect_text(data)


@case("RFC 7692 §6.1", each=[0, 1], needs_deflate=True)
def control_frames_between_the_fragments(server, size):
    data = words(500)
    with server.connect_deflate() as client:
        frames = fragments(TEXT, cut(client.deflate.compress(data), 20), rsv=RSV1)
        parts = []
        for index, one in enumerate(frames):
            parts += [one, frame(PING, str(index)), frame(PONG, b"ignored")]
        stream = b"".join(parts)
        client.send_chopped(stream, size or len(stream))
        client.expect(text(data), *(pong(str(index).encode()) for index in range(len(frames))))


@case("RFC 7692 §7.2", each={"two blocks": zlib.Z_SYNC_FLUSH,
                             "two blocks, window emptied": zlib.Z_FULL_FLUSH,
                             "a partial flush": zlib.Z_PARTIAL_FLUSH,
                             "at block borders": zlib.Z_BLOCK}, needs_deflate=True)
def flushed_inside_a_message(server, mode):
    data = words(3000)
    with server.connect_deflate(NO_TAKEOVER) as client:
        bits = client.deflate.parameters.client_max_window_bits
        packer = zlib.compressobj(6, zlib.DEFLATED, -bits)
        packed = b"".join(packer.compress(piece) + packer.flush(mode) for piece in cut(data, 100))
        packed += packer.flush(zlib.Z_SYNC_FLUSH)
        if packed.endswith(deflate.TAIL):
            packed = packed[:-len(deflate.TAIL)]
        client.send(frame(TEXT, packed, rsv=RSV1)).expect_text(data)
        client.send(*fragments(TEXT, cut(packed, 77), rsv=RSV1)).expect_text(data)


@case("RFC 7692 §6", each={"text": TEXT, "binary": BINARY}, needs_deflate=True)
def messages_as_they_are_among_compressed_ones(server, opcode):
    make = text if opcode == TEXT else binary
    with server.connect_deflate() as client:
        for size in (0, 1, 125, 126, 255, 256, 1000, 65536, 100_000):
            client.send(frame(opcode, words(size)), compressed(client, opcode, words(size)),
                        *fragments(opcode, cut(words(size), 1000)))
            client.expect(*[make(words(size))] * 3)


@case("RFC 7692 §7.1.1", each=TAKEOVER, needs_deflate=True)
def context_takeover(server, offer):
    """The client's window goes over from message to message if it may, also across messages that
    are not compressed; the server's answers are inflated by what was agreed for it.
    """
    with server.connect_deflate(offer) as client:
        for seed in range(12):
            echo(client, TEXT, words(2000, seed % 3))
            client.send(frame(TEXT, words(300))).expect_text(words(300))
            echo(client, BINARY, noise(300, seed % 2))
        messages = [words(1000 + seed, seed % 4) for seed in range(50)]
        client.send(*(compressed(client, TEXT, one) for one in messages))
        client.expect(*map(text, messages))


@case("RFC 7692 §7.1.1", each=TAKEOVER, heavy=True, needs_deflate=True)
def context_takeover_over_more_than_a_window(server, offer):
    with server.connect_deflate(offer) as client:
        for seed in range(8):
            echo(client, TEXT, words(100_000, seed % 2))


@case("RFC 7692 §7.1.2", each=WINDOWS, needs_deflate=True)
def window_sizes(server, offer):
    """Repetitions at every distance around the window's size: whoever looks further back than was
    agreed is found out by an inflater that knows no more.
    """
    with server.connect_deflate(offer) as client:
        bits = client.deflate.parameters.server_max_window_bits
        for distance in ((1 << bits) - 300, (1 << bits) - 1, 1 << bits, (1 << bits) + 1, 3 << bits):
            data = noise(distance, 7) * 3
            echo(client, BINARY, data)
            echo(client, TEXT, letters(distance) * 2)
        for _ in range(3):
            echo(client, TEXT, words(70_000))


@case("RFC 7692 §7.2", each=[0, 10, 100, 255, 256, 1000, 4000], needs_deflate=True)
def a_thousand_messages_in_one_write(server, size):
    messages = [str(index).encode() + words(size, index % 5) for index in range(1000)]
    with server.connect_deflate() as client:
        client.send(*(compressed(client, TEXT, one) for one in messages))
        client.expect(*map(text, messages))


@case("RFC 7692 §7.2", each=[16, 256, 1000, 8000, 100_000], needs_deflate=True)
def messages_there_and_back(server, size):
    with server.connect_deflate() as client:
        for seed in range(60 if size < 50_000 else 10):
            echo(client, TEXT, words(size, seed % 4))


@case("RFC 7692 §7.1", each=ASKING, heavy=True, needs_deflate=True)
def long_messages_there_and_back(server, offer):
    """Whole and in fragments, each before the next one is sent, so that a stall would be felt."""
    with server.connect_deflate(offer) as client:
        for index in range(50):
            data = words(128 * KIB, index % 3)
            packed = client.deflate.compress(data)
            size = (len(packed), 128, 256, 1000, 32 * KIB)[index % 5]
            client.send(*fragments(TEXT, cut(packed, size), rsv=RSV1)).expect_text(data)


@case("RFC 7692 §6.1", each={"last": True, "in the middle": False}, needs_deflate=True)
def rsv1_on_a_continuation(server, fin):
    for rsv, begun in ((0, b"Hel"), (RSV1, b"\xf2\x48")):
        with server.connect_deflate() as client:
            client.send(frame(TEXT, "before"), frame(TEXT, begun, fin=False, rsv=rsv),
                        frame(CONTINUATION, b"\xcd", fin=fin, rsv=RSV1)).expect_text("before")
            client.expect_close(1002)


@case("RFC 7692 §6.1", each={"ping": (PING, b"ping"), "empty ping": (PING, b""),
                             "pong": (PONG, b"pong"), "close": (CLOSE, b"\x03\xe8"),
                             "empty close": (CLOSE, b"")}, needs_deflate=True)
def rsv1_on_a_control_frame(server, opcode, payload):
    with server.connect_deflate() as client:
        client.send(frame(TEXT, "before"), frame(opcode, payload, rsv=RSV1)).expect_text("before")
        client.expect_close(1002)
    with server.connect_deflate() as client:
        client.send(frame(TEXT, b"\xf2\x48", fin=False, rsv=RSV1), frame(opcode, payload, rsv=RSV1))
        client.expect_close(1002)


@case("RFC 6455 §5.2", each=[RSV2, RSV3, RSV2 | RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV1 | RSV2 | RSV3],
      needs_deflate=True)
def other_reserved_bits(server, rsv):
    with server.connect_deflate() as client:
        client.send(compressed(client, TEXT, b"before"), frame(TEXT, b"\0", rsv=rsv))
        client.expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.4", needs_deflate=True)
def continuation_rules_hold_for_compressed_messages(server):
    for second in (frame(TEXT, "new"), frame(BINARY, b"\0", rsv=RSV1)):
        with server.connect_deflate() as client:
            client.send(frame(TEXT, b"\xf2\x48", fin=False, rsv=RSV1), second).expect_close(1002)
    with server.connect_deflate() as client:
        client.send(compressed(client, TEXT, b"whole"), frame(CONTINUATION, b"\0"))
        client.expect_text("whole")
        client.expect_close(1002)


CORRUPT = {
    "reserved block type": b"\x06",
    "reserved final block type": b"\x07",
    "reserved block type after a good block": bytes.fromhex("f248cdc9c907000000ffff06"),
    "stored length does not match its complement": b"\x00\x05\x00\x00\x00Hello\x00",
    "distance beyond the beginning": bytes.fromhex("f200110000"),
    "distance code 30": b"\x02\x7e\x00\x00",
    "too many length codes": b"\xfd" + b"\xff" * 7,
    "noise": noise(200, 9),
    "plain text": b"this was never compressed, but RSV1 says so",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xf3H\xcd\xc9\xc9\x07\x00",
    "zlib's own header": zlib.compress(b"Hello"),
}


@case("RFC 7692 §7.2.2", each={name: (data,) for name, data in CORRUPT.items()}, needs_deflate=True)
def corrupt(server, data):
    for opcode in (TEXT, BINARY):
        with server.connect_deflate() as client:
            # Sent as it is, so that the window is still empty.
            client.send(frame(TEXT, "before"), frame(opcode, data, rsv=RSV1), frame(PING, "after"))
            client.expect_text("before")
            client.expect_close(INFLATE_ERRORS)
        with server.connect_deflate() as client:
            client.send(*fragments(opcode, cut(data, 1), rsv=RSV1)).expect_close(INFLATE_ERRORS)


@case("RFC 7692 §7.2.2", needs_deflate=True)
def cut_short(server):
    """A message that ends inside a block. Nothing of it may be taken for a message."""
    packed = deflate.Deflate(deflate.Parameters()).compress(words(2000))
    for at in (1, 2, 10, len(packed) // 2, len(packed) - 10):
        with server.connect_deflate(NO_TAKEOVER) as client:
            client.send(frame(TEXT, packed[:at], rsv=RSV1)).expect_close(INFLATE_ERRORS)


@case("RFC 6455 §8.1", each={"bad": b"\xff", "overlong": b"\xc0\xaf", "truncated": b"\xe2\x82",
                             "a surrogate": b"\xed\xa0\x80",
                             "after a long text": "ß€".encode() * 5000 + b"\x80"},
      needs_deflate=True)
def text_that_is_not_utf8(server, data):
    with server.connect_deflate() as client:
        client.send(compressed(client, TEXT, data)).expect_close(1007)
    with server.connect_deflate() as client:
        client.send(*fragments(TEXT, cut(client.deflate.compress(data), 1), rsv=RSV1))
        client.expect_close(1007)
    with server.connect_deflate() as client:
        echo(client, BINARY, data)


@case("RFC 6455 §5.5.1", needs_deflate=True)
def close_inside_a_compressed_message(server):
    with server.connect_deflate() as client:
        client.send(frame(TEXT, b"\xf2\x48", fin=False, rsv=RSV1),
                    frame(CLOSE, close_payload(1000)))
        client.expect_close(1000)


@case("RFC 6455 §1.4", needs_deflate=True)
def what_was_said_before_the_close_is_answered(server):
    with server.connect_deflate() as client:
        client.send(compressed(client, TEXT, words(100_000)), frame(CLOSE, close_payload(1001)))
        client.expect_text(words(100_000))
        client.expect_close(1001)


def zeros(size: int) -> bytes:
    """So many, compressed; from equal parts without references to each other, to be quick."""
    def part(count):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(bytes(count)) + packer.flush(zlib.Z_FULL_FLUSH)

    return (part(MIB) * (size // MIB) + part(size % MIB))[:-len(deflate.TAIL)]


@case("RFC 6455 §10.4", each={"one byte more": MESSAGE_BYTES_MAX + 1,
                              "twice": 2 * MESSAGE_BYTES_MAX, "half a gigabyte": 512 * MIB},
      heavy=True, needs_deflate=True)
def bomb(server, size):
    """The limit holds for the inflated message (RFC 7692 §8 leaves it to the server)."""
    packed = zeros(size)
    with server.connect_deflate() as client:
        client.send(frame(BINARY, packed, rsv=RSV1)).expect_close(1009)
    with server.connect_deflate() as client:
        client.send(*fragments(TEXT, cut(packed, 4096), rsv=RSV1)).expect_close(1009)


@case("RFC 6455 §10.4", heavy=True, needs_deflate=True)
def longest_message_is_echoed(server):
    with server.connect_deflate() as client:
        client.send(frame(BINARY, zeros(MESSAGE_BYTES_MAX), rsv=RSV1))
        client.expect_binary(bytes(MESSAGE_BYTES_MAX))
        client.expect_alive()


@case("RFC 6455 §10.4", needs_deflate=True)
def announced_length_beyond_the_limit(server):
    with server.connect_deflate() as client:
        client.send(header(BINARY, MESSAGE_BYTES_MAX + 1, rsv=RSV1)).expect_close(1009)


@case("RFC 7692 §8", needs_deflate=True)
def many_windows_at_once(server):
    clients = [server.connect_deflate() for _ in range(40)]
    try:
        for round_number in range(3):
            for index, client in enumerate(clients):
                client.send(compressed(client, TEXT, words(5000, index % 3 + round_number)))
            for index, client in enumerate(clients):
                client.expect_text(words(5000, index % 3 + round_number))
    finally:
        for client in clients:
            client.socket.close()


@case("RFC 7692 §7.2.2", needs_deflate=True)
def unfinished_compressed_frame_is_waited_for(server):
    data = words(1000)
    with server.connect_deflate() as client:
        whole = compressed(client, TEXT, data)
        client.send(frame(PING, "1"), whole[:-5]).expect_pong(b"1")
        client.send(whole[-5:]).expect_text(data)


@case("RFC 6455 §5.1", needs_deflate=True)
def unmasked_compressed_frame(server):
    with server.connect_deflate() as client:
        client.send(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\0", rsv=RSV1, key=None))
        client.expect_close(1002)
