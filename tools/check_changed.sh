#!/usr/bin/env bash
# Checks the C++ files that changed: their format, and clang-tidy's findings.
#
#   tools/check_changed.sh [BASE]
#
# Changed means: different from BASE (a commit), or not yet known to git. BASE is the point where
# this branch left origin/main, or without one the commit before HEAD. clang-tidy reads
# build/dev/compile_commands.json, so the preset `dev` must have been configured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base=${1:-$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse --verify -q HEAD~1 || git rev-parse HEAD)}
# A failure of git below would pass for a tree without changes.
if ! git rev-parse --verify -q "$base^{commit}" >/dev/null; then
    echo "check_changed: there is no commit '$base'" >&2
    exit 1
fi
mapfile -t files < <({
    git diff --name-only --diff-filter=d "$base" -- '*.h' '*.cc'
    git ls-files --others --exclude-standard -- '*.h' '*.cc'
} | sort -u)
if [ ${#files[@]} = 0 ]; then
    echo "No C++ file differs from $base."
    exit 0
fi

echo "Format of ${#files[@]} files"
clang-format-14 --dry-run -Werror "${files[@]}"

# Headers are checked with the sources that include them (.clang-tidy: HeaderFilterRegex): each with
# the source of its name, or without one the first that includes it.
mapfile -t sources < <(for file in "${files[@]}"; do
    source=${file%.h}
    source=${source%.cc}.cc
    [ -f "$source" ] || source=$(git grep -l -F "#include \"$file\"" -- '*.cc' | head -n 1 || true)
    grep -q -F "$PWD/$source\"" build/dev/compile_commands.json && echo "$source"
done | sort -u)
[ ${#sources[@]} = 0 ] && exit 0
echo "clang-tidy on ${#sources[@]} files"
# GCC's warning flags that clang does not know are no findings.
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" \
    clang-tidy-14 -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option
