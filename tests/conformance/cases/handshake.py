"""The opening handshake as a server reads and answers it: RFC 6455 §4.2, §9.1, §11.3."""

import base64

import wire
from harness import Failure, case, expect_equal
from wire import TEXT, frame, request


def upgraded(client: wire.Client, key: str = wire.SAMPLE_KEY) -> wire.Response:
    """Reads a 101 and checks all that §4.2.2 says about it."""
    response = client.read_response()
    if response.status != 101:
        raise Failure("101", f"{response.status} {response.body!r}")
    expect_equal("websocket", response.value("Upgrade").lower(), "Upgrade")
    expect_equal("upgrade", response.value("Connection").lower(), "Connection")
    expect_equal(wire.accept_of(key), response.value("Sec-WebSocket-Accept"),
                 "Sec-WebSocket-Accept")
    return response


def works(client: wire.Client, key: str = wire.SAMPLE_KEY) -> wire.Response:
    response = upgraded(client, key)
    client.expect_alive()
    return response


def refused(client: wire.Client, *statuses: int) -> wire.Response:
    """An HTTP error, which says when it ends, and then the end of the stream."""
    response = client.read_response()
    if response.status not in statuses:
        raise Failure(" or ".join(map(str, statuses)), f"{response.status} {response.body!r}")
    if not response.values("Content-Length"):
        raise Failure("a response with a length", repr(response.fields))
    client.end()
    if client.read_frame() is not None:
        raise Failure("nothing after the refusal", "more bytes")
    return response


@case("RFC 6455 §1.3")
def sample_key_gets_the_sample_accept(server):
    with server.dial() as client:
        client.send(request(client.host, key=wire.SAMPLE_KEY))
        response = works(client)
        expect_equal(wire.SAMPLE_ACCEPT, response.value("Sec-WebSocket-Accept"), "the RFC's own")


@case("RFC 6455 §4.2.2")
def nothing_is_negotiated_that_was_not_offered(server):
    with server.dial() as client:
        client.send(request(client.host))
        response = works(client)
        for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"):
            expect_equal([], response.values(name), name)


@case("RFC 6455 §4.1", each={str(seed): seed for seed in range(8)})
def every_key_gets_its_own_accept(server, seed):
    key = base64.b64encode(bytes((seed * 37 + index * 101) % 256 for index in range(16))).decode()
    with server.dial() as client:
        client.send(request(client.host, key=key))
        works(client, key)


@case("RFC 6455 §4.2.1", each=[1, 2, 3, 7, 16, 64])
def request_in_pieces(server, size):
    with server.dial() as client:
        client.send_chopped(request(client.host), size)
        works(client)


@case("RFC 6455 §4.2.1", heavy=True)
def request_cut_in_two_everywhere(server):
    whole = request("localhost")
    for at in range(1, len(whole)):
        with server.dial() as client:
            client.send_pieces([whole[:at], whole[at:]])
            works(client)


@case("RFC 6455 §4.1")
def frames_behind_the_request_in_one_write(server):
    with server.dial() as client:
        client.send(request(client.host), frame(TEXT, "early"), frame(TEXT, "bird"))
        upgraded(client)
        client.expect(wire.text("early"), wire.text("bird"))


@case("RFC 6455 §4.1")
def half_a_frame_behind_the_request(server):
    first = frame(TEXT, "cut in the middle")
    with server.dial() as client:
        client.send_pieces([request(client.host) + first[:5], first[5:]])
        upgraded(client)
        client.expect_text("cut in the middle")


GOOD_CHANGES = {
    "Upgrade in capitals": {"Upgrade": "WEBSOCKET"},
    "Upgrade as once written": {"Upgrade": "WebSocket"},
    "Connection in small letters": {"Connection": "upgrade"},
    "Connection in capitals": {"Connection": "UPGRADE"},
    "Connection as Firefox": {"Connection": "keep-alive, Upgrade"},
    "Connection without spaces": {"Connection": "keep-alive,Upgrade"},
    "Connection with empty elements": {"Connection": ", Upgrade ,,"},
    "Connection with tabs": {"Connection": "\tUpgrade\t"},
    "spaces around the key": {"Sec-WebSocket-Key": f"   {wire.SAMPLE_KEY}  "},
    "spaces around the version": {"Sec-WebSocket-Version": "  13  "},
    "no space after the colon": {"Sec-WebSocket-Version": "13"},
    "cookies and other fields": {"Cookie": "a=b; c=d", "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
                                 "Authorization": "Basic eDp5", "Pragma": "no-cache"},
    "a browser's fields": {"User-Agent": "Mozilla/5.0", "Accept-Encoding": "gzip, deflate, br",
                           "Accept-Language": "en-GB,en;q=0.9", "Cache-Control": "no-cache"},
    "an empty field": {"X-Empty": ""},
}


@case("RFC 6455 §4.2.1", each={name: (change,) for name, change in GOOD_CHANGES.items()})
def accepts(server, change):
    with server.dial() as client:
        client.send(request(client.host, change=change))
        works(client)


@case("RFC 9110 §5.1", each={"capitals": str.upper, "small letters": str.lower,
                             "mixed": str.swapcase})
def field_names_in_any_case(server, spell):
    with server.dial() as client:
        line, *lines = request(client.host).decode().split("\r\n")
        spelled = []
        for one in lines:
            name, colon, value = one.partition(":")
            spelled.append(spell(name) + colon + value)
        client.send("\r\n".join([line] + spelled).encode())
        works(client)


@case("RFC 9110 §5.3")
def connection_over_two_lines(server):
    with server.dial() as client:
        client.send(request(client.host, change={"Connection": "keep-alive"},
                            add=[("Connection", "Upgrade")]))
        works(client)


@case("RFC 6455 §3", each={"a query": "/echo?room=1&x=%20", "an empty query": "/echo?"})
def accepts_target(server, target):
    with server.dial() as client:
        client.send(request(client.host, target))
        works(client)


@case("RFC 9112 §3.2.2")
def accepts_a_target_in_absolute_form(server):
    with server.dial() as client:
        client.send(request(client.host, f"http://{client.host}/echo"))
        works(client)


@case("RFC 6455 §4.2.1", each=["POST", "PUT", "HEAD", "DELETE", "OPTIONS", "get", "PATCH", "TRACE"])
def refuses_method(server, method):
    with server.dial() as client:
        client.send(request(client.host, method=method))
        status = client.read_response(is_to_head=method == "HEAD").status
        if status not in (400, 405, 501):
            raise Failure("400, 405 or 501", str(status))


@case("RFC 6455 §4.2.1", each=["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/3.0"])
def refuses_http_version(server, version):
    with server.dial() as client:
        client.send(request(client.host, version=version))
        refused(client, 400, 426, 505)


@case("RFC 9112 §3", each=["HTTP/1", "HTTP/1.1.1", "http/1.1", "HTTP/11", "HTTP/1.x", "FTP/1.1",
                           ""])
def refuses_malformed_http_version(server, version):
    with server.dial() as client:
        client.send(request(client.host, version=version))
        refused(client, 400)


BAD_CHANGES = {
    "no Host": (dict(without=["Host"]), 400),
    "two Hosts": (dict(add=[("Host", "localhost")]), 400),
    "an empty Host": (dict(change={"Host": ""}), 400),
    "a Host with a space": (dict(change={"Host": "local host"}), 400),
    "a Host with a user": (dict(change={"Host": "me@localhost"}), 400),
    "a Host with a bad port": (dict(change={"Host": "localhost:http"}), 400),
    "no Upgrade": (dict(without=["Upgrade"]), 400),
    "Upgrade to something else": (dict(change={"Upgrade": "h2c"}), 400),
    "Upgrade to almost the same": (dict(change={"Upgrade": "websockets"}), 400),
    "an empty Upgrade": (dict(change={"Upgrade": ""}), 400),
    "no Connection": (dict(without=["Connection"]), 400),
    "Connection only keep-alive": (dict(change={"Connection": "keep-alive"}), 400),
    "Connection almost the same": (dict(change={"Connection": "Upgraded"}), 400),
    "an empty Connection": (dict(change={"Connection": ""}), 400),
    "no key": (dict(without=["Sec-WebSocket-Key"]), 400),
    "two keys": (dict(add=[("Sec-WebSocket-Key", "AQIDBAUGBwgJCgsMDQ4PEA==")]), 400),
    "an empty key": (dict(key=""), 400),
    "a key of 15 bytes": (dict(key=base64.b64encode(bytes(15)).decode()), 400),
    "a key of 17 bytes": (dict(key=base64.b64encode(bytes(17)).decode()), 400),
    "a key of 18 bytes": (dict(key=base64.b64encode(bytes(18)).decode()), 400),
    "a key without padding": (dict(key=wire.SAMPLE_KEY.rstrip("=")), 400),
    "a key that is not base64": (dict(key="dGhlIHNhbXBsZSBub25j*Q=="), 400),
    "a key in the alphabet for URLs": (dict(key="__________________-_-w=="), 400),
    "a key with a space inside": (dict(key="dGhlIHNhbXBs ZSBub25jZQ=="), 400),
    "no version": (dict(without=["Sec-WebSocket-Version"]), 400),
    "two versions": (dict(add=[("Sec-WebSocket-Version", "13")]), 400),
    "a body": (dict(add=[("Content-Length", "5")]), 400),
    "a chunked body": (dict(add=[("Transfer-Encoding", "chunked")]), 501),
}


@case("RFC 6455 §4.2.1", each=BAD_CHANGES)
def refuses(server, how, status):
    with server.dial() as client:
        body = b"hello" if "Content-Length" in dict(how.get("add", ())) else b""
        client.send(request(**{"host": client.host, **how}), body)
        refused(client, status)


@case("RFC 6455 §4.2.2", each=["0", "1", "7", "8", "12", "14", "25", "255", "256", "013", "+13",
                               "-13", "13.0", "0x0d", "13, 8", "8, 13", "13;", "thirteen", "269"])
def other_versions_are_told_which_one(server, version):
    with server.dial() as client:
        client.send(request(client.host, change={"Sec-WebSocket-Version": version}))
        response = refused(client, 426)
        versions = ", ".join(response.values("Sec-WebSocket-Version"))
        expect_equal("13", versions, "Sec-WebSocket-Version")


@case("RFC 9110 §15.5.22")
def plain_get_is_told_to_upgrade(server):
    with server.dial() as client:
        client.send(f"GET /echo HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
        response = refused(client, 426)
        expect_equal("websocket", response.value("Upgrade").lower(), "Upgrade")
        expect_equal("13", response.value("Sec-WebSocket-Version"), "Sec-WebSocket-Version")


@case("RFC 6455 §4.2.2")
def unknown_path(server):
    with server.dial() as client:
        client.send(request(client.host, "/nowhere"))
        expect_equal(404, client.read_response().status, "status")


@case("RFC 6455 §4.2.2", each={"another host": "http://attacker.example", "a file": "null",
                               "nonsense": "::", "another port": "http://localhost:1"})
def foreign_origin(server, origin):
    with server.dial() as client:
        client.send(request(client.host, change={"Origin": origin}))
        refused(client, 403)


@case("RFC 6455 §4.2.2")
def own_origin(server):
    with server.dial() as client:
        client.send(request(client.host, change={"Origin": f"http://{client.host}"}))
        works(client)


BAD_HEADS = {
    "bare line feeds": lambda head: head.replace(b"\r\n", b"\n"),
    "one bare line feed": lambda head: head.replace(b"13\r\n", b"13\n"),
    "a folded field": lambda head: head.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
    "space before the colon": lambda head: head.replace(b"Upgrade:", b"Upgrade :"),
    "a field without a colon": lambda head: head.replace(b"Upgrade: ", b"Upgrade "),
    "a field without a name": lambda head: head.replace(b"Upgrade:", b":"),
    "a zero byte": lambda head: head.replace(b"websocket", b"web\0socket"),
    "a bare carriage return": lambda head: head.replace(b"websocket", b"web\rsocket"),
    "two spaces in the request line": lambda head: head.replace(b"GET /", b"GET  /"),
    "no target": lambda head: head.replace(b" /echo", b""),
    "a target without a slash": lambda head: head.replace(b"/echo", b"echo"),
    "a fragment in the target": lambda head: head.replace(b"/echo", b"/echo#top"),
    "bytes beyond ASCII in the target": lambda head: head.replace(b"/echo", b"/\xc3\xa9cho"),
    "an empty line first": lambda head: b"\r\n" + head,
    "a TLS client": lambda head: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a preface of HTTP/2": lambda head: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "frames without a handshake": lambda head: frame(TEXT, "hello"),
}


@case("RFC 9112 §2.2, §5", each={name: (change,) for name, change in BAD_HEADS.items()})
def malformed_head(server, change):
    with server.dial() as client:
        client.send(change(request(client.host)))
        refused(client, 400, 505)


@case("RFC 6585 §5", each={"one long field": [("X-Long", "x" * 70_000)],
                           "many fields": [(f"X-{n}", "y" * 60) for n in range(1_000)]})
def head_too_large(server, fields):
    with server.dial() as client:
        client.send(request(client.host, add=fields))
        refused(client, 431)


@case("RFC 9112 §9.3.2")
def handshake_behind_another_request(server):
    with server.dial() as client:
        client.send(f"GET /nowhere HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode(),
                    request(client.host), frame(TEXT, "third"))
        expect_equal(404, client.read_response().status, "status")
        upgraded(client)
        client.expect_text("third")


# offered on one line or several | what may be chosen
SUBPROTOCOLS = {
    "one": (["chat"], ["chat"]),
    "two": (["chat, superchat"], ["chat", "superchat"]),
    "two without space": (["chat,superchat"], ["chat", "superchat"]),
    "two lines": (["chat", "superchat"], ["chat", "superchat"]),
    "case is kept": (["ChAt"], ["ChAt"]),
    "every token character": (["!#$%&'*+-.^_`|~09azAZ"], ["!#$%&'*+-.^_`|~09azAZ"]),
    "with spaces": (["   chat   "], ["chat"]),
    "many": ([", ".join(f"p{n}" for n in range(100))], [f"p{n}" for n in range(100)]),
}


@case("RFC 6455 §4.2.2, §11.3.4", each=SUBPROTOCOLS)
def subprotocol_is_one_of_the_offered(server, offers, choices):
    with server.dial() as client:
        client.send(request(client.host, add=[("Sec-WebSocket-Protocol", one) for one in offers]))
        chosen = works(client).value("Sec-WebSocket-Protocol")
        if chosen not in choices:
            raise Failure(f"one of {choices[:4]}", repr(chosen))


@case("RFC 6455 §4.1, §11.3.4", each=["", ",", "a b", "a/b", "a;q=1", '"chat"', "chat, (x)",
                                      "ch\xe4t"])
def malformed_subprotocol(server, offer):
    with server.dial() as client:
        client.send(request(client.host, change={"Sec-WebSocket-Protocol": offer}))
        refused(client, 400)


@case("RFC 6455 §9.1", each=["x-unknown", "x-unknown; a=1", "x-one, x-two; b", 'x-quoted; a="1"',
                             "permessage-bzip2", "permessage-deflated", "x-webkit-deflate-frame"])
def unknown_extension_is_left_out(server, offer):
    with server.dial() as client:
        client.send(request(client.host, change={"Sec-WebSocket-Extensions": offer}))
        expect_equal([], works(client).values("Sec-WebSocket-Extensions"), "extensions")


@case("RFC 6455 §4.2.2")
def the_peer_that_goes_away_during_the_handshake(server):
    for size in (0, 1, 20, len(request("localhost")) - 1):
        with server.dial() as client:
            client.send(request("localhost")[:size])
    with server.connect() as client:
        client.expect_alive()
