"""Sequences that a UTF-8 decoder must accept, and such that it must refuse (RFC 3629; the
well-formed sequences are those of Unicode's table 3-7).
"""

from typing import Dict, Optional

CONTINUATION = range(0x80, 0xC0)
# The leads whose second byte has a narrower range: else it would be overlong, a surrogate, or
# beyond U+10FFFF.
SECOND = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0),
          0xF4: range(0x80, 0x90)}


def length_of(lead: int) -> int:
    """The length of the sequence that the byte begins; 0 if it begins none."""
    if lead < 0x80:
        return 1
    if lead < 0xC2 or lead > 0xF4:
        return 0
    return 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def impossible_at(data: bytes) -> Optional[int]:
    """The index of the first byte with which no valid text can go on; None if there is none, and
    the data is at worst incomplete.
    """
    at = 0
    while at < len(data):
        length = length_of(data[at])
        if length == 0:
            return at
        for index in range(at + 1, min(at + length, len(data))):
            allowed = SECOND.get(data[at], CONTINUATION) if index == at + 1 else CONTINUATION
            if data[index] not in allowed:
                return index
        at += length
    return None


def points(*codes: int) -> bytes:
    return "".join(map(chr, codes)).encode()


def surrogate(code: int) -> bytes:
    """The three bytes that a naive encoder makes of it."""
    return bytes([0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F])


BORDERS = [0x00, 0x01, 0x1F, 0x20, 0x7E, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x7FE, 0x7FF, 0x800, 0x801,
           0xFFF, 0x1000, 0xCFFF, 0xD000, 0xD7FE, 0xD7FF, 0xE000, 0xE001, 0xFEFF, 0xFFFD, 0xFFFE,
           0xFFFF, 0x10000, 0x10001, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFE, 0x10FFFF]

VALID: Dict[str, bytes] = {
    "empty": b"",
    "all of ASCII": bytes(range(128)),
    "one of each length": "aß€𐍈".encode(),
    "one of each length, backwards": "𐍈€ßa".encode(),
    "Greek": "Ζεὺς δ᾽ ἐκ τοῦ οὐρανοῦ".encode(),
    "Cyrillic": "Съешь же ещё этих мягких булок".encode(),
    "Hebrew with points": "שָׁלוֹם".encode(),
    "Arabic": "مرحبا بالعالم".encode(),
    "Devanagari": "नमस्ते दुनिया".encode(),
    "Thai": "สวัสดีชาวโลก".encode(),
    "Chinese and Japanese": "漢字かな交じり文".encode(),
    "Hangul": "안녕하세요".encode(),
    "emoji joined": "👩‍👩‍👧‍👦🏳️‍🌈".encode(),
    "combining marks": points(*([0x5A] + [0x0300 + n for n in range(0x30)])),
    "byte order mark": points(0xFEFF, 0x61),
    "replacement character": points(0xFFFD),
    "noncharacters of the first plane": points(*range(0xFDD0, 0xFDF0)),
    "last two of every plane": points(*(plane << 16 | low for plane in range(17)
                                        for low in (0xFFFE, 0xFFFF))),
    "private use": points(0xE000, 0xF8FF, 0xF0000, 0x10FFFD),
    "controls": bytes(range(32)) + points(*range(0x80, 0xA0)),
    "border after border": points(*BORDERS),
    **{f"U+{code:04X}": points(code) for code in BORDERS},
}

TRUNCATED = {"1 of 2": b"\xc3", "1 of 3": b"\xe2", "2 of 3": b"\xe2\x82",
             "2 of 3, overlong border": b"\xe0\xa0", "2 of 3, surrogate border": b"\xed\x9f",
             "1 of 4": b"\xf1", "2 of 4": b"\xf0\x90",
             "3 of 4": b"\xf0\x90\x8d", "3 of 4, the end of Unicode": b"\xf4\x8f\xbf"}
OVERLONG = {"/ in 2": b"\xc0\xaf", "/ in 3": b"\xe0\x80\xaf", "/ in 4": b"\xf0\x80\x80\xaf",
            "/ in 5": b"\xf8\x80\x80\x80\xaf", "/ in 6": b"\xfc\x80\x80\x80\x80\xaf",
            "largest in 2": b"\xc1\xbf", "largest in 3": b"\xe0\x9f\xbf",
            "largest in 4": b"\xf0\x8f\xbf\xbf", "largest in 5": b"\xf8\x87\xbf\xbf\xbf",
            "largest in 6": b"\xfc\x83\xbf\xbf\xbf\xbf",
            "NUL in 2": b"\xc0\x80", "NUL in 3": b"\xe0\x80\x80", "NUL in 4": b"\xf0\x80\x80\x80"}
SURROGATES = {f"{code:04X}": surrogate(code)
              for code in (0xD800, 0xD801, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDC01, 0xDF80, 0xDFFF)}
PAIRS = {f"{high:04X} {low:04X}": surrogate(high) + surrogate(low)
         for high in (0xD800, 0xDB7F, 0xDBFF) for low in (0xDC00, 0xDFFF)}
BEYOND = {"U+110000": b"\xf4\x90\x80\x80", "last of lead F4": b"\xf4\xbf\xbf\xbf",
          "U+140000": b"\xf5\x80\x80\x80", "U+1FFFFF": b"\xf7\xbf\xbf\xbf",
          "5 bytes": b"\xf8\x88\x80\x80\x80", "6 bytes": b"\xfc\x84\x80\x80\x80\x80"}

INVALID: Dict[str, bytes] = {
    **{f"lone continuation {byte:02X}": bytes([byte])
       for byte in (0x80, 0x81, 0x9F, 0xA0, 0xBE, 0xBF)},
    **{f"{count} lone continuations": (b"\x80\xbf" * 4)[:count] for count in range(2, 8)},
    "all continuations": bytes(range(0x80, 0xC0)),
    **{f"lead {byte:02X} and a space": bytes([byte, 0x20]) for byte in range(0xC0, 0x100)},
    **{f"truncated, {name}, then a letter": data + b"a" for name, data in TRUNCATED.items()},
    "all truncated in a row": b"".join(TRUNCATED.values()),
    **{f"overlong {name}": data for name, data in OVERLONG.items()},
    **{f"surrogate {name}": data for name, data in SURROGATES.items()},
    **{f"surrogates {name}": data for name, data in PAIRS.items()},
    **{f"beyond Unicode, {name}": data for name, data in BEYOND.items()},
    "one continuation too many": "ß".encode() + b"\x80",
    "Latin-1": "déjà vu".encode("latin-1"),
    "UTF-16 with its mark": "\ufeffhi".encode("utf-16-be"),
    "UTF-16 backwards": "\ufeffhi".encode("utf-16-le"),
    "FE FE FF FF": b"\xfe\xfe\xff\xff",
}
