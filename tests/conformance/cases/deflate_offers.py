"""How permessage-deflate is offered and answered: RFC 6455 §9.1, RFC 7692 §5, §7.1.

Every answer is checked against the offer by deflate.agreed(); here stands what each offer must or
may get. After each handshake the connection is used, so that what was agreed is also done.
"""

import deflate
import wire
from cases.framing import letters
from harness import Failure, case, expect_equal
from wire import RSV1, TEXT, frame, request

NAME = "permessage-deflate"
SAMPLE = b'{"op":"message","topic":"news/uk","data":"the same again and again"}' * 20


def offer(client: wire.Client, *values: str) -> wire.Response:
    client.send(request(client.host, add=[("Sec-WebSocket-Extensions", value) for value in values]))
    return client.read_response()


def negotiate(client: wire.Client, *values: str):
    response = offer(client, *values)
    expect_equal(101, response.status, "status")
    client.deflate = deflate.agreed(response.values("Sec-WebSocket-Extensions"), ", ".join(values))
    return client.deflate


def use(client: wire.Client) -> None:
    for data in (SAMPLE, b"", letters(5000), SAMPLE):
        if client.deflate is not None:
            client.send(frame(TEXT, client.deflate.compress(data), rsv=RSV1)).expect_text(data)
        client.send(frame(TEXT, data)).expect_text(data)


ACCEPTED = {
    "plain": [NAME],
    "server_no_context_takeover": [f"{NAME}; server_no_context_takeover"],
    "client_no_context_takeover": [f"{NAME}; client_no_context_takeover"],
    "both": [f"{NAME}; server_no_context_takeover; client_no_context_takeover"],
    "both, other order": [f"{NAME}; client_no_context_takeover; server_no_context_takeover"],
    "client_max_window_bits without a value": [f"{NAME}; client_max_window_bits"],
    **{f"client_max_window_bits={bits}": [f"{NAME}; client_max_window_bits={bits}"]
       for bits in range(9, 16)},
    **{f"server_max_window_bits={bits}": [f"{NAME}; server_max_window_bits={bits}"]
       for bits in range(9, 16)},
    "quoted": [f'{NAME}; server_max_window_bits="10"'],
    "quoted with an escape": [f'{NAME}; server_max_window_bits="1\\0"'],
    "all four": [f"{NAME}; server_no_context_takeover; client_no_context_takeover; "
                 "server_max_window_bits=12; client_max_window_bits=11"],
    "what Chrome sends": [f"{NAME}; client_max_window_bits"],
    "two offers, the first good enough": [f"{NAME}; client_max_window_bits, {NAME}"],
    "two lines": [f"{NAME}; server_max_window_bits=10", NAME],
    "without spaces": [f"{NAME};client_max_window_bits;server_max_window_bits=10"],
    "with many spaces": [f"  {NAME}  ;  client_max_window_bits  ;  server_max_window_bits  =  9 "],
    "with tabs": [f"{NAME}\t;\tserver_no_context_takeover"],
    "behind an unknown one": [f"x-unknown; a=1, {NAME}"],
    "before an unknown one": [f"{NAME}, x-unknown"],
    "behind an unknown one with a quoted comma": [f'x-unknown; a="b", {NAME}'],
    "behind an unknown one on a line of its own": ["x-unknown", NAME],
    "behind an older one": [f"x-webkit-deflate-frame, {NAME}"],
}


@case("RFC 7692 §7.1", each=ACCEPTED, needs_deflate=True)
def accepted(server, values):
    with server.dial() as client:
        if negotiate(client, *values) is None:
            raise Failure(f"that {values!r} is accepted", "no extension")
        use(client)


# A server may accept these or decline them: raw deflate with a window of 256 bytes is beyond zlib.
@case("RFC 7692 §7.1.2", each=["server_max_window_bits=8", "client_max_window_bits=8",
                               "server_max_window_bits=8; client_max_window_bits=8"],
      needs_deflate=True)
def window_of_256_bytes(server, parameters):
    with server.dial() as client:
        found = negotiate(client, f"{NAME}; {parameters}")
        if found is None or found.parameters.client_max_window_bits > 8:
            use(client)
        else:
            # Our compressor knows no such window either; without it the server's side is left.
            client.send(frame(TEXT, SAMPLE)).expect_text(SAMPLE)


BAD_PARAMETERS = (
    "server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16",
    "server_max_window_bits=0", "server_max_window_bits=1", "server_max_window_bits=08",
    "server_max_window_bits=010", "server_max_window_bits=100", "server_max_window_bits=-10",
    "server_max_window_bits=+10", "server_max_window_bits=10.0", "server_max_window_bits=0xa",
    "server_max_window_bits=ten", "server_max_window_bits=4294967306",
    'server_max_window_bits="16"',
    "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=0",
    "client_max_window_bits=09", "client_max_window_bits=abc", "client_max_window_bits=4294967306",
    "client_max_window_bits=-9",
    "server_no_context_takeover=1", "server_no_context_takeover=true",
    'server_no_context_takeover="x"',
    "client_no_context_takeover=0", "client_no_context_takeover=10",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits=10; server_max_window_bits=10",
    "server_max_window_bits=10; server_max_window_bits=11",
    "client_max_window_bits; client_max_window_bits",
    "client_max_window_bits; client_max_window_bits=10",
    "unknown", "unknown=1", "x", "max_window_bits=10", "server_max_window_bitss=10",
    "no_context_takeover", "client_max_window_bits; unknown",
)


@case("RFC 7692 §7.1", each=BAD_PARAMETERS, needs_deflate=True)
def declined(server, parameters):
    """An offer that is wrong in itself is declined; the connection is as good without."""
    with server.dial() as client:
        if negotiate(client, f"{NAME}; {parameters}") is not None:
            raise Failure("that the offer is declined", "an acceptance")
        use(client)
        client.send(frame(TEXT, "x", rsv=RSV1)).expect_close(1002)


@case("RFC 7692 §5.1, §7.1", each=BAD_PARAMETERS, needs_deflate=True)
def declined_and_the_next_one_accepted(server, parameters):
    with server.dial() as client:
        if negotiate(client, f"{NAME}; {parameters}, {NAME}; server_no_context_takeover") is None:
            raise Failure("that the second offer is accepted", "no extension")
        if not client.deflate.parameters.server_no_context_takeover:
            raise Failure("an answer to the second offer", "one to the first")
        use(client)


MALFORMED = (
    ";", f"{NAME};", f"{NAME};;", f"; {NAME}", f"{NAME}; ; server_no_context_takeover", "=",
    f"{NAME}; =10",
    f"{NAME}; server_max_window_bits=", f"{NAME}; server_max_window_bits==10",
    f"{NAME}; server_max_window_bits= ", f"{NAME}; server_max_window_bits=1 0",
    f"{NAME} server_no_context_takeover", f'"{NAME}"', f'{NAME}; "server_no_context_takeover"',
    f'{NAME}; server_max_window_bits="10', f'{NAME}; server_max_window_bits=10"',
    f'{NAME}; server_max_window_bits=""', f'{NAME}; server_max_window_bits="1 0"',
    f'{NAME}; server_max_window_bits="1,0"', f"{NAME}/1", f"{NAME}; a@b", f"{NAME}; (comment)",
    f"{NAME}: 1", f"{NAME}; a=b=c",
)


@case("RFC 6455 §9.1", each=MALFORMED, needs_deflate=True)
def malformed_field_fails_the_handshake(server, value):
    """Not only the offer: what breaks the grammar must not be guessed at."""
    with server.dial() as client:
        response = offer(client, value)
        if response.status != 400:
            raise Failure("400", str(response.status))


@case("RFC 6455 §9.1", needs_deflate=True)
def many_offers(server):
    """The last of many is as good as the first, and reading them has a bound."""
    bad = [f"{NAME}; server_max_window_bits={bits}" for bits in range(16, 76)]
    with server.dial() as client:
        if negotiate(client, ", ".join(bad), NAME) is None:
            raise Failure("that the last offer is accepted", "no extension")
        use(client)


@case("RFC 7692 §6", needs_deflate=True)
def nothing_offered_nothing_compressed(server):
    with server.connect() as client:
        client.send(frame(TEXT, SAMPLE)).expect_text(SAMPLE)
        client.send(frame(TEXT, SAMPLE, rsv=RSV1)).expect_close(1002)
