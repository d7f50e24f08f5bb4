#!/usr/bin/python3
"""Plants each kind of violation in a small tree and expects tools/tidy.py to find it alone."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True
import tidy  # noqa: E402  (the path above is what finds it)

HEADER = "// Thing: what it is. Owner: a shard. Thread: its owner's.\n#pragma once\n"


class TidyTest(unittest.TestCase):
    def findings(self, files, long_functions=None):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                data = text if isinstance(text, bytes) else text.encode()
                (root / path).write_bytes(data)
            return tidy.check(root, long_functions or {})

    def expect(self, rule, path, text, line=1):
        """Exactly one finding, of this rule, at this place."""
        found = [(f.rule, f.path, f.line) for f in self.findings({path: text})]
        self.assertEqual([(rule, path, line)], found, text)

    def expect_clean(self, path, text):
        self.assertEqual([], [str(f) for f in self.findings({path: text})], text)

    def expect_statement(self, rule, statement, path="broker/thing.cc"):
        self.expect(rule, path, f"void run() {{\n    {statement}\n}}\n", 2)

    def expect_statement_clean(self, statement, path="broker/thing.cc"):
        self.expect_clean(path, f"void run() {{\n    {statement}\n}}\n")

    def test_a_finding_names_place_rule_and_replacement(self):
        findings = self.findings({"codec/a.cc": '\n#include "topics/name.h"\n'})
        self.assertEqual(
            ['codec/a.cc:2: [include_direction] codec may not include "topics/name.h"; '
             "it knows only codec, io/base"], [str(f) for f in findings])

    def test_include_directions(self):
        forbidden = {
            "io/base/a.cc": ["io/reactor.h", "codec/frame.h"],
            "codec/a.cc": ["topics/name.h", "io/reactor.h", "broker/shard.h"],
            "topics/a.cc": ["codec/frame.h", "io/lane.h", "broker/shard.h"],
            "io/a.cc": ["io/uring/probe.h", "codec/frame.h", "topics/name.h", "broker/shard.h"],
            "io/uring/a.cc": ["codec/frame.h", "broker/shard.h"],
            "broker/a.cc": ["io/uring/probe.h", "tools/pub.h", "tests/a.h"],
            "broker/main.cc": ["bench/a.h"],
            "tools/a.cc": ["broker/shard.h", "io/reactor.h"],
        }
        for path, targets in forbidden.items():
            for target in targets:
                self.expect("include_direction", path, f'#include "{target}"\n')
        allowed = {
            "io/base/a.cc": ["io/base/check.h"],
            "codec/a.cc": ["io/base/check.h", "codec/frame.h"],
            "topics/a.cc": ["io/base/check.h", "topics/name.h"],
            "io/a.cc": ["io/base/check.h", "io/lane.h"],
            "io/uring/a.cc": ["io/base/check.h", "io/reactor.h", "io/uring/probe.h"],
            "broker/a.cc": ["io/base/check.h", "io/reactor.h", "codec/frame.h", "topics/name.h"],
            "broker/main.cc": ["io/uring/probe.h", "tools/pub.h", "broker/shard.h"],
            "tools/a.cc": ["io/base/check.h", "codec/frame.h", "topics/name.h", "tools/pub.h"],
            "tests/io/a.cc": ["io/uring/probe.h", "broker/shard.h", "tests/io/b.h", "sim/peer.h"],
            "bench/a.cc": ["io/uring/probe.h", "broker/shard.h"],
        }
        for path, targets in allowed.items():
            self.expect_clean(path, "".join(f'#include "{target}"\n' for target in targets))

    def test_includes_are_from_the_root(self):
        self.expect("include_path", "codec/a.cc", '#include "../topics/name.h"\n')
        self.expect("include_path", "tests/codec/a.cc", '#include "../b.h"\n')
        self.expect("include_path", "codec/a.cc", '#include "frame.h"\n')
        self.expect("include_path", "tests/codec/a.cc", '#include "helper.h"\n')

    def test_liburing_stays_in_its_folder(self):
        for path in ("io/a.cc", "broker/main.cc", "tests/io/a.cc"):
            self.expect("include_liburing", path, "#include <liburing.h>\n")
        self.expect_clean("io/uring/a.cc", "#include <liburing.h>\n")

    def test_banned_in_the_product(self):
        banned = {
            "clock": ["clock_gettime(CLOCK_MONOTONIC, &now);", "time(nullptr);",
                      "std::time(nullptr);", "gettimeofday(&now, nullptr);",
                      "std::chrono::steady_clock::now();", "std::chrono::system_clock::now();"],
            "random": ["rand();", "std::rand();", "srand(1);", "std::random_device device;",
                       "std::mt19937 engine(1);", "getrandom(&seed, 8, 0);"],
            "environment": ['getenv("HOME");', 'std::getenv("HOME");', '::getenv("HOME");'],
            "thread": ["std::thread worker(run);", "std::jthread worker(run);",
                       "std::async(run);", "pthread_create(&id, nullptr, run, nullptr);"],
            "sleep": ["sleep(1);", "usleep(1);", "nanosleep(&span, nullptr);",
                      "std::this_thread::yield();"],
            "lock": ["std::mutex mutex;", "std::shared_mutex mutex;",
                     "std::condition_variable waiting;", "std::lock_guard guard(mutex);"],
            "atomic": ["std::atomic<int> count;", "std::atomic_flag flag;"],
            "exit": ["exit(1);", "std::exit(code);", "::exit(code);", "_exit(1);", "abort();",
                     "std::abort();", "std::terminate();", "exit(EXIT_FAILURE);"],
            "output": ['printf("x");', 'std::printf("x");', 'fprintf(stderr, "x");', 'puts("x");',
                       'std::cout << "x";', 'std::cerr << "x";'],
            "assert": ["assert(true);"],
            "exception": ["throw 1;", "try {", "} catch (...) {"],
            "rtti": ["dynamic_cast<A*>(b);", "typeid(a);"],
            "function": ["std::function<void()> callback;"],
            "shared_ptr": ["std::shared_ptr<int> owner;", "std::make_shared<int>(1);",
                           "std::weak_ptr<int> other;"],
            "raw_owner": ["int* number = new int;", "delete number;", "delete[] numbers;"],
            "using_namespace": ["using namespace std;"],
        }
        for rule, statements in banned.items():
            for statement in statements:
                for path in ("io/thing.cc", "codec/thing.cc", "topics/thing.cc", "broker/thing.cc"):
                    found = {f.rule for f in self.findings({path: statement + "\n"})}
                    self.assertEqual({rule}, found, statement)

    def test_names_that_only_look_banned(self):
        for statement in ("using namespace std::string_view_literals;",
                          "using namespace std::literals;", "turn.time(now);",
                          "timer->time(now);", "wheel::time(now);",
                          "uint64_t uptime = runtime(now);", "abort(slot);", "exit(state);",
                          'const char* text = "std::mutex rand() printf(";',
                          "snprintf(buffer, 8, format);", "static_assert(sizeof(int) == 4);",
                          "new (storage) Thing();", "retry {", "prng.random(1);"):
            found = [f.rule for f in self.findings({"broker/a.cc": statement + "\n"})]
            self.assertEqual([], found, statement)
        self.expect_statement_clean("/* std::mutex */ run();")
        self.expect_statement_clean("run();  // std::mutex would be a lock order.")
        self.expect_statement_clean('run(R"(std::mutex rand())");')
        self.expect_clean("broker/thing.h", HEADER + "Thing(const Thing&) = delete;\n")

    def test_the_places_where_the_banned_is_fine(self):
        allowed = {
            "clock_gettime(CLOCK_MONOTONIC, &now);": ("io/uring/a.cc", "broker/main.cc"),
            "getrandom(&seed, 8, 0);": ("broker/main.cc",),
            'getenv("FANFARE_LISTEN");': ("broker/main.cc",),
            "std::thread worker(run);": ("broker/main.cc", "broker/log_writer.cc"),
            "std::atomic<int> count;": ("io/lane.h", "io/mesh.cc", "broker/metrics.h"),
            "std::abort();": ("io/base/check.cc", "broker/main.cc"),
            "sleep(1);": ("io/listener.cc", "tests/e2e/a.cc", "tools/a.cc"),
            "try {": ("broker/main.cc", "tools/a.cc"),
            "std::cout << 1;": ("tools/a.cc", "bench/a.cc"),
        }
        for statement, paths in allowed.items():
            for path in paths:
                text = (HEADER if path.endswith(".h") else "") + statement + "\n"
                self.expect_clean(path, text)
        # The same words next door.
        self.expect("atomic", "io/lanes.cc", "std::atomic<int> count;\n")
        self.expect("clock", "broker/mainly.cc", "time(nullptr);\n")

    def test_tests_are_reproducible(self):
        for path in ("tests/io/a.cc", "bench/a.cc"):
            self.expect("random", path, "std::random_device device;\n")
            self.expect("random", path, "rand();\n")
            self.expect("using_namespace", path, "using namespace io;\n")

    def test_leftovers(self):
        for word in tidy.LEFTOVER_WORDS:
            self.expect("leftover", "codec/a.cc", f"// {word}: later.\n")
            self.expect("leftover", "README.md", f"{word}: later.\n")
            self.expect("leftover", "CMakeLists.txt", f"# {word}\n")
        self.expect_clean("codec/a.cc", "// Not a to-do and no fixing of me: hacks.\n")

    def test_debug_prints(self):
        self.expect("debug_print", "tests/a.cc", "db" + "g(x);\n")
        self.expect("debug_print", "tests/a.cc", "DEBUG_" + "PRINT(x);\n")
        self.expect("debug_print", "tools/a.py", "break" + "point()\n")
        self.expect("debug_print", "tools/a.js", "console" + ".debug(x)\n")

    def test_merge_markers(self):
        for marker in ("<" * 7 + " HEAD", "=" * 7, ">" * 7 + " branch", "|" * 7 + " base"):
            self.expect("merge_marker", "codec/a.cc", f"{marker}\n")
        self.expect_clean("README.md", "Title\n=======\n")
        self.expect("merge_marker", "README.md", ">" * 7 + " branch\n")

    def test_private_paths(self):
        for path in ("/wo" "rk/main", "/ho" "me/me/x", "/ro" "ot/x"):
            self.expect("private_path", "codec/a.cc", f"// See {path} there.\n")
            self.expect("private_path", "README.md", f"See {path}\n")

    def test_dead_code(self):
        for comment in ("// run(slot);", "// foo();", "// count = 1;", "// return count;",
                        "// int count = 0;", "// const auto x = y;", "// this->run();",
                        "//run();", "// if (full) return none;", "// for (int x : y) {", "// }",
                        "// count += size();", "// #include <vector>"):
            self.expect("dead_code", "codec/a.cc", comment + "\n")
        for comment in ("// Full is a value;", "// This ends here; what follows is",
                        "// a link that is known on one side; see run().", "// (as in RFC 6455);",
                        "//     for (const Event& event : reactor.turn(deadline)) dispatch(event);",
                        "// The sum is x = y + z.", "// returns at once; then", "// 0 <= x < 8;"):
            self.expect_clean("codec/a.cc", comment + "\n")

    def test_lists(self):
        self.expect("list_indent", "codec/a.cc", "//  1. One line and\n//  another\n", 2)
        self.expect("list_indent", "codec/a.cc", "//  1. One\n//     line and\n//  another\n", 3)
        self.expect_clean("codec/a.cc", "//  9. One line and\n//     another.\n// 10. More.\n")
        self.expect_clean("codec/a.cc", "//  1. One line.\n// No list.\n")

    def test_white_space(self):
        self.expect("trailing_space", "codec/a.cc", "int x; \n")
        self.expect("trailing_space", "codec/a.cc", "int x;\r\n")
        self.expect("trailing_space", "README.md", "Words \n")
        self.expect("tab", "codec/a.cc", "\tint x;\n")
        self.expect("last_newline", "codec/a.cc", "int x;")
        self.expect("last_newline", "codec/a.cc", "int x;\n\n", 2)
        self.expect_clean("codec/a.cc", "")
        self.expect("encoding", "codec/a.cc", b"// \xff\n")

    def test_columns(self):
        fits = "// " + "é" * (tidy.COLUMNS_MAX - 3)
        self.expect_clean("codec/a.cc", fits + "\n")
        self.expect("columns", "codec/a.cc", fits + "x\n")
        self.expect("columns", "tools/a.py", "# " + "x" * tidy.COLUMNS_MAX_SCRIPT + "\n")
        self.expect_clean("README.md", "x" * 200 + "\n")
        self.expect_clean("tools/a.sh", "x" * tidy.COLUMNS_MAX_SCRIPT + "\n")
        self.expect("columns", "tools/a.sh", "x" * (tidy.COLUMNS_MAX_SCRIPT + 1) + "\n")
        self.expect_clean("codec/a.cc", "// https://example.org/" + "x" * 100 + "\n")

    def test_usings(self):
        used = "using codec::Frame;\nFrame read();\n"
        self.expect_clean("broker/a.cc", used)
        self.expect("unused_using", "broker/a.cc", "using testing::Peer;  // a Peer\n" + used)
        self.expect("unused_using", "broker/a.cc", used + "using ::testing::Peer;\n", 3)
        self.expect("unused_using", "broker/a.cc", used + 'using testing::Peer;\nauto text = "Peer";\n', 3)
        self.expect_clean("broker/a.h", HEADER + "using codec::Frame;\n")
        self.expect_clean("broker/a.cc", "using Texts = int;\n")

    def test_headers(self):
        self.expect_clean("codec/a.h", HEADER)
        self.expect("header_comment", "codec/a.h", "#pragma once\n")
        self.expect("pragma_once", "codec/a.h", "// Thing: what it is.\nint x;\n")
        self.expect("pragma_once", "codec/a.h", "// Thing:\n// #pragma once is missing.\n")

    @staticmethod
    def function(lines, signature="void run()"):
        return signature + " {\n" + "    step();\n" * (lines - 2) + "}\n"

    def test_function_length(self):
        limit = tidy.FUNCTION_LINES_MAX
        for signature in ("void run()", "Thing::Thing(int size) : id_{1}, size_(size)",
                          "bool Thing::operator==(const Thing& other) const",
                          "TEST(Thing, runs)", "template <class T>\nT* find(const T (&list)[2])",
                          "[[nodiscard]] static auto run(\n    int x) -> std::vector<int>",
                          'extern "C" {\nint x;\n}\nvoid run(Options options = {})'):
            lines_before = signature.count("\n")
            body = limit - (0 if "extern" in signature else lines_before)
            self.expect_clean("codec/a.cc", self.function(body, signature))
            found = self.findings({"codec/a.cc": self.function(body + 1, signature)})
            self.assertEqual(["function_length"], [f.rule for f in found], signature)
        inside = "namespace codec {\nclass Thing {\n" + self.function(limit + 1) + "};\n}\n"
        self.expect("function_length", "codec/a.cc", inside, 3)
        # Many short ones, types and tables are no functions.
        self.expect_clean("codec/a.cc", self.function(40) + self.function(40, "void walk()"))
        self.expect_clean("codec/a.cc", "struct Thing {\n" + "    int x;\n" * 100 + "};\n")
        self.expect_clean("codec/a.cc", "int table[] = {\n" + "    f(1),\n" * 100 + "};\n")
        self.expect_clean("codec/a.cc", "enum class E : uint8_t {\n" + "    a,\n" * 100 + "};\n")
        self.expect_clean("codec/a.cc", "void run() {\n    text(\"{\");\n    text('{');\n}\n"
                          + self.function(limit, "void walk()"))

    def test_function_names(self):
        text = self.function(71, "bool codec::Thing::run(int x)")
        found = self.findings({"codec/a.cc": text})
        self.assertIn("codec::Thing::run has 71 lines", found[0].text)
        found = self.findings({"tests/a.cc": self.function(71, "TEST(Thing, runs)")})
        self.assertIn("Thing.runs has 71 lines", found[0].text)

    def test_the_ratchet_only_loosens_downwards(self):
        def rules(lines, known):
            files = {"codec/a.cc": self.function(lines)}
            return [f.rule for f in self.findings(files, {"codec/a.cc:run": known})]
        self.assertEqual([], rules(80, 80))
        self.assertEqual(["function_ratchet"], rules(81, 80))
        self.assertEqual(["function_ratchet"], rules(79, 80))
        self.assertEqual(["function_ratchet"], rules(60, 80))
        gone = self.findings({"codec/a.cc": "int x;\n"}, {"codec/a.cc:run": 80})
        self.assertEqual(["function_ratchet"], [f.rule for f in gone])

    def test_file_length(self):
        limit = tidy.FILE_LINES_MAX
        self.expect_clean("codec/a.cc", "int x;\n" * limit)
        self.expect("file_length", "codec/a.cc", "int x;\n" * (limit + 1))
        reason = "// Thing: a table.\n// Why one file: it is one table.\n"
        self.expect_clean("codec/a.cc", reason + "int x;\n" * limit)
        self.expect("file_length", "clients/a.js", "let x;\n" * (limit + 1))
        self.expect_clean("clients/a.js", reason + "let x;\n" * limit)
        late = "int x;\n" + reason
        self.expect("file_length", "codec/a.cc", late + "int x;\n" * limit)

    def test_what_is_not_ours_is_not_read(self):
        for path in ("build/a.cc", ".git/a.cc", "tests/fuzz/corpus/a.json", "codec/a.bin"):
            self.expect_clean(path, "\tint x; ")


if __name__ == "__main__":
    unittest.main()
