#!/usr/bin/python3
"""A small, slow echo server that is correct, unless it is told one thing to do wrong.

    model_server.py [FLAW]        prints its port; --list prints the flaws

The suite is tested with it: the correct server must pass, and for each flaw at least one case must
fail (selftest.py). It knows nothing of the client's code but the negotiation's grammar.
"""

import base64
import codecs
import hashlib
import re
import socket
import struct
import sys
import threading
import zlib

sys.dont_write_bytecode = True
import deflate  # noqa: E402

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LIMIT_BYTES = 64 << 20
HEAD_BYTES_MAX = 8192
TOKEN = re.compile(deflate.TOKEN)

FLAWS = {
    "any_method": "upgrades whatever the method",
    "any_http_version": "upgrades HTTP/1.0",
    "any_version": "takes every Sec-WebSocket-Version",
    "version_unnamed": "does not say which version it knows",
    "any_key": "takes every Sec-WebSocket-Key",
    "connection_exact": "knows only one spelling of Connection",
    "no_host_needed": "does without Host",
    "wrong_accept": "answers the key with something else",
    "protocol_invented": "chooses a subprotocol that was not offered",
    "extension_invented": "answers with an extension that was not offered",
    "head_rest_lost": "forgets the bytes behind the handshake",
    "unmasked_taken": "takes frames without a mask",
    "masks_itself": "masks its own frames",
    "long_lengths_sent": "always sends 64-bit lengths",
    "not_minimal_taken": "takes lengths in longer encodings",
    "high_bit_taken": "takes lengths of 64 bits for too big only",
    "mask_phase_lost": "unmasks the second half of a payload with the wrong byte of the key",
    "rsv_ignored": "ignores reserved bits",
    "opcode_ignored": "ignores frames with reserved opcodes",
    "queue_dropped": "drops its last answer when it fails",
    "fragments_apart": "echoes fragments as messages",
    "continuation_taken": "takes a continuation for a message",
    "interleaved_taken": "takes a new message inside a message",
    "control_fragmented_taken": "takes fragmented control frames",
    "control_long_taken": "takes long control frames",
    "ping_ignored": "answers no ping inside a message",
    "pong_empty": "answers pings without their payload",
    "pong_answered": "answers pongs",
    "utf8_unchecked": "takes any bytes for text",
    "utf8_late": "checks text at the message's end",
    "utf8_early": "checks each fragment alone",
    "surrogates_taken": "takes surrogates in text",
    "noncharacters_refused": "refuses U+FFFF",
    "binary_checked": "wants UTF-8 in binary messages",
    "close_short_taken": "takes a Close of one byte",
    "close_code_any": "takes every close code",
    "close_code_few": "refuses codes from 3000 on",
    "close_code_fixed": "answers every Close with 1000",
    "close_reason_unchecked": "takes any bytes for a reason",
    "close_unanswered": "ends without answering the Close",
    "close_twice": "sends a second Close",
    "close_lingers": "leaves the connection to the client after the Close",
    "close_not_last": "answers a ping after the Close",
    "no_limit": "takes every length for good",
    "limit_per_frame": "counts each fragment alone",
    "deflate_bad_offer": "takes parameters that it does not know",
    "deflate_flag_forgotten": "does not confirm server_no_context_takeover",
    "deflate_window_forgotten": "does not confirm server_max_window_bits",
    "deflate_window_ignored": "compresses with a larger window than agreed",
    "deflate_context_kept": "compresses with the window that it agreed to forget",
    "deflate_context_lost": "forgets the client's window although it may be used",
    "deflate_rsv1_anywhere": "ignores RSV1 on continuations and control frames",
    "deflate_final_stops": "stops at the first block with BFINAL",
    "deflate_short_taken": "takes a message that ends inside a block",
    "deflate_garbage_taken": "takes for empty what it cannot inflate",
    "deflate_no_limit": "inflates without a limit",
    "deflate_plain_forgotten": "inflates also what is not compressed",
    "deflate_malformed_taken": "ignores an extension field that breaks the grammar",
    "deflate_utf8_unchecked": "takes any bytes for compressed text",
    "deflate_never": "agrees on compression and never compresses",
}


def unmask(payload, key):
    stream = (key * (len(payload) // 4 + 1))[:len(payload)]
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return plain.to_bytes(len(payload), "big")


class Refused(Exception):
    def __init__(self, status, fields=""):
        super().__init__(status)
        self.status = status
        self.fields = fields


class Broken(Exception):
    """The client broke a rule; the code of the Close that says so."""
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Ended(Exception):
    pass


class Connection:
    def __init__(self, accepted, flaw):
        self.socket = accepted
        self.flaw = flaw
        self.received = bytearray()
        self.pending = b""  # an answer that the flaw "queue_dropped" still holds back
        self.deflate = None
        self.kept_window = b""
        self.compressor = None

    def serve(self):
        try:
            if self.handshake():
                try:
                    self.frames()
                except Broken as broken:
                    if self.flaw == "queue_dropped":
                        self.pending = b""
                    self.close(struct.pack("!H", broken.code) + b"a rule was broken")
        except (Ended, OSError):
            pass
        finally:
            self.socket.close()

    # Bytes.

    def take(self, count):
        while len(self.received) < count:
            data = self.socket.recv(1 << 18)
            if not data:
                raise Ended
            self.received += data
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def take_some(self, most):
        taken = self.take(1)
        more = min(most - 1, len(self.received))
        return taken + self.take(more)

    def write(self, data):
        if self.flaw == "queue_dropped":
            data, self.pending = self.pending, data
        self.socket.sendall(data)

    def flush(self):
        self.socket.sendall(self.pending)
        self.pending = b""

    def linger(self):
        self.socket.shutdown(socket.SHUT_WR)
        self.socket.settimeout(5)
        while self.socket.recv(1 << 18):
            pass

    # The handshake.

    def handshake(self):
        while True:
            try:
                head = self.read_head()
                answer = self.answer(head)
            except Refused as refused:
                body = b"no\n"
                head = (f"HTTP/1.1 {refused.status} No\r\nContent-Length: {len(body)}\r\n"
                        f"{refused.fields}Connection: close\r\n\r\n")
                self.socket.sendall(head.encode() + body)
                if refused.status != 404:
                    self.linger()
                    return False
                continue
            self.socket.sendall(answer)
            if self.flaw == "head_rest_lost":
                self.received.clear()
            return True

    def read_head(self):
        while b"\r\n\r\n" not in self.received:
            begin = self.received.split(b"\r\n")[0]
            if not re.fullmatch(rb"[!-~]{0,32}( [!-~]*( [!-~]*\r?)?)?", begin):
                raise Refused(400)
            if re.search(rb"(^|[^\r])\n", self.received):
                raise Refused(400)
            if len(self.received) > HEAD_BYTES_MAX:
                raise Refused(431)
            data = self.socket.recv(1 << 16)
            if not data:
                raise Ended
            self.received += data
        at = self.received.index(b"\r\n\r\n")
        head = self.take(at + 4)[:-4]
        if len(head) > HEAD_BYTES_MAX:
            raise Refused(431)
        return head.decode("latin-1")

    def answer(self, head):
        if "\n" in head.replace("\r\n", "") or "\r" in head.replace("\r\n", "") or "\0" in head:
            raise Refused(400)
        line, *lines = head.split("\r\n")
        match = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-\"$-~]+) (HTTP/\d\.\d)", line)
        if match is None:
            raise Refused(400)
        method, target, version = match.groups()
        if version != "HTTP/1.1" and self.flaw != "any_http_version":
            raise Refused(505)
        target = re.sub(r"^http://[^/]*", "", target)
        if not target.startswith("/"):
            raise Refused(400)
        fields = {}
        for field in lines:
            name, colon, value = field.partition(":")
            if not colon or not TOKEN.fullmatch(name):
                raise Refused(400)
            fields.setdefault(name.lower(), []).append(value.strip(" \t"))
        self.check_host(fields)
        if target.partition("?")[0] != "/echo":
            raise Refused(404)
        return self.upgrade(method, fields)

    def check_host(self, fields):
        hosts = fields.get("host", [])
        is_good = len(hosts) == 1 and re.fullmatch(r"[\w.-]+(:\d*)?", hosts[0])
        if not is_good and self.flaw != "no_host_needed":
            raise Refused(400)
        for origin in fields.get("origin", []):
            if origin != f"http://{hosts[0]}":
                raise Refused(403)

    def upgrade(self, method, fields):
        def tokens(name):
            return [one.strip().lower() for value in fields.get(name, [])
                    for one in value.split(",")]

        if method != "GET" and self.flaw != "any_method":
            raise Refused(405)
        if "transfer-encoding" in fields:
            raise Refused(501)
        if "upgrade" not in fields and "sec-websocket-key" not in fields:
            raise Refused(426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        connection = fields.get("connection") == ["Upgrade"] if self.flaw == "connection_exact" \
            else "upgrade" in tokens("connection")
        if "websocket" not in tokens("upgrade") or not connection or "content-length" in fields:
            raise Refused(400)
        versions = fields.get("sec-websocket-version", [])
        if len(versions) != 1:
            raise Refused(400)
        if versions != ["13"] and self.flaw != "any_version":
            is_named = self.flaw != "version_unnamed"
            raise Refused(426, "Sec-WebSocket-Version: 13\r\n" if is_named else "")
        keys = fields.get("sec-websocket-key", [])
        is_key = len(keys) == 1 and re.fullmatch(r"[A-Za-z0-9+/]{21}[AQgw]==", keys[0])
        if not is_key and self.flaw != "any_key":
            raise Refused(400)
        key = "".join(keys[:1]).encode("latin-1") + b"x" * (self.flaw == "wrong_accept")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        return (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n"
                f"{self.subprotocol(fields)}{self.extension(fields)}\r\n").encode()

    def subprotocol(self, fields):
        offers = [one.strip() for value in fields.get("sec-websocket-protocol", [])
                  for one in value.split(",")]
        if not offers:
            return ""
        if not all(TOKEN.fullmatch(one) for one in offers):
            raise Refused(400)
        chosen = "invented" if self.flaw == "protocol_invented" else offers[0]
        return f"Sec-WebSocket-Protocol: {chosen}\r\n"

    def extension(self, fields):
        if "sec-websocket-extensions" not in fields:
            return "Sec-WebSocket-Extensions: x\r\n" if self.flaw == "extension_invented" else ""
        elements = deflate.parse(", ".join(fields["sec-websocket-extensions"]))
        if elements is None:
            if self.flaw == "deflate_malformed_taken":
                return ""
            raise Refused(400)
        for element in elements:
            name, parameters = element
            known = dict(parameters)
            if name != "permessage-deflate" or known.get("server_max_window_bits") == "8":
                continue
            if not deflate.is_legal_offer(element) and self.flaw != "deflate_bad_offer":
                continue
            return self.agree(known)
        return ""

    def agree(self, known):
        answer = ["permessage-deflate"]
        forgets = "server_no_context_takeover" in known
        window = known.get("server_max_window_bits") or ""
        bits = int(window) if re.fullmatch(r"9|1[0-5]", window) else 15
        if forgets and self.flaw != "deflate_flag_forgotten":
            answer.append("server_no_context_takeover")
        if "server_max_window_bits" in known and self.flaw != "deflate_window_forgotten":
            answer.append(f"server_max_window_bits={bits}")
        client_forgets = "client_no_context_takeover" in known
        if client_forgets:
            answer.append("client_no_context_takeover")
        self.deflate = deflate.Parameters(forgets, client_forgets, bits, 15)
        return f"Sec-WebSocket-Extensions: {'; '.join(answer)}\r\n"

    # Frames.

    def frames(self):
        opcode, is_compressed, message = 0, False, bytearray()
        decoder = None
        while True:
            fin, rsv, code, size, key = self.read_header(opcode, len(message))
            if code >= 8:
                if self.control(code, fin, size, key, bool(opcode)):
                    return
                continue
            if code in (1, 2):
                opcode, message = code, bytearray()
                is_compressed = bool(rsv & 4) or self.flaw == "deflate_plain_forgotten"
                decoder = codecs.getincrementaldecoder("utf-8")("strict")
            elif code != 0:
                self.payload(size, key)
                continue
            elif not opcode:
                opcode, message = 1, bytearray()
                decoder = codecs.getincrementaldecoder("utf-8")("strict")
            is_checked = opcode == 1 or self.flaw == "binary_checked"
            is_text = is_checked and not (is_compressed and self.deflate)
            message += self.payload(size, key, decoder if is_text else None, fin)
            if fin or self.flaw == "fragments_apart":
                self.echo(opcode, bytes(message), is_compressed)
                message = bytearray()
                opcode = 0 if fin else opcode

    def read_header(self, opcode, message_bytes):
        first = self.take(1)[0]
        fin, rsv, code = bool(first & 0x80), first >> 4 & 7, first & 15
        may_compress = self.deflate and (code in (1, 2) or self.flaw == "deflate_rsv1_anywhere")
        if rsv & (3 if may_compress else 7) and self.flaw != "rsv_ignored":
            raise Broken(1002)
        if (3 <= code < 8 or code > 10) and self.flaw != "opcode_ignored":
            raise Broken(1002)
        if code >= 8 and not fin and self.flaw != "control_fragmented_taken":
            raise Broken(1002)
        if code == 0 and not opcode and self.flaw != "continuation_taken":
            raise Broken(1002)
        if code in (1, 2) and opcode and self.flaw != "interleaved_taken":
            raise Broken(1002)
        second = self.take(1)[0]
        if not second & 0x80 and self.flaw != "unmasked_taken":
            raise Broken(1002)
        size = second & 0x7F
        if code >= 8 and size > 125 and self.flaw != "control_long_taken":
            raise Broken(1002)
        if code == 8 and size == 1 and self.flaw != "close_short_taken":
            raise Broken(1002)
        if size >= 126:
            least = 126 if size == 126 else 65536
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
            if size >> 63:
                raise Broken(1009 if self.flaw == "high_bit_taken" else 1002)
            if size < least and self.flaw != "not_minimal_taken":
                raise Broken(1002)
        before = 0 if self.flaw == "limit_per_frame" or code not in (0, 8) else message_bytes
        if code < 8 and before + size > LIMIT_BYTES and self.flaw != "no_limit":
            raise Broken(1009)
        return fin, rsv, code, size, self.take(4) if second & 0x80 else bytes(4)

    def payload(self, size, key, decoder=None, is_last=False):
        """Unmasked and, with a decoder, checked as it arrives."""
        whole = b""
        is_checked_early = decoder and self.flaw not in ("utf8_late", "utf8_unchecked")
        while len(whole) < size:
            at = len(whole) % 4
            piece = self.take_some(size - len(whole))
            if self.flaw == "mask_phase_lost":
                at = 0
            piece = unmask(piece, key[at:] + key[:at])
            whole += piece
            if is_checked_early:
                self.check_text(decoder, piece, False)
        if decoder and self.flaw == "utf8_late" and is_last:
            self.check_text(decoder, whole, True)
        if is_checked_early and (is_last or self.flaw == "utf8_early"):
            self.check_text(decoder, b"", True)
        return whole

    def check_text(self, decoder, piece, is_last):
        if self.flaw == "surrogates_taken":
            piece = re.sub(rb"\xed[\xa0-\xbf].", b"?", piece, flags=re.S)
        try:
            text = decoder.decode(piece, is_last)
        except UnicodeDecodeError:
            raise Broken(1007) from None
        # Python waits for the third byte of a surrogate, although the second shows it.
        waiting = decoder.getstate()[0]
        if waiting[:1] == b"\xed" and waiting[1:2] >= b"\xa0" and self.flaw != "surrogates_taken":
            raise Broken(1007)
        if self.flaw == "noncharacters_refused" and "\uffff" in text:
            raise Broken(1007)

    def control(self, code, fin, size, key, is_inside):
        """True when the connection is over."""
        if code == 8:
            self.closed(size, key)
            return True
        payload = self.payload(size, key)
        if code == 9 and not (is_inside and self.flaw == "ping_ignored"):
            self.send(10, b"" if self.flaw == "pong_empty" else payload)
        elif code == 10 and self.flaw == "pong_answered":
            self.send(10, payload)
        return False

    def closed(self, size, key):
        payload = b""
        reason = codecs.getincrementaldecoder("utf-8")("strict")
        if size >= 2:
            payload = self.payload(2, key)
            self.check_code(struct.unpack("!H", payload)[0])
            turned = key[2:] + key[:2]
            decoder = None if self.flaw == "close_reason_unchecked" else reason
            self.payload(size - 2, turned, decoder, True)
        elif size == 1:
            self.payload(1, key)
        if self.flaw == "close_code_fixed":
            payload = struct.pack("!H", 1000)
        if self.flaw != "close_unanswered":
            self.close(payload)

    def check_code(self, code):
        is_good = (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code < 5000
        if self.flaw == "close_code_few":
            is_good = is_good and code < 3000
        if not is_good and self.flaw != "close_code_any":
            raise Broken(1002)

    def close(self, payload):
        self.flush()
        self.send(8, payload)
        if self.flaw == "close_twice":
            self.send(8, payload)
        if self.flaw == "close_not_last":
            self.send(10, b"")
        self.flush()
        if self.flaw == "close_lingers":
            while self.socket.recv(1 << 18):
                pass
        self.linger()

    def send(self, opcode, payload, rsv=0):
        size = len(payload)
        mask = 0x80 if self.flaw == "masks_itself" else 0
        if self.flaw == "long_lengths_sent" or size >= 65536:
            head = struct.pack("!BBQ", 0x80 | rsv << 4 | opcode, mask | 127, size)
        elif size >= 126:
            head = struct.pack("!BBH", 0x80 | rsv << 4 | opcode, mask | 126, size)
        else:
            head = struct.pack("!BB", 0x80 | rsv << 4 | opcode, mask | size)
        self.write(head + (bytes(4) if mask else b"") + payload)

    # Compression.

    def echo(self, opcode, message, is_compressed):
        if is_compressed and self.deflate:
            message = self.inflate(message)
            if opcode == 1 and self.flaw != "deflate_utf8_unchecked":
                decoder = codecs.getincrementaldecoder("utf-8")("strict")
                self.check_text(decoder, message, True)
        if self.deflate is None or len(message) < 100 or self.flaw == "deflate_never":
            self.send(opcode, message)
            return
        bits = 15 if self.flaw == "deflate_window_ignored" else self.deflate.server_max_window_bits
        forgets = self.deflate.server_no_context_takeover and self.flaw != "deflate_context_kept"
        if self.compressor is None or forgets:
            self.compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)
        data = self.compressor.compress(message) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        self.send(opcode, data[:-4], rsv=4)

    def inflate(self, message):
        out = b""
        rest = message + deflate.TAIL
        window = b"" if self.flaw == "deflate_context_lost" else self.kept_window
        limit = 1 << 40 if self.flaw == "deflate_no_limit" else LIMIT_BYTES
        while rest:
            known = (window + out)[-32768:]
            inflater = zlib.decompressobj(-15, zdict=known) if known else zlib.decompressobj(-15)
            try:
                piece = inflater.decompress(rest, limit + 1 - len(out))
            except zlib.error:
                if self.flaw == "deflate_garbage_taken":
                    return b""
                raise Broken(1007) from None
            out += piece
            if len(out) > limit:
                raise Broken(1009)
            if not inflater.eof:
                # Whole blocks end where an empty final block may follow, and nothing else may.
                if not self.is_at_a_border(inflater) and self.flaw != "deflate_short_taken":
                    raise Broken(1007)
                break
            rest = inflater.unused_data
            if self.flaw == "deflate_final_stops":
                break
        if not self.deflate.client_no_context_takeover:
            self.kept_window = (window + out)[-32768:]
        return out

    @staticmethod
    def is_at_a_border(inflater):
        probe = inflater.copy()
        try:
            return probe.decompress(b"\x03\x00") == b"" and probe.eof and not probe.unused_data
        except zlib.error:
            return False


def main():
    flaw = sys.argv[1] if len(sys.argv) > 1 else ""
    if flaw == "--list":
        for name, meaning in FLAWS.items():
            print(f"{name}: {meaning}")
        return 0
    if flaw and flaw not in FLAWS:
        print(f"no such flaw: {flaw}", file=sys.stderr)
        return 2
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    while True:
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(accepted, flaw).serve, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
