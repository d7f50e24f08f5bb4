#!/usr/bin/env bash
# Runs every fuzzer of build/fuzz for some seconds each.
#
#   tools/run_fuzzers.sh SECONDS [NAME…]
#
# What a fuzzer finds to be new goes to build/fuzz/corpus; the hand-made inputs of
# tests/fuzz/corpus are read, never written. A crash leaves its input in build/fuzz/crashes and
# ends the run: replay it with `build/fuzz/tests/fuzz/NAME FILE`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?how many seconds for each fuzzer}
shift
# libFuzzer would take 0, and what is no number, for no limit at all.
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "run_fuzzers: '$seconds' is no number of seconds from 1" >&2; exit 1; }
names=("$@")
if [ ${#names[@]} = 0 ]; then
    for program in build/fuzz/tests/fuzz/*_fuzz; do
        [ -x "$program" ] && names+=("${program##*/}")
    done
fi
[ ${#names[@]} -gt 0 ] || { echo 'run_fuzzers: build/fuzz has no fuzzers; build the preset "fuzz" first' >&2; exit 1; }

mkdir -p build/fuzz/crashes
for name in "${names[@]}"; do
    echo "== $name, ${seconds} s"
    corpora=("build/fuzz/corpus/${name%_fuzz}")
    mkdir -p "${corpora[0]}"
    handmade=tests/fuzz/corpus/${name%_fuzz}
    [ ! -d "$handmade" ] || corpora+=("$handmade")
    "build/fuzz/tests/fuzz/$name" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$name-" "${corpora[@]}" 2>&1 |
        grep -v -E '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse)'
done
