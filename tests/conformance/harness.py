"""What a case is, how it is registered, and how it says what was wrong.

A case is a function whose first argument is the server under test. The decorator names the section
of the RFC that it checks; `each` turns one function into a case for every entry of a table:

    @case("RFC 6455 §5.5.2", each={"empty": b"", "longest": bytes(125)})
    def pong_repeats_the_payload(server, payload):
        ...

A case ends well by returning. It must not depend on time: instead of waiting to see whether nothing
comes, it asks for something that comes (a pong, an echo, the end) and looks at what came before.
"""

from typing import Any, Callable, Dict, NamedTuple, Tuple

SHOWN_BYTES_MAX = 48


class Failure(Exception):
    """The server did something else than the RFC, or than it promises."""

    def __init__(self, expected: str, got: str):
        super().__init__(f"expected {expected}, got {got}")


class Skipped(Exception):
    """The case does not apply to this server; the reason is counted and shown."""


class Case(NamedTuple):
    name: str  # module.function[label]
    section: str
    function: Callable[..., None]
    arguments: Tuple[Any, ...]
    is_heavy: bool  # started first, so that the run does not end with one long case
    needs_deflate: bool


CASES: Dict[str, Case] = {}


def case(section: str, each: Any = None, heavy: bool = False, needs_deflate: bool = False):
    """Registers the function, once or for each entry: a dict of label → argument or tuple of
    arguments, or a list of arguments that are their own labels.
    """
    def register(function):
        module = function.__module__.rsplit(".", 1)[-1]
        entries = {"": ()} if each is None else each
        if not isinstance(entries, dict):
            entries = {str(value): value for value in entries}
        for label, value in entries.items():
            name = f"{module}.{function.__name__}" + (f"[{label}]" if label else "")
            arguments = value if isinstance(value, tuple) else (value,)
            if name in CASES:
                raise ValueError(f"two cases are called {name}")
            CASES[name] = Case(name, section, function, arguments, heavy, needs_deflate)
        return function
    return register


def shown(data: Any) -> str:
    """Bytes short enough for one line, with their length."""
    if not isinstance(data, (bytes, bytearray)):
        return repr(data)
    data = bytes(data)
    if len(data) <= SHOWN_BYTES_MAX:
        return f"{data!r}"
    return f"{data[:SHOWN_BYTES_MAX]!r}… ({len(data)} bytes)"


def expect_equal(expected: Any, got: Any, what: str) -> None:
    if expected == got:
        return
    place = ""
    if isinstance(expected, (bytes, bytearray)) and isinstance(got, (bytes, bytearray)):
        same = next((index for index, (left, right) in enumerate(zip(expected, got))
                     if left != right), min(len(expected), len(got)))
        place = f", different from byte {same} on"
    raise Failure(f"{what} {shown(expected)}", f"{shown(got)}{place}")
