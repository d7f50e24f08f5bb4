#!/usr/bin/python3
"""Tests the suite itself with the model server: the correct one passes, and each of its flaws makes
at least one case fail, with a sentence that says what was expected.

    selftest.py [FLAW…]        only these flaws, and not the correct server
"""

import pathlib
import subprocess
import sys
from typing import Dict, List, Optional

sys.dont_write_bytecode = True
import run  # noqa: E402  (it also prepares the path for the others)
import harness  # noqa: E402
import model_server  # noqa: E402
import wire  # noqa: E402

MODEL = pathlib.Path(model_server.__file__).resolve()
# A correct model answers within milliseconds; a flawed one may leave the client waiting.
ANSWER_TIMEOUT_S = 1.5

# flaw → the cases of which one must find it, by the beginning of their names.
FINDERS: Dict[str, str] = {
    "any_method": "handshake.refuses_method",
    "any_http_version": "handshake.refuses_http_version",
    "any_version": "handshake.other_versions_are_told_which_one",
    "version_unnamed": "handshake.other_versions_are_told_which_one",
    "any_key": "handshake.refuses[a key of 15 bytes]",
    "connection_exact": "handshake.accepts",
    "no_host_needed": "handshake.refuses[an empty Host]",
    "wrong_accept": "handshake.sample_key_gets_the_sample_accept",
    "protocol_invented": "handshake.subprotocol_is_one_of_the_offered",
    "extension_invented": "handshake.nothing_is_negotiated_that_was_not_offered",
    "head_rest_lost": "handshake.frames_behind_the_request_in_one_write",
    "unmasked_taken": "framing.unmasked",
    "masks_itself": "framing.text_of",
    "long_lengths_sent": "framing.text_of",
    "not_minimal_taken": "framing.length_not_minimal",
    "high_bit_taken": "framing.highest_bit_of_the_length",
    "mask_phase_lost": "framing.mask_goes_on_over_every_cut",
    "rsv_ignored": "reserved.bits",
    "opcode_ignored": "reserved.opcode",
    "queue_dropped": "reserved.bits[1, text, after a text]",
    "fragments_apart": "fragmentation.text_in_fragments_of",
    "continuation_taken": "fragmentation.every_order_that_ends_at_once",
    "interleaved_taken": "fragmentation.new_message_inside_a_message",
    "control_fragmented_taken": "pings.control_frame_fragmented",
    "control_long_taken": "pings.control_frame_too_long",
    "ping_ignored": "pings.ping_between_fragments_is_answered_at_once",
    "pong_empty": "pings.pong_repeats",
    "pong_answered": "pings.unsolicited_pong_is_ignored",
    "utf8_unchecked": "utf8.invalid",
    "utf8_late": "utf8.invalid_fails_at_the_first_impossible_byte",
    "utf8_early": "utf8.valid_cut_into_two_fragments_everywhere",
    "surrogates_taken": "utf8.invalid[surrogate D800]",
    "noncharacters_refused": "utf8.valid",
    "binary_checked": "framing.binary_is_not_looked_into",
    "close_short_taken": "closing.payload_of_one_byte",
    "close_code_any": "closing.code_that_must_not_be_sent",
    "close_code_few": "closing.code_is_answered_with_the_same",
    "close_code_fixed": "closing.code_is_answered_with_the_same",
    "close_reason_unchecked": "closing.reason_that_is_not_utf8",
    "close_unanswered": "closing.without_a_code",
    "close_twice": "closing.without_a_code",
    "close_lingers": "closing.server_closes_first",
    "close_not_last": "closing.without_a_code",
    "no_limit": "limits.announced_length_is_enough",
    "limit_per_frame": "limits.announced_by_a_later_fragment",
    "deflate_bad_offer": "deflate_offers.declined",
    "deflate_flag_forgotten": "deflate_offers.accepted",
    "deflate_window_forgotten": "deflate_offers.accepted",
    "deflate_window_ignored": "deflate_messages.window_sizes",
    "deflate_context_kept": "deflate_messages.context_takeover",
    "deflate_context_lost": "deflate_messages.context_takeover",
    "deflate_rsv1_anywhere": "deflate_messages.rsv1_on_a",
    "deflate_final_stops": "deflate_messages.final_block_in_the_middle_of_a_message",
    "deflate_short_taken": "deflate_messages.cut_short",
    "deflate_garbage_taken": "deflate_messages.corrupt",
    "deflate_no_limit": "deflate_messages.bomb[one byte more]",
    "deflate_plain_forgotten": "deflate_messages.messages_as_they_are_among_compressed_ones",
    "deflate_malformed_taken": "deflate_offers.malformed_field_fails_the_handshake",
    "deflate_utf8_unchecked": "deflate_messages.text_that_is_not_utf8",
    "deflate_never": "deflate_messages.server_compresses_what_is_worth_it",
}


class Model:
    """The model server with a flaw, or with none, as a context."""

    def __init__(self, flaw: str = ""):
        self.arguments = [sys.executable, str(MODEL)] + ([flaw] if flaw else [])

    def __enter__(self) -> int:
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE)
        return int(self.process.stdout.readline())

    def __exit__(self, kind, value, traceback) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def first_failure(port: int, finder: str) -> Optional[str]:
    """Runs the cases that the finder names, up to the first failure."""
    run.Worker.server = wire.Server(("127.0.0.1", port))
    run.Worker.is_deflate_known = True
    names = [name for name in harness.CASES if name.startswith(finder)]
    for name in names:
        result = run.run_case(name)
        if result.state == "failed":
            return f"{name}: {result.text}"
    return None if names else f"no case begins with {finder}, so nothing was tested"


def check_flaws(flaws: List[str]) -> int:
    wire.TIMEOUT_S = ANSWER_TIMEOUT_S
    misses = 0
    for flaw in flaws:
        with Model(flaw) as port:
            found = first_failure(port, FINDERS[flaw])
        is_miss = found is None or "expected" not in found
        misses += is_miss
        state = "MISSED" if is_miss else "found "
        print(f"{state} {flaw}: {found or 'every case passed'}", flush=True)
    return misses


def check_correct() -> bool:
    with Model() as port:
        command = [sys.executable, str(MODEL.parent / "run.py"), "--at", f"127.0.0.1:{port}",
                   "--light", run.STRICT]
        return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    run.load_cases()
    run.prepare_worker()
    if set(FINDERS) != set(model_server.FLAWS):
        print(f"FINDERS and FLAWS differ: {sorted(set(FINDERS) ^ set(model_server.FLAWS))}")
        return 1
    flaws = sys.argv[1:]
    is_good = bool(flaws) or check_correct()
    misses = check_flaws(flaws or list(FINDERS))
    print(f"{len(flaws or FINDERS) - misses} flaws found, {misses} missed")
    return 0 if is_good and misses == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
