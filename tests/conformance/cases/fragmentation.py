"""Fragmentation (RFC 6455 §5.4): in every order of frames, and in every size."""

from typing import Iterator, List, NamedTuple, Tuple

from cases.framing import letters, noise
from harness import case
from wire import (BINARY, CLOSE, CONTINUATION, PING, TEXT, Event, binary, close_payload, cut,
                  fragments, frame, pong, text)

ORDER_FRAMES_MAX = 4


class Kind(NamedTuple):
    opcode: int
    fin: bool


KINDS = {"T": Kind(TEXT, True), "t": Kind(TEXT, False), "B": Kind(BINARY, True),
         "b": Kind(BINARY, False), "C": Kind(CONTINUATION, True), "c": Kind(CONTINUATION, False),
         "P": Kind(PING, True), "X": Kind(CLOSE, True)}


class Model:
    """What RFC 6455 §5.4 says about a sequence of frames, one frame at a time."""

    def __init__(self):
        self.begun = ""  # the letter of the message's first frame
        self.parts = b""
        self.events: List[Event] = []
        self.code = 0  # of the Close that ends it; 0: it goes on

    def take(self, letter: str, payload: bytes) -> None:
        if letter == "P":
            self.events.append(pong(payload))
        elif letter == "X":
            self.code = 1000
        elif (letter in "Cc") != bool(self.begun):
            self.code = 1002
        else:
            self.begun = self.begun or letter.lower()
            self.parts += payload
            if letter.isupper():
                self.events.append(Event("text" if self.begun == "t" else "binary", self.parts))
                self.begun, self.parts = "", b""


def model_of(order: str) -> Tuple[Model, List[bytes]]:
    model, frames = Model(), []
    for index, letter in enumerate(order):
        payload = close_payload(1000) if letter == "X" else f"{letter}{index}".encode()
        frames.append(frame(KINDS[letter].opcode, payload, KINDS[letter].fin))
        model.take(letter, payload)
    return model, frames


def orders(begin: str) -> Iterator[str]:
    """All that begin so, up to the frame that ends the connection or to the greatest length."""
    if model_of(begin)[0].code or len(begin) == ORDER_FRAMES_MAX:
        yield begin
        return
    for letter in KINDS:
        yield from orders(begin + letter)


@case("RFC 6455 §5.4", each=[first + second for first in KINDS for second in KINDS
                             if not model_of(first)[0].code])
def every_order_that_begins_with(server, begin):
    for order in orders(begin):
        model, frames = model_of(order)
        with server.connect() as client:
            client.send(*frames).expect(*model.events)
            if model.code:
                client.expect_close(model.code)
            else:
                client.send(frame(CLOSE)).expect_close(None)


@case("RFC 6455 §5.4", each=["C", "c", "X"])
def every_order_that_ends_at_once(server, begin):
    model, frames = model_of(begin)
    with server.connect() as client:
        client.send(*frames)
        client.expect_close(model.code)


@case("RFC 6455 §5.4", each=[1, 2, 3, 4, 5, 7, 16, 63, 64, 65, 125, 126, 127, 999, 1000])
def text_in_fragments_of(server, size):
    frames = fragments(TEXT, cut(letters(1000), size))
    with server.connect() as client:
        client.send(*frames).expect_text(letters(1000))
        client.send_pieces(frames, 0).expect_text(letters(1000))


@case("RFC 6455 §5.4", each=[1, 2, 3, 5, 64, 125, 126])
def binary_in_fragments_of(server, size):
    frames = fragments(BINARY, cut(noise(1000), size))
    with server.connect() as client:
        client.send(*frames).expect_binary(noise(1000))
        client.send_pieces(frames, 0).expect_binary(noise(1000))


@case("RFC 6455 §5.4", each=[1, 2, 3, 5, 7, 11])
def fragments_chopped_across_their_borders(server, size):
    data = b"".join(fragments(TEXT, cut(letters(200), 9)))
    with server.connect() as client:
        client.send_chopped(data, size).expect_text(letters(200))


@case("RFC 6455 §5.4", each={"text": TEXT, "binary": BINARY})
def empty_fragments(server, opcode):
    make = text if opcode == TEXT else binary
    with server.connect() as client:
        for pieces in ([b"", b""], [b"", b"", b""], [b"a", b""], [b"", b"a"],
                       [b"", b"a", b"", b"b", b""], [b""] * 500, [b""] * 500 + [b"end"]):
            client.send(*fragments(opcode, pieces)).expect(make(b"".join(pieces)))


@case("RFC 6455 §5.4", each={"one write": 0, "byte by byte": 1})
def messages_in_fragments_one_after_another(server, size):
    messages = [f"message {index}".encode() * index for index in range(12)]
    data = b"".join(b"".join(fragments(TEXT, cut(one, 5))) for one in messages)
    with server.connect() as client:
        client.send_chopped(data, size or len(data)).expect(*(text(one) for one in messages))


@case("RFC 6455 §5.4", each={"whole": True, "begun": False})
def continuation_after_a_message_that_ended(server, fin):
    with server.connect() as client:
        client.send(*fragments(TEXT, [b"all ", b"of it"]), frame(CONTINUATION, "more", fin=fin))
        client.expect_text("all of it")
        client.expect_close(1002)


@case("RFC 6455 §5.4", each={"one write": 0, "byte by byte": 1})
def new_message_inside_a_message(server, size):
    data = b"".join([frame(TEXT, "before"), frame(TEXT, "begun", fin=False),
                     frame(CONTINUATION, "", fin=False), frame(TEXT, "another")])
    with server.connect() as client:
        client.send_chopped(data, size or len(data)).expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.4")
def only_the_first_byte_of_a_wrong_continuation(server):
    with server.connect() as client:
        client.send(frame(TEXT, "before"), frame(CONTINUATION, "x")[:1]).expect_text("before")
        client.expect_close(1002)


@case("RFC 6455 §5.4")
def a_message_is_not_answered_before_its_end(server):
    with server.connect() as client:
        client.send(frame(TEXT, "not ", fin=False), frame(PING, "1")).expect_pong(b"1")
        client.send(frame(CONTINUATION, "yet", fin=False), frame(PING, "2")).expect_pong(b"2")
        client.send(frame(CONTINUATION, "")).expect_text("not yet")
