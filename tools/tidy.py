#!/usr/bin/python3
"""The house's own linter: what the compiler and clang-format cannot see.

    tools/tidy.py [--root DIR]

Prints one line per finding, `file:line: [rule] what is wrong; what to do instead`, and exits with
1 when there is one. It runs as the test "tidy"; tests/house/tidy_test.py plants every kind of
violation and expects the finding. A rule that must bend somewhere names the place in the tables
below, where a review sees it.
"""

import argparse
import pathlib
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

COLUMNS_MAX = 100
COLUMNS_MAX_SCRIPT = 120  # shell and CMake, whose commands break badly, and Python's tables of cases
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800

# Functions longer than the limit, as "path:name" with their length. A ratchet: an entry may shrink
# and vanish, never grow, and no new one may come without a reason that convinces a reviewer.
LONG_FUNCTIONS: Dict[str, int] = {}

# Which folder may include which. Tests and benchmarks may include anything.
BASE = {"io/base"}
INCLUDES = {
    "io/base": BASE,
    "codec": BASE | {"codec"},
    "topics": BASE | {"topics"},
    "io": BASE | {"io"},
    "io/uring": BASE | {"io", "io/uring"},
    "broker": BASE | {"io", "codec", "topics", "broker"},
    "tools": BASE | {"codec", "topics", "tools"},
    # A program of its own, with a ring of its own.
    "tools/bench": BASE | {"io", "io/uring", "codec", "tools", "tools/bench"},
}
# Where the product is put together: these files know the reactor's implementation and the process.
MAIN_FILES = ("broker/main.cc", "broker/bench_command.", "broker/command_line.", "broker/serve.cc")
MAIN_INCLUDES = {"io/uring", "tools", "tools/bench"}
LIBURING_FOLDERS = {"io/uring"}
LIBURING_FILES = {"bench/floor.cc"}  # it measures the kernel, not our reactor

# What an include may begin with; tests/sim is a library of the tests with a root of its own.
ROOTS = ("io", "codec", "topics", "broker", "tools", "tests", "bench", "sim")
PRODUCT = ("io", "codec", "topics", "broker")
# The only product files that ask the operating system for time, randomness, threads and settings.
OS_FILES = MAIN_FILES + ("io/uring/", "io/listener", "broker/log_writer")
ATOMIC_FILES = OS_FILES + ("io/lane.", "io/mesh.", "broker/metrics.", "broker/gate.",
                           "broker/settings_exchange.")
EXIT_FILES = MAIN_FILES + ("io/base/check.cc",)
OUTPUT_FILES = EXIT_FILES + ("broker/log_writer",)

CPP = {".h", ".cc"}
SCRIPTS = {".py", ".sh", ".cmake", ".js", ".mjs", ".html"}
TEXTS = {".md", ".toml", ".yml", ".yaml", ".json"}
SKIPPED_FOLDERS = {"build", "node_modules", "corpus", "__pycache__", "third_party"}


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


class Banned(NamedTuple):
    rule: str
    pattern: "re.Pattern[str]"
    text: str
    allowed: Tuple[str, ...] = ()  # beginnings of the paths where it is fine


def call(names: str) -> "re.Pattern[str]":
    """Calls of free functions; a member or a function of another namespace may have the name."""
    return re.compile(rf"(?<![\w.:>])(?:std::|::)?(?:{names})\s*\(")


BANNED_IN_PRODUCT = (
    Banned("clock", call("clock_gettime|time|gettimeofday|localtime|gmtime"),
           "product code reads no clock; take the turn's now() as an argument", OS_FILES),
    Banned("clock", re.compile(r"\bchrono::\w+_clock\b"),
           "product code reads no clock; take the turn's now() as an argument", OS_FILES),
    Banned("random", call("rand|srand|random|drand48|getrandom|getentropy"),
           "use the base::Prng you were given, so that a seed reproduces the run", OS_FILES),
    Banned("random", re.compile(r"\brandom_device\b|\bmt19937"),
           "use the base::Prng you were given, so that a seed reproduces the run", OS_FILES),
    Banned("environment", call("getenv|secure_getenv|setenv"),
           "settings come from broker/settings.h; only main reads the environment", OS_FILES),
    Banned("thread", re.compile(r"\bstd::(?:j?thread|async|future|promise)\b|\bpthread_create\b"),
           "main starts the shards' threads; send a record through io/lane.h", OS_FILES),
    Banned("sleep", call("sleep|usleep|nanosleep|sched_yield"),
           "a shard never waits; arm a timer of io/timer_wheel.h", OS_FILES),
    Banned("sleep", re.compile(r"\bstd::this_thread\b"),
           "a shard never waits; arm a timer of io/timer_wheel.h", OS_FILES),
    Banned("lock", re.compile(r"\bstd::(?:\w*mutex|condition_variable\w*|lock_guard|unique_lock|"
                              r"scoped_lock|counting_semaphore|latch|barrier)\b"),
           "shards share nothing; send a record through io/lane.h", OS_FILES),
    Banned("atomic", re.compile(r"\bstd::atomic"),
           "only lanes, sleep flags and metric cells are atomic; use io/lane.h",
           ATOMIC_FILES),
    # With the arguments of the library's functions: a state machine may have an abort(slot).
    Banned("exit", re.compile(r"(?<![\w.>])(?:(?:std)?::)(?:exit|quick_exit|abort|terminate)\s*\(|"
                              r"(?<![\w.:>])(?:_exit\s*\(|exit\s*\(\s*(?:\d|EXIT_)|"
                              r"abort\s*\(\s*\))"),
           "return the error as a value, or CHECK what only a programmer can break", EXIT_FILES),
    Banned("output", call("printf|fprintf|vprintf|puts|fputs|putchar|perror"),
           "libraries print nothing; use broker/log.h or return the text", OUTPUT_FILES),
    Banned("output", re.compile(r"\bstd::(?:cout|cerr|clog)\b"),
           "libraries print nothing; use broker/log.h or return the text", OUTPUT_FILES),
    Banned("assert", call("assert"), "assert vanishes in production; use CHECK or DCHECK"),
    Banned("exception", re.compile(r"\bthrow\b|\btry\s*\{|\bcatch\s*\("),
           "product code reports by values; return an enum", MAIN_FILES),
    Banned("rtti", re.compile(r"\bdynamic_cast\b|\btypeid\b"),
           "make the kind a field and switch on it"),
    Banned("function", re.compile(r"\bstd::function\b"),
           "use a template parameter, or an event that the caller pulls"),
    Banned("shared_ptr", re.compile(r"\bstd::(?:shared_ptr|weak_ptr|make_shared)\b"),
           "name one owner; refer to the object by its base::Slot"),
    Banned("raw_owner", re.compile(r"(?<![\w.])new\s+[A-Za-z_:]|\bdelete\s*\[\]"
                                   r"|(?<!=\s)\bdelete\s+\w"),
           "own by value, by std::unique_ptr or in a base::Slab"),
)
BANNED_IN_ALL_CPP = (
    # Literal suffixes can be had in no other way.
    Banned("using_namespace",
           re.compile(r"\busing\s+namespace\b(?!\s+std::(?:\w+::)*\w*literals;)"),
           "name what you use"),
)
BANNED_IN_TESTS = (
    Banned("random", re.compile(r"\brandom_device\b"), "use base::Prng with a fixed seed"),
    Banned("random", call("rand|srand"), "use base::Prng with a fixed seed"),
)

# Written in halves, so that this file does not find itself.
LEFTOVER_WORDS = ("TO" "DO", "FIX" "ME", "X" "XX", "HA" "CK", "NO" "COMMIT")
LEFTOVER = re.compile(r"\b(?:" + "|".join(LEFTOVER_WORDS) + r")\b")
DEBUG_PRINT = re.compile(r"(?i:\b(?:dbg|debug_print)\s*\()|\bconsole\.debug\(|\bbreak" r"point\(\)")
MERGE_MARKER = re.compile("^(?:<{7} |>{7} |={7}$|[|]{7} )")
PRIVATE_PATH = re.compile("/wo" "rk/|/ro" "ot/|/ho" "me/\\w")
# A comment whose whole text is one statement; examples in headers are indented and not found.
DEAD_CODE = re.compile(
    r"^//\s?(?:return\b[^.]*"
    r"|(?:if|for|while|switch)\s*\(.*\).*"
    r"|#\s*include\b.*"
    r"|[\w:.\[\]>-]+\(.*\)"
    r"|(?:[\w:<>,&*]+\s+){0,3}[\w:.\[\]>-]+\s*[+*/|&^-]?=\s*[^=].*);$"
    r"|^//\s?(?:if|for|while|switch)\s*\(.*\)\s*\{$|^//\s?\}$|^//\s?#\s*include\s+[<\"]")

# "//  1. Text" and the lines below it; clang-format does not know lists when it breaks a long line.
LIST_LINE = re.compile(r"^//  (?:\d+\. |   \S)")
LIST_LINE_ASTRAY = re.compile(r"^//  [^\W\d]")


class Source(NamedTuple):
    path: str
    text: str
    lines: List[str]
    code: List[str]  # the lines without comments, and with strings emptied


def strip_cpp(text: str) -> str:
    """The text with comments and the insides of literals turned into spaces; lines stay lines."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
        r'|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match: "re.Match[str]") -> str:
        found = match.group(0)
        spaces = re.sub(r"[^\n]", " ", found)
        if found.startswith("/"):
            return spaces
        return found[0] + spaces[1:-1] + found[-1] if len(found) > 1 else spaces

    return token.sub(blank, text)


def folder_of(path: str) -> str:
    for folder in ("io/base", "io/uring", "tools/bench"):
        if path.startswith(folder + "/"):
            return folder
    return path.split("/", 1)[0]


def check_includes(source: Source) -> Iterator[Finding]:
    folder = folder_of(source.path)
    allowed: Optional[Set[str]] = INCLUDES.get(folder)
    if allowed is not None:
        allowed = allowed | (MAIN_INCLUDES if source.path.startswith(MAIN_FILES) else set())
    for number, line in enumerate(source.lines, 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match is None or not source.code[number - 1].strip():
            continue
        quote, target = match.groups()
        if ".." in target.split("/"):
            yield Finding(source.path, number, "include_path",
                          f'"{target}" climbs; include from the root, as in "codec/frame.h"')
        elif quote == "<":
            if (target.startswith("liburing") and folder not in LIBURING_FOLDERS
                    and source.path not in LIBURING_FILES):
                yield Finding(source.path, number, "include_liburing",
                              "only io/uring knows liburing; use io/reactor.h")
        elif target.split("/", 1)[0] not in ROOTS:
            yield Finding(source.path, number, "include_path",
                          f'"{target}" is not from the root; write it as in "codec/frame.h"')
        elif allowed is not None and folder_of(target) not in allowed:
            names = ", ".join(sorted(allowed))
            yield Finding(source.path, number, "include_direction",
                          f'{folder} may not include "{target}"; it knows only {names}')


def check_banned(source: Source) -> Iterator[Finding]:
    banned = list(BANNED_IN_ALL_CPP)
    if source.path.startswith(tuple(folder + "/" for folder in PRODUCT)):
        banned += BANNED_IN_PRODUCT
    if source.path.startswith(("tests/", "bench/")):
        banned += BANNED_IN_TESTS
    for entry in banned:
        if entry.allowed and source.path.startswith(entry.allowed):
            continue
        for number, line in enumerate(source.code, 1):
            match = entry.pattern.search(line)
            if match is not None:
                what = match.group(0).strip().rstrip("(").strip()
                yield Finding(source.path, number, entry.rule, f"'{what}' here: {entry.text}")


def check_comments(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if DEAD_CODE.search(line.strip()):
            yield Finding(source.path, number, "dead_code",
                          "code in a comment; delete it, the history keeps it")
        if LIST_LINE_ASTRAY.match(line) and LIST_LINE.match(source.lines[number - 2]):
            yield Finding(source.path, number, "list_indent",
                          "set a list's lines straight: the text stands below the text")


def check_header(source: Source) -> Iterator[Finding]:
    if not source.lines or not source.lines[0].startswith("// "):
        yield Finding(source.path, 1, "header_comment",
                      "begin a header with what it is, its owner, its thread and its invariants")
    if not any(line.strip() == "#pragma once" for line in source.code):
        yield Finding(source.path, 1, "pragma_once", "add '#pragma once' after the opening comment")


def check_usings(source: Source) -> Iterator[Finding]:
    """What a source file takes by its bare name, it uses; a header's are for those who include it."""
    code = "\n".join(source.code)
    for number, line in enumerate(source.code, 1):
        match = re.match(r"\s*using (?:\w*::)+(\w+);", line)
        if match and len(re.findall(rf"\b{match[1]}\b", code)) == 1:
            yield Finding(source.path, number, "unused_using",
                          f"nothing here uses {match[1]}; delete the line")


class Function(NamedTuple):
    name: str
    first: int
    last: int


CONTROL = re.compile(r"^\s*(?:if|for|while|switch|do|else)\b")
TYPE_HEAD = re.compile(r"\b(?:class|struct|union|enum)\b")


def classify(head: str, is_glued: bool, is_inside: bool) -> str:
    """What a '{' opens, told from the text between it and the last ';', '{' or '}'."""
    if is_inside:
        return "block"
    # clang-format glues "a_{1}" and never a body; between parentheses stands a default argument.
    if is_glued or head.count("(") > head.count(")"):
        return "initializer"
    if re.search(r"\bnamespace\b|\bextern\b", head):
        return "outer"
    signature = re.sub(
        r"\b(?:alignas|requires|__attribute__)\s*\([^()]*\)|\btemplate\s*<[^()]*?>", "", head)
    if TYPE_HEAD.search(signature.split("(", 1)[0]):
        return "outer"
    if "=" in signature.split("(", 1)[0] and "operator" not in signature:
        return "initializer"
    if "(" in signature and not CONTROL.match(signature):
        return "function"
    return "initializer"


def function_name(head: str) -> str:
    test = re.search(r"\b(?:TEST|TEST_F|TEST_P|BENCHMARK\w*)\s*\(\s*([^)]*)\)", head)
    if test is not None:
        return ".".join(part.strip() for part in test.group(1).split(","))
    match = re.search(r"((?:[\w~]+::)*(?:operator\s*[^\s(]+|~?\w+))\s*\(", head)
    return match.group(1) if match is not None else "?"


def functions_of(source: Source) -> Iterator[Function]:
    """The functions, in the clang-formatted text; lambdas count as part of theirs."""
    code = ["" if line.lstrip().startswith("#") or previous.rstrip().endswith("\\") else line
            for previous, line in zip([""] + source.code, source.code)]
    stack: List[Tuple[str, str, int]] = []  # kind, head, the head's first line
    head, head_line, previous = "", 0, " "
    for number, line in enumerate(code, 1):
        for character in line + "\n":
            if character == "{":
                is_inside = any(kind == "function" for kind, _, _ in stack)
                kind = classify(head, bool(re.match(r"[\w>\]]", previous)), is_inside)
                stack.append((kind, head, head_line or number))
                head, head_line = "", 0
            elif character == "}":
                kind, opened, first = stack.pop() if stack else ("outer", "", 0)
                if kind == "function":
                    yield Function(function_name(opened), first, number)
                # An initializer stands inside of a head: "Shard() : id_{1}, size_(2) {".
                head, head_line = (opened, first) if kind == "initializer" else ("", 0)
            elif character == ";":
                if head.count("(") <= head.count(")"):
                    head, head_line = "", 0
            else:
                head += character
                if head_line == 0 and not character.isspace():
                    head_line = number
            previous = character


def check_functions(source: Source, long_functions: Dict[str, int],
                    long_seen: Set[str]) -> Iterator[Finding]:
    for name, first, last in functions_of(source):
        count = last - first + 1
        key = f"{source.path}:{name}"
        known = long_functions.get(key)
        if known is not None:
            long_seen.add(key)
        if known is None and count > FUNCTION_LINES_MAX:
            yield Finding(source.path, first, "function_length",
                          f"{name} has {count} lines, {FUNCTION_LINES_MAX} are allowed; give its "
                          "parts names")
        elif known is not None and count > known:
            yield Finding(source.path, first, "function_ratchet",
                          f"{name} grew from {known} to {count} lines; it may only shrink")
        elif known is not None and count < known:
            yield Finding(source.path, first, "function_ratchet",
                          f"{name} shrank from {known} to {count} lines; write that into "
                          "LONG_FUNCTIONS, or remove the entry if it fits the limit")


def check_text(source: Source, is_code: bool) -> Iterator[Finding]:
    path = source.path
    columns_max = COLUMNS_MAX_SCRIPT if path.endswith((".sh", ".cmake", ".py")) else COLUMNS_MAX
    for number, line in enumerate(source.lines, 1):
        if line != line.rstrip():
            yield Finding(path, number, "trailing_space", "remove the white space at the end")
        if MERGE_MARKER.match(line) and (is_code or not line.startswith("=")):
            yield Finding(path, number, "merge_marker", "finish the merge")
        match = LEFTOVER.search(line)
        if match is not None:
            yield Finding(path, number, "leftover",
                          f"'{match.group(0)}': do it now, or write what is known into an issue")
        if PRIVATE_PATH.search(line):
            yield Finding(path, number, "private_path", "a path of one machine; make it relative")
        if is_code:
            if "\t" in line:
                yield Finding(path, number, "tab", "indent with spaces")
            if len(line) > columns_max and "://" not in line:
                yield Finding(path, number, "columns",
                              f"{len(line)} columns, {columns_max} are allowed; break the line")
            if DEBUG_PRINT.search(line):
                yield Finding(path, number, "debug_print", "remove the print")
    if source.text and not source.text.endswith("\n"):
        yield Finding(path, len(source.lines), "last_newline", "end the file with a newline")
    if source.text.endswith("\n\n"):
        yield Finding(path, len(source.lines), "last_newline", "remove the empty lines at the end")


def check_length(source: Source) -> Iterator[Finding]:
    opening = []
    for line in source.lines:
        if not line.startswith(("//", "#!", '"""', "#")) and line.strip() and not opening:
            break
        opening.append(line)
        if len(opening) > 60:
            break
    count = len(source.lines)
    if count > FILE_LINES_MAX and "Why one file" not in "\n".join(opening):
        yield Finding(source.path, 1, "file_length",
                      f"{count} lines, {FILE_LINES_MAX} are allowed; split it by nouns, or say in "
                      "the opening comment 'Why one file: …'")


def files_of(root: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS:
                yield from files_of(path)
        elif path.suffix in CPP | SCRIPTS | TEXTS or path.name == "CMakeLists.txt":
            yield path


def check(root: pathlib.Path, long_functions: Dict[str, int]) -> List[Finding]:
    """All findings below `root`, in the order of the files and lines."""
    findings: List[Finding] = []
    long_seen: Set[str] = set()
    for file in files_of(root):
        path = file.relative_to(root).as_posix()
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            findings.append(Finding(path, 1, "encoding", "save the file as UTF-8"))
            continue
        is_cpp = file.suffix in CPP
        stripped = strip_cpp(text) if is_cpp else text
        source = Source(path, text, text.split("\n"), stripped.split("\n"))
        if source.lines[-1] == "":
            source.lines.pop()
        findings += check_text(source, is_cpp or file.suffix in SCRIPTS)
        if is_cpp:
            findings += check_includes(source)
            findings += check_banned(source)
            findings += check_comments(source)
            findings += check_functions(source, long_functions, long_seen)
        if is_cpp or file.suffix in SCRIPTS:
            findings += check_length(source)
        if file.suffix == ".h":
            findings += check_header(source)
        if file.suffix == ".cc":
            findings += check_usings(source)
    for key in sorted(set(long_functions) - long_seen):
        findings.append(Finding("tools/tidy.py", 1, "function_ratchet",
                                f"{key} is gone; remove it from LONG_FUNCTIONS"))
    return sorted(findings, key=lambda finding: finding[:2])


def main() -> int:
    parser = argparse.ArgumentParser(description="The house's own linter.")
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    findings = check(parser.parse_args().root, LONG_FUNCTIONS)
    for finding in findings:
        print(finding)
    print(f"tidy: {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
