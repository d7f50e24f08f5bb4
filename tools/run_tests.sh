#!/usr/bin/env bash
# Builds and runs all tests, and ends with one sum in ctest's words.
#
#   tools/run_tests.sh [JOBS]
#
# Two builds are tested: `dev` (sanitizers, checks on) with every test, then `release` (what is
# shipped, with link-time optimisation) with the tests that carry the label `e2e` or `release`. The
# second run happens even if the first one failed, so that one call shows everything that is broken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${1:-$(nproc)}
# Some tests wait more than they compute, and the machines of continuous integration often have two
# cores.
test_jobs=$((jobs < 2 ? 2 : jobs))
total_count=0
failed_count=0
failures=''

# run_ctest PRESET [ctest's arguments]: runs the tests of build/PRESET and adds ctest's own sum to
# ours.
run_ctest() {
    local preset=$1 log=build/$1/tests.log status=0 sum
    shift
    printf '\n== ctest in build/%s\n' "$preset $*"
    ctest --test-dir "build/$preset" -j"$test_jobs" --output-on-failure --no-tests=error "$@" \
        </dev/null 2>&1 | tee "$log" || status=$?
    sum=$(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log" | tail -n 1)
    if [ -z "$sum" ] || { [ "$status" != 0 ] && [ "${sum% *}" = 0 ]; }; then
        # No test was found, or ctest itself broke; that must not pass for success.
        sum='1 1'
        failures+="  $preset: ctest ended with $status"$'\n'
    fi
    failed_count=$((failed_count + ${sum% *}))
    total_count=$((total_count + ${sum#* }))
    while IFS= read -r name; do
        failures+="  $preset: $name"$'\n'
    done < <(sed -n '/^The following tests FAILED:$/,$ s/^[[:space:]]*[0-9][0-9]* - //p' "$log")
}

cmake --preset dev
cmake --build build/dev -j"$jobs"
cmake --preset release -DFANFARE_DEVELOPER=ON
cmake --build build/release -j"$jobs" --target fanfare overload_load

run_ctest dev
run_ctest release -L '^(e2e|release)$'

printf '\n== both\n'
[ -z "$failures" ] || printf 'The following tests FAILED:\n%s' "$failures"
printf '%d%% tests passed, %d tests failed out of %d\n' \
    $(((total_count - failed_count) * 100 / total_count)) "$failed_count" "$total_count"
[ "$failed_count" = 0 ]
