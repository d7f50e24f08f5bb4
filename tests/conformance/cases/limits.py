"""What no client may make the server hold: RFC 6455 §7.4.1 (1009), §10.4."""

from harness import case
from wire import BINARY, CONTINUATION, PING, TEXT, frame, header, mask

MIB = 1 << 20
MESSAGE_BYTES_MAX = 64 * MIB  # of the echo path
TOO_LONG = {"one byte more": MESSAGE_BYTES_MAX + 1, "1 GiB": 1 << 30, "4 GiB": 1 << 32,
            "4 GiB and a little": (1 << 32) + 5, "the longest": (1 << 63) - 1}


@case("RFC 6455 §10.4", each={f"{name}, {kind}": (size, opcode) for name, size in TOO_LONG.items()
                              for kind, opcode in (("text", TEXT), ("binary", BINARY))})
def announced_length_is_enough(server, size, opcode):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), header(opcode, size)).expect_text("before")
        client.expect_close(1009)


@case("RFC 6455 §10.4", each=TOO_LONG)
def announced_by_a_later_fragment(server, size):
    """The parts count together, so a fragment may announce less than the limit and be too long."""
    begun = frame(BINARY, bytes(1000), fin=False)
    with server.connect() as client:
        client.send(begun, frame(PING, "1")).expect_pong(b"1")
        client.send(header(CONTINUATION, size - 1000)).expect_close(1009)


@case("RFC 6455 §10.4")
def announced_by_the_first_fragment(server):
    with server.connect() as client:
        client.send(header(TEXT, MESSAGE_BYTES_MAX + 1, fin=False)).expect_close(1009)


@case("RFC 6455 §10.4", heavy=True)
def longest_message_is_echoed(server):
    payload = bytes(range(251)) * (MESSAGE_BYTES_MAX // 251 + 1)
    payload = payload[:MESSAGE_BYTES_MAX]
    with server.connect() as client:
        client.send(frame(BINARY, payload))
        client.expect_binary(payload)
        client.expect_alive()


@case("RFC 6455 §10.4", heavy=True)
def longest_message_in_fragments_and_one_byte_more(server):
    part = bytes(16 * MIB)
    key = b"\0\0\0\0"
    with server.connect() as client:
        for index in range(4):
            opcode = CONTINUATION if index else BINARY
            client.send(header(opcode, len(part), fin=False, key=key), mask(part, key))
        client.send(frame(PING, "full")).expect_pong(b"full")
        client.send(header(CONTINUATION, 1)).expect_close(1009)


@case("RFC 6455 §10.4")
def announcing_much_costs_the_server_nothing(server):
    """Many connections announce the longest message and bring only its beginning."""
    clients = [server.connect() for _ in range(50)]
    try:
        for client in clients:
            client.send(header(BINARY, MESSAGE_BYTES_MAX), bytes(10))
        with server.connect() as client:
            client.expect_alive()
    finally:
        for client in clients:
            client.socket.close()
