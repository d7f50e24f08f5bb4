"""Big messages in small pieces and many small messages at once (RFC 6455 §5.2, §5.4)."""

from cases.framing import noise
from harness import case
from wire import BINARY, CONTINUATION, PING, TEXT, binary, cut, frame, header, mask, pong, text

KIB, MIB = 1 << 10, 1 << 20
KEY = b"\x5a\xc3\x7e\x18"
# One to four bytes for each code point; the length is odd, so that pieces cut them everywhere.
SCRIPT = "aß€𐍈Ω漢🙂z".encode()


def script(size: int) -> bytes:
    whole = SCRIPT * (size // len(SCRIPT))
    return whole + b"." * (size - len(whole))


def payload_of(opcode: int, size: int) -> bytes:
    return script(size) if opcode == TEXT else noise(size)


def in_fragments(opcode: int, payload: bytes, size: int) -> bytes:
    """All fragments in one piece. `size` is a multiple of four, so one mask does for all."""
    assert size % 4 == 0
    pieces = cut(mask(payload, KEY), size)
    first = header(opcode, len(pieces[0]), fin=len(pieces) == 1, key=KEY)
    middle = header(CONTINUATION, size, fin=False, key=KEY)
    last = header(CONTINUATION, len(pieces[-1]), key=KEY)
    heads = [first] + [middle] * (len(pieces) - 2) + [last] * (len(pieces) > 1)
    return b"".join(part for pair in zip(heads, pieces) for part in pair)


KINDS = {"text": TEXT, "binary": BINARY}


def table(sizes):
    return {f"{kind}, {size}": (opcode, size) for kind, opcode in KINDS.items() for size in sizes}


@case("RFC 6455 §5.2", each=table([256 * KIB, MIB, 4 * MIB, 16 * MIB]), heavy=True)
def in_one_frame(server, opcode, size):
    payload = payload_of(opcode, size)
    with server.connect() as client:
        client.send(frame(opcode, payload))
        client.expect((text if opcode == TEXT else binary)(payload))


@case("RFC 6455 §5.4", each=table([64, 128, 256, 512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB]),
      heavy=True)
def one_mebibyte_in_fragments_of(server, opcode, size):
    payload = payload_of(opcode, MIB)
    with server.connect() as client:
        client.send(in_fragments(opcode, payload, size))
        client.expect((text if opcode == TEXT else binary)(payload))


@case("RFC 6455 §5.4", each=table([64, KIB, 64 * KIB, 4 * MIB]), heavy=True)
def sixteen_mebibytes_in_fragments_of(server, opcode, size):
    payload = payload_of(opcode, 16 * MIB)
    with server.connect() as client:
        client.send(in_fragments(opcode, payload, size))
        client.expect((text if opcode == TEXT else binary)(payload))


@case("RFC 6455 §5.2", each=table([64, 128, 256, 512, KIB, 1500, 4 * KIB, 16 * KIB]), heavy=True)
def one_mebibyte_in_writes_of(server, opcode, size):
    payload = payload_of(opcode, MIB)
    with server.connect() as client:
        client.send_chopped(frame(opcode, payload), size, pause_s=0)
        client.expect((text if opcode == TEXT else binary)(payload))


@case("RFC 6455 §5.2", each=table([KIB, 1500, 64 * KIB, MIB]), heavy=True)
def sixteen_mebibytes_in_writes_of(server, opcode, size):
    payload = payload_of(opcode, 16 * MIB)
    with server.connect() as client:
        client.send_chopped(frame(opcode, payload), size, pause_s=0)
        client.expect((text if opcode == TEXT else binary)(payload))


@case("RFC 6455 §5.4", each=table([0, 1, 16, 64, 125, 126, 256, 1000, 4000]))
def a_thousand_messages_in_one_write(server, opcode, size):
    messages = [str(index).encode() + payload_of(opcode, size) for index in range(1000)]
    make = text if opcode == TEXT else binary
    with server.connect() as client:
        client.send(*(frame(opcode, one) for one in messages))
        client.expect(*(make(one) for one in messages))


@case("RFC 6455 §5.4", heavy=True)
def twenty_thousand_messages_in_one_write(server):
    with server.connect() as client:
        client.send(*(frame(TEXT, str(index)) for index in range(20_000)))
        client.expect(*(text(str(index)) for index in range(20_000)))


@case("RFC 6455 §5.4", each=[0, 1, 16, 125, 126, 1000, 4000, 20_000])
def messages_there_and_back(server, size):
    payload = noise(size)
    with server.connect() as client:
        for _ in range(200):
            client.send(frame(BINARY, payload)).expect_binary(payload)


@case("RFC 6455 §5.4", heavy=True)
def all_sizes_in_one_stream(server):
    sizes = [0, 125, 126, 65535, 65536, 3, 300_000, 1, 16_384, 16_383, 100] * 5
    with server.connect() as client:
        client.send(*(frame(BINARY, noise(size)) for size in sizes), frame(PING, "end"))
        client.expect(*(binary(noise(size)) for size in sizes), pong(b"end"))


@case("RFC 6455 §5.4", heavy=True)
def answers_that_nobody_reads_for_a_while(server):
    """64 messages of 256 KiB: the server may stop reading, but must lose and mix nothing."""
    payloads = [noise(256 * KIB, seed) for seed in range(64)]
    with server.connect() as client:
        for payload in payloads:
            client.send(frame(BINARY, payload))
        client.expect(*map(binary, payloads))
        client.expect_alive()
