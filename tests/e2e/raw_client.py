"""A WebSocket client that does what it is told, right or wrong: for the tests about bad input and
about peers that fall silent. What a correct client sees is tested with real ones.
"""

import base64
import hashlib
import json
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Response:
    def __init__(self, status, reason, fields, body):
        self.status = status
        self.reason = reason
        self.fields = fields  # names in lower case
        self.body = body


def frame(opcode, payload=b"", fin=True, masked=True, reserved=0, length=None):
    """The bytes of one frame. `length` forces an encoding of the length: 7, 16 or 64 bits."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if length is None:
        length = 7 if size < 126 else 16 if size < 65536 else 64
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if length == 7:
        head += bytes([mask_bit | size])
    elif length == 16:
        head += struct.pack("!BH", mask_bit | 126, size)
    else:
        head += struct.pack("!BQ", mask_bit | 127, size)
    if not masked:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    stream = (key * (size // 4 + 1))[:size]
    masked_payload = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + key + masked_payload.to_bytes(size, "big")


def take_frame(data, begin=0):
    """(first byte, payload, end) of the broker's frame that begins there; None while it has not
    come in full."""
    if len(data) < begin + 2:
        return None
    size, payload = data[begin + 1], begin + 2
    if size & 0x80:
        raise AssertionError(f"the broker sent a masked frame: {data[begin:begin + 20]!r}")
    if size >= 126:
        payload += 2 if size == 126 else 8
        if len(data) < payload:
            return None
        size = int.from_bytes(data[begin + 2:payload], "big")
    end = payload + size
    return (data[begin], bytes(data[payload:end]), end) if len(data) >= end else None


def opcode_of(first):
    """Of the first byte of a frame that is whole and not compressed, as all are that nobody asked
    to be."""
    if first & 0xF0 != 0x80:
        raise AssertionError(f"the broker sent a bad frame: {first:02x}")
    return first & 0x0F


def take_frames(data):
    """([(opcode, payload), …], rest): the frames that have come in full, for those who read as much
    as they can at once."""
    frames, begin = [], 0
    while (taken := take_frame(data, begin)) is not None:
        first, payload, begin = taken
        frames.append((opcode_of(first), payload))
    return frames, data[begin:]


def connect(place, timeout_s=20, receive_buffer_bytes=None, source=None):
    """A connected socket. `place` is (host, port), or the path of a Unix socket; `source` one of
    this machine's addresses."""
    if isinstance(place, str):
        connected = socket.socket(socket.AF_UNIX)
    else:
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        connected = socket.socket(family)
    if receive_buffer_bytes is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    if source is not None:
        connected.bind((source, 0))
    connected.settimeout(timeout_s)
    connected.connect(place)
    return connected


def upgrade_request(host="localhost", path="/ws", remove=(), **fields):
    """The bytes of a good request, but for what is changed: field names with underscores."""
    lines = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade",
             "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
    for name in remove:
        del lines[name]
    lines.update({name.replace("_", "-"): value for name, value in fields.items()})
    head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items())
    return (head + "\r\n").encode("latin-1")


class RawClient:
    def __init__(self, place, upgrade=True, timeout_s=20, receive_buffer_bytes=None):
        self.socket = connect(place, timeout_s, receive_buffer_bytes)
        self.received = b""
        self.is_ended = False
        self.welcome = None
        if upgrade:
            self.upgrade()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.socket.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_frame(self, opcode, payload=b"", **how):
        self.send(frame(opcode, payload, **how))

    def command(self, **command):
        self.send_frame(TEXT, json.dumps(command, separators=(",", ":")))

    def reset(self):
        """Ends with RST, as a process does that is killed with unread data."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _receive(self):
        """More bytes; False at the end of the stream. A reset is an error of the test."""
        data = self.socket.recv(65536)
        self.received += data
        self.is_ended = not data
        return bool(data)

    def _take(self, count):
        while len(self.received) < count:
            if not self._receive():
                raise EOFError(f"the stream ended after {len(self.received)} of {count} bytes")
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def read_response(self):
        while b"\r\n\r\n" not in self.received:
            if not self._receive():
                raise EOFError(f"no complete response: {self.received!r}")
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        _, status, reason = status_line.split(" ", 2)
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        body = self._take(int(fields.get("content-length", 0)))
        return Response(int(status), reason, fields, body.decode("utf-8"))

    def upgrade(self, **fields):
        request = upgrade_request(**fields)
        self.send(request)
        response = self.read_response()
        if response.status != 101:
            raise AssertionError(f"upgrade refused: {response.status} {response.body}")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if response.fields["sec-websocket-accept"] != accept:
            raise AssertionError("wrong Sec-WebSocket-Accept")
        self.welcome = self.read_json()
        if self.welcome["op"] != "welcome":
            raise AssertionError(f"no welcome but {self.welcome}")
        return response

    def read_frame(self):
        """(opcode, payload) of the next frame; raises EOFError at the end of the stream."""
        while (taken := take_frame(self.received)) is None:
            if not self._receive():
                raise EOFError(f"the stream ended after {len(self.received)} bytes of a frame")
        first, payload, end = taken
        self.received = self.received[end:]
        return opcode_of(first), payload

    def read_json(self):
        """The next text frame; pings are answered on the way."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == TEXT:
                return json.loads(payload)
            elif opcode == CLOSE:
                raise EOFError(f"closed: {payload!r}")

    def read_op(self, op):
        """The next message with that op; what comes before is skipped."""
        while True:
            message = self.read_json()
            if message["op"] == op:
                return message

    def read_close(self):
        """(code, reason) of the Close frame, whatever comes before; checks that FIN follows."""
        while True:
            opcode, payload = self.read_frame()
            if opcode != CLOSE:
                continue
            code = struct.unpack("!H", payload[:2])[0] if payload else 1005
            return code, payload[2:].decode()

    def read_to_end(self):
        """Discards until the broker ends the stream; a reset raises ConnectionResetError."""
        while self._receive():
            self.received = b""


def random_bytes(generator, count):
    return bytes(generator.getrandbits(8) for _ in range(count))
