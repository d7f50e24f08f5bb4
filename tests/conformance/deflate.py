"""permessage-deflate as a client sees it (RFC 7692): reading what the server answered to an offer,
and compressing and inflating messages by what was agreed.
"""

import re
import zlib
from typing import Dict, List, NamedTuple, Optional, Tuple

from harness import Failure, shown

TAIL = b"\x00\x00\xff\xff"  # §7.2.1: taken off by the sender, put back by the receiver
WINDOW_BYTES_MAX = 1 << 15
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
PARAMETER = re.compile(rf'\s*;\s*({TOKEN})(?:\s*=\s*(?:({TOKEN})|"((?:[^"\\]|\\.)*)"))?\s*')
NAME = re.compile(rf"\s*({TOKEN})\s*")
BITS = re.compile(r"[89]|1[0-5]")  # §7.1.2: 8 to 15, without leading zeros
FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
WINDOWS = ("server_max_window_bits", "client_max_window_bits")

Extension = Tuple[str, List[Tuple[str, Optional[str]]]]


def parse(value: str) -> Optional[List[Extension]]:
    """The elements of Sec-WebSocket-Extensions (RFC 6455 §9.1); None if it breaks the grammar."""
    elements: List[Extension] = []
    at = 0
    while True:
        name = NAME.match(value, at)
        if name is None:
            return None
        at = name.end()
        parameters: List[Tuple[str, Optional[str]]] = []
        while True:
            found = PARAMETER.match(value, at)
            if found is None:
                break
            content = found.group(2)
            if found.group(3) is not None:
                content = re.sub(r"\\(.)", r"\1", found.group(3))
                if not re.fullmatch(TOKEN, content):
                    return None  # §9.1: a quoted value must be a token once it is unquoted
            parameters.append((found.group(1), content))
            at = found.end()
        elements.append((name.group(1), parameters))
        if at == len(value):
            return elements
        if value[at] != ",":
            return None
        at += 1


def is_legal_offer(element: Extension) -> bool:
    """Whether a server may accept it (§7.1)."""
    name, parameters = element
    seen = [parameter for parameter, _ in parameters]
    if name != "permessage-deflate" or len(set(seen)) != len(seen):
        return False
    for parameter, value in parameters:
        if parameter in FLAGS:
            if value is not None:
                return False
        elif parameter in WINDOWS:
            if value is None and parameter == "client_max_window_bits":
                continue
            if value is None or not BITS.fullmatch(value):
                return False
        else:
            return False
    return True


class Parameters(NamedTuple):
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


def answers(answer: Dict[str, Optional[str]], offer: Dict[str, Optional[str]]) -> Optional[str]:
    """What makes the answer wrong for that offer (§7.1.1, §7.1.2); None if it is right."""
    if "server_no_context_takeover" in offer and "server_no_context_takeover" not in answer:
        return "server_no_context_takeover was asked for and is missing"
    if "server_max_window_bits" in offer:
        if "server_max_window_bits" not in answer:
            return "server_max_window_bits was asked for and is missing"
        if int(answer["server_max_window_bits"] or 0) > int(offer["server_max_window_bits"] or 0):
            return "server_max_window_bits is larger than asked for"
    if "client_max_window_bits" in answer:
        if "client_max_window_bits" not in offer:
            return "client_max_window_bits was not offered"
        most = int(offer["client_max_window_bits"] or 15)
        if int(answer["client_max_window_bits"] or 0) > most:
            return "client_max_window_bits is larger than offered"
    return None


def agreed(values: List[str], offered: str) -> Optional["Deflate"]:
    """Checks the server's Sec-WebSocket-Extensions against the offer; None if it declined."""
    if not values:
        return None
    answer = parse(", ".join(values))
    if answer is None or len(answer) != 1 or answer[0][0] != "permessage-deflate":
        raise Failure("one permessage-deflate in the answer", repr(values))
    parameters = dict(answer[0][1])
    for name, value in answer[0][1]:
        # In an answer every window has its size (§7.1.2.2: the bare form is for offers).
        is_good = (name in FLAGS and value is None or
                   name in WINDOWS and value is not None and BITS.fullmatch(value))
        if not is_good or len(parameters) != len(answer[0][1]):
            raise Failure("known parameters, once each, with legal values", repr(values))
    offers = [element for element in parse(offered) or [] if is_legal_offer(element)]
    if not offers:
        raise Failure(f"that {offered!r} is declined", repr(values))
    reasons = [answers(parameters, dict(element[1])) for element in offers]
    if all(reason is not None for reason in reasons):
        raise Failure(f"an answer to {offered!r}", f"{values!r}: {reasons[0]}")
    return Deflate(Parameters(
        "server_no_context_takeover" in parameters, "client_no_context_takeover" in parameters,
        int(parameters.get("server_max_window_bits") or 15),
        int(parameters.get("client_max_window_bits") or 15)))


class Deflate:
    """One connection's state: the window of each direction, as far as it is kept."""

    def __init__(self, parameters: Parameters):
        self.parameters = parameters
        self._compressor: Optional["zlib._Compress"] = None
        self._window = b""  # the end of what the server sent, if it may refer to it

    def compress(self, payload: bytes, level: int = 6,
                 strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
        """A message as this client may send it."""
        if self._compressor is None or self.parameters.client_no_context_takeover:
            self._compressor = zlib.compressobj(level, zlib.DEFLATED,
                                                -max(9, self.parameters.client_max_window_bits),
                                                8, strategy)
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data[:-len(TAIL)] if data.endswith(TAIL) else b"\0"

    def decompress(self, payload: bytes) -> bytes:
        """A message of the server. What lies outside of the agreed window cannot be found there."""
        window_bytes = 1 << self.parameters.server_max_window_bits
        window = b"" if self.parameters.server_no_context_takeover else self._window
        out = bytearray()
        rest = payload + TAIL
        try:
            while rest:
                known = (window + bytes(out[-window_bytes:]))[-window_bytes:]
                inflater = zlib.decompressobj(-self.parameters.server_max_window_bits,
                                              **({"zdict": known} if known else {}))
                out += inflater.decompress(rest)
                # A block with BFINAL ends zlib's stream, but not the message (§7.2.3.4).
                rest = inflater.unused_data
        except zlib.error as error:
            raise Failure("deflate data within the agreed window", f"{error}: {shown(payload)}"
                          ) from None
        self._window = (window + bytes(out[-WINDOW_BYTES_MAX:]))[-window_bytes:]
        return bytes(out)
