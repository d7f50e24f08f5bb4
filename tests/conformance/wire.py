"""A WebSocket client that can send any frame, legal or not, cut wherever one likes, and that reads
with the strictness that RFC 6455 allows a client: whatever the server may not send is a failure.
"""

import base64
import hashlib
import select
import socket
import struct
import time
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import deflate
from harness import Failure, expect_equal, shown

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NAMES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close",
         PING: "ping", PONG: "pong"}
RSV1, RSV2, RSV3 = 4, 2, 1

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3, with the answer it must get
SAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
CONTROL_PAYLOAD_BYTES_MAX = 125
TIMEOUT_S = 25
RECEIVE_BYTES = 1 << 18
CHOP_PAUSE_S = 0.0002  # lets the server's turn see a piece alone; nothing depends on it


def mask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3. One wide exclusive-or: by far the fastest way in plain Python."""
    size = len(payload)
    if key == b"\0\0\0\0" or size == 0:
        return bytes(payload)
    stream = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(stream, "little")
    return masked.to_bytes(size, "little")


def key_for(opcode: int, size: int) -> bytes:
    """A masking key that differs from frame to frame, and is the same in every run."""
    return struct.pack("!I", (0x9E3779B1 * (16 * size + opcode + 1)) & 0xFFFFFFFF)


def header(opcode: int, size: int, fin: bool = True, rsv: int = 0, key: Optional[bytes] = b"",
           form: Optional[int] = None) -> bytes:
    """A frame's header. `key` None leaves the mask out, b"" chooses one; `form` forces the length
    to be written with 7, 16 or 64 bits.
    """
    if form is None:
        form = 7 if size < 126 else 16 if size < 65536 else 64
    if key == b"":
        key = key_for(opcode, size)
    mask_bit = 0 if key is None else 0x80
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if form == 7:
        head = struct.pack("!BB", first, mask_bit | size)
    elif form == 16:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    return head + (key or b"")


def frame(opcode: int, payload: Union[bytes, str] = b"", fin: bool = True, rsv: int = 0,
          key: Optional[bytes] = b"", form: Optional[int] = None) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    if key == b"":
        key = key_for(opcode, len(data))
    head = header(opcode, len(data), fin, rsv, key, form)
    return head + (data if key is None else mask(data, key))


def unfinished(opcode: int, payload: bytes, missing: int = 100, fin: bool = True,
               rsv: int = 0) -> bytes:
    """The beginning of a frame that announces `missing` bytes more than it brings."""
    key = key_for(opcode, len(payload))
    return header(opcode, len(payload) + missing, fin, rsv, key) + mask(payload, key)


def fragments(opcode: int, pieces: Sequence[bytes], rsv: int = 0) -> List[bytes]:
    """A message's frames: the opcode and the reserved bits on the first, FIN on the last."""
    last = len(pieces) - 1
    return [frame(CONTINUATION if index else opcode, piece, fin=index == last,
                  rsv=0 if index else rsv)
            for index, piece in enumerate(pieces)]


def cut(data: bytes, size: int) -> List[bytes]:
    """Pieces of so many bytes; one empty piece if there is no data."""
    return [data[begin:begin + size] for begin in range(0, len(data), size)] or [b""]


def close_payload(code: int, reason: Union[bytes, str] = b"") -> bytes:
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def accept_of(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def request(host: str, path: str = "/echo", method: str = "GET", version: str = "HTTP/1.1",
            key: str = SAMPLE_KEY, without: Iterable[str] = (), change: Optional[dict] = None,
            add: Iterable[Tuple[str, str]] = ()) -> bytes:
    """An opening handshake: a good one, but for the fields left out, changed or added."""
    fields = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade",
              "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
    fields.update(change or {})
    lines = [(name, value) for name, value in fields.items() if name not in set(without)]
    text = f"{method} {path} {version}\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in lines + list(add))
    return (text + "\r\n").encode("latin-1")


class Response(NamedTuple):
    status: int
    fields: List[Tuple[str, str]]  # names in lower case
    body: bytes

    def values(self, name: str) -> List[str]:
        return [value for known, value in self.fields if known == name.lower()]

    def value(self, name: str) -> str:
        """The one value of the field; empty if it is missing."""
        found = self.values(name)
        if len(found) > 1:
            raise Failure(f"one {name}", repr(found))
        return found[0] if found else ""


class Frame(NamedTuple):
    opcode: int
    fin: bool
    rsv: int
    payload: bytes


class Event(NamedTuple):
    """A whole message, a control frame, or the end of the stream."""
    kind: str
    payload: bytes = b""
    is_compressed: bool = False

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the stream"
        if self.kind == "close":
            code = struct.unpack("!H", self.payload[:2])[0] if self.payload else "without a code"
            return f"Close {code} {shown(self.payload[2:])}"
        return f"{self.kind} {shown(self.payload)}"


END = Event("end")


class Client:
    """One connection. Used as a context; leaving it closes the socket."""

    def __init__(self, address: Tuple[str, int]):
        self.host = f"localhost:{address[1]}"
        self.deflate: Optional[deflate.Deflate] = None  # once it was agreed upon
        self.socket = socket.create_connection(address, TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = bytearray()
        self.deadline_s = time.monotonic() + TIMEOUT_S
        self.is_ended = False

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self.socket.close()

    # Sending.

    def send(self, *parts: bytes) -> "Client":
        """All parts in one write if the kernel takes them. Reads while it must wait, because a
        server that does not get rid of its answers may stop to read.
        """
        view = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        while view:
            try:
                view = view[self.socket.send(view):]
            except BlockingIOError:
                self._wait(select.POLLIN | select.POLLOUT)
                self._receive()
            except (BrokenPipeError, ConnectionResetError):
                break  # the server has ended; what it said before tells whether it may
        return self

    def send_pieces(self, pieces: Iterable[bytes], pause_s: float = CHOP_PAUSE_S) -> "Client":
        """Each piece in a write of its own, so that it travels alone (TCP_NODELAY)."""
        for piece in pieces:
            self.send(piece)
            if pause_s:
                time.sleep(pause_s)
        return self

    def send_chopped(self, data: bytes, size: int = 1, pause_s: float = CHOP_PAUSE_S) -> "Client":
        return self.send_pieces((data[begin:begin + size] for begin in range(0, len(data), size)),
                                pause_s)

    def end(self) -> None:
        """No more bytes from here (FIN)."""
        self.socket.shutdown(socket.SHUT_WR)

    # Receiving.

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self.socket, events)
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise Failure("an answer", f"nothing within {TIMEOUT_S} s; unread: "
                          f"{shown(self.received)}")

    def _receive(self) -> None:
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            raise Failure("an orderly end", f"a reset; unread: {shown(self.received)}") from None
        self.received += data
        self.is_ended = self.is_ended or not data

    def _need(self, count: int) -> bool:
        """Whether so many bytes came before the end."""
        while len(self.received) < count and not self.is_ended:
            self._wait(select.POLLIN)
            self._receive()
        return len(self.received) >= count

    def _take(self, count: int) -> bytes:
        if not self._need(count):
            raise Failure(f"{count} bytes more", f"the end after {shown(self.received)}")
        taken = bytes(memoryview(self.received)[:count])
        del self.received[:count]
        return taken

    def read_response(self, is_to_head: bool = False) -> Response:
        while b"\r\n\r\n" not in self.received:
            if not self._need(len(self.received) + 1):
                raise Failure("an HTTP response", f"the end after {shown(self.received)}")
        head = self._take(self.received.index(b"\r\n\r\n") + 4)[:-4].decode("latin-1")
        status_line, *lines = head.split("\r\n")
        parts = status_line.split(" ", 2)
        if len(parts) < 3 or parts[0] != "HTTP/1.1" or len(parts[1]) != 3 or not parts[1].isdigit():
            raise Failure("a status line of HTTP/1.1", repr(status_line))
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Failure("a field line", repr(line))
            fields.append((name.lower(), value.strip()))
        response = Response(int(parts[1]), fields, b"")
        length = response.value("Content-Length")
        if response.status == 101 and length:
            raise Failure("no Content-Length in a 101 (RFC 9110 §8.6)", length)
        if is_to_head or not length:
            return response
        return response._replace(body=self._take(int(length)))

    def read_frame(self) -> Optional[Frame]:
        """The next frame, None at the end. Checks all that a server must do by §5.1, §5.2, §5.5."""
        if not self._need(1):
            return None
        first, second = self._take(2)
        opcode, rsv, size = first & 0x0F, first >> 4 & 7, second & 0x7F
        got = f"a frame that begins with {first:02x} {second:02x}"
        if opcode not in NAMES:
            raise Failure("a known opcode from the server", got)
        if second & 0x80:
            raise Failure("no mask from the server", got)
        is_control = opcode >= CLOSE
        if rsv & (RSV2 | RSV3) or rsv and (self.deflate is None or is_control or
                                           opcode == CONTINUATION):
            raise Failure("no reserved bits from the server", got)
        if is_control and (size > CONTROL_PAYLOAD_BYTES_MAX or not first & 0x80):
            raise Failure("a whole, short control frame from the server", got)
        least = 0
        if size >= 126:
            least = 126 if size == 126 else 65536
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        if size < least or size >= 1 << 63:
            raise Failure("the shortest encoding of the length", f"{size} after {second:02x}")
        return Frame(opcode, bool(first & 0x80), rsv, self._take(size))

    def read(self) -> Event:
        """The next message, put together and inflated, or control frame, or the end."""
        started: Optional[Frame] = None
        parts: List[bytes] = []
        while True:
            found = self.read_frame()
            if found is None:
                if started is not None or self.received:
                    raise Failure("whole messages", "the end inside a message")
                return END
            if found.opcode >= CLOSE:
                if started is not None:
                    # The suite asks for nothing that makes a server speak between its fragments.
                    raise Failure("the rest of the message", NAMES[found.opcode])
                return self._control(found)
            if (found.opcode == CONTINUATION) != (started is not None):
                raise Failure("fragments in order from the server", NAMES[found.opcode])
            started = started or found
            parts.append(found.payload)
            if found.fin:
                return self._message(started, b"".join(parts) if len(parts) > 1 else parts[0])

    @staticmethod
    def _control(found: Frame) -> Event:
        payload = found.payload
        if found.opcode == CLOSE:
            if len(payload) == 1:
                raise Failure("a code in the Close", shown(payload))
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise Failure("a reason in UTF-8", shown(payload)) from None
        return Event(NAMES[found.opcode], payload)

    def _message(self, started: Frame, payload: bytes) -> Event:
        is_compressed = bool(started.rsv & RSV1)
        if is_compressed and self.deflate is not None:
            payload = self.deflate.decompress(payload)
        if started.opcode == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise Failure("text in UTF-8 from the server", shown(payload)) from None
        return Event(NAMES[started.opcode], payload, is_compressed)

    # Expecting.

    def expect(self, *expected: Event) -> None:
        """These events and no others. Pongs may overtake messages (RFC 6455 §5.5.2 asks for haste),
        so the order counts among messages and among control frames.
        """
        if not expected:
            return
        got: List[Event] = []
        for _ in expected:
            got.append(self.read())
            if got[-1].kind in ("close", "end"):
                break
        for is_data in (True, False):
            wanted = [one for one in expected if (one.kind in ("text", "binary")) == is_data]
            found = [one for one in got if (one.kind in ("text", "binary")) == is_data]
            for left, right in zip(wanted, found):
                if left.kind != right.kind:
                    raise Failure(str(left), str(right))
                expect_equal(left.payload, right.payload, left.kind)
            if len(found) != len(wanted):
                raise Failure(", ".join(map(str, wanted[:4])) or "nothing of that kind",
                              ", ".join(map(str, got[-4:])))

    def expect_text(self, payload: Union[bytes, str]) -> None:
        self.expect(text(payload))

    def expect_binary(self, payload: bytes) -> None:
        self.expect(Event("binary", payload))

    def expect_pong(self, payload: bytes) -> None:
        self.expect(Event("pong", payload))

    def expect_end(self) -> None:
        found = self.read()
        if found is not END:
            raise Failure("the end of the stream after the Close", str(found))

    def expect_close(self, codes: Union[int, Iterable[int], None]) -> Event:
        """A Close with (one of) the codes, None for one without, and then the end."""
        found = self.read()
        wanted = [codes] if codes is None or isinstance(codes, int) else list(codes)
        names = " or ".join(f"Close {code or 'without a code'}" for code in wanted)
        if found.kind != "close":
            raise Failure(names, str(found))
        code = struct.unpack("!H", found.payload[:2])[0] if found.payload else None
        if code not in wanted:
            raise Failure(names, str(found))
        self.expect_end()
        return found

    def expect_alive(self) -> None:
        """The connection still works, and the server has said nothing that was not asked for."""
        self.send(frame(TEXT, "still there?")).expect_text("still there?")


def text(payload: Union[bytes, str]) -> Event:
    return Event("text", payload.encode() if isinstance(payload, str) else payload)


def binary(payload: bytes) -> Event:
    return Event("binary", payload)


def pong(payload: bytes = b"") -> Event:
    return Event("pong", payload)


class Server:
    """The server under test, as the cases see it."""

    def __init__(self, address: Tuple[str, int], broker: Optional[str] = None):
        self.address = address
        self.broker = broker  # the executable, for cases that need a process of their own

    def dial(self) -> Client:
        """A TCP connection on which nothing was said yet."""
        return Client(self.address)

    def connect(self, path: str = "/echo") -> Client:
        """A WebSocket without extensions."""
        client = self.dial()
        client.send(request(client.host, path))
        response = client.read_response()
        if response.status != 101:
            raise Failure("101", f"{response.status} {shown(response.body)}")
        return client

    def connect_deflate(self, offer: str = "permessage-deflate") -> Client:
        """A WebSocket on which permessage-deflate was agreed upon."""
        client = self.dial()
        client.send(request(client.host, add=[("Sec-WebSocket-Extensions", offer)]))
        response = client.read_response()
        if response.status != 101:
            raise Failure("101", f"{response.status} {shown(response.body)}")
        client.deflate = deflate.agreed(response.values("Sec-WebSocket-Extensions"), offer)
        if client.deflate is None:
            raise Failure(f"that the server accepts {offer!r}", "no extension")
        return client
