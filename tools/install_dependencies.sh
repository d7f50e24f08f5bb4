#!/usr/bin/env bash
# Installs what a bare Debian 12 lacks to build and to test Fanfare, and says what it installs and
# why.
#
#   tools/install_dependencies.sh [build] [test] [develop] [bench]   (no argument: the first three)
#
# Where everything is there already it prints nothing, changes nothing and asks no package server,
# so the Makefile can call it before every build. Needs root, or sudo for a user. On another
# distribution it prints the names of the packages and ends with 1, because their names and versions
# differ there.
set -euo pipefail

# One row per package: group | package | command | why. A command that is found on PATH (and is new
# enough, see is_new_enough) counts as installed, wherever it came from; "-" means that only the
# package counts.
packages='
build   | g++                                  | -              | the compiler (C++20)
build   | make                                 | make           | the entry points
build   | cmake                                | cmake          | the build
build   | ninja-build                          | ninja          | the build
build   | pkg-config                           | pkg-config     | finds liburing and xxHash
build   | liburing-dev                         | -              | io_uring
build   | libsimdjson-dev                      | -              | JSON and UTF-8
build   | libxxhash-dev                        | -              | hashing of topics
build   | libabsl-dev                          | -              | hash tables
build   | zlib1g-dev                           | -              | permessage-deflate
build   | libssl-dev                           | -              | SHA-1 of the WebSocket handshake
build   | libcli11-dev                         | -              | the command line
build   | libtomlplusplus-dev                  | -              | the configuration file
test    | libgtest-dev                         | -              | unit tests
test    | libgmock-dev                         | -              | unit tests
test    | libbenchmark-dev                     | -              | micro-benchmarks
test    | nlohmann-json3-dev                   | -              | a second JSON parser to compare with
test    | libhttp-parser-dev                   | -              | a second HTTP parser to compare with
test    | python3                              | python3        | end-to-end tests
test    | python3-websockets                   | -              | end-to-end peer: Python
test    | nodejs                               | node           | end-to-end peer: Node.js
test    | node-ws                              | -              | end-to-end peer: Node.js
test    | golang-go                            | go             | end-to-end peer: Go
test    | golang-github-gorilla-websocket-dev  | -              | end-to-end peer: Go
test    | chromium                             | chromium       | end-to-end peer: a browser
test    | prometheus                           | promtool       | promtool checks /metrics
test    | iproute2                             | ip             | a network whose link is cut under peers
test    | curl                                 | curl           | end-to-end tests over plain HTTP
test    | git                                  | git            | tests that look at the tree itself
test    | patch                                | patch          | planted bugs, which the simulator must find
bench   | valgrind                             | valgrind       | counts instructions
bench   | nats-server                          | nats-server    | a server to compare with
bench   | nginx                                | nginx          | a server to compare with
bench   | libnginx-mod-nchan                   | -              | a server to compare with: nchan
bench   | npm                                  | npm            | fetches a server to compare with: Bun
develop | clang-14                             | clang++-14     | fuzzers
develop | libclang-rt-14-dev                   | -              | fuzzers
develop | clang-format-14                      | clang-format-14| formatting
develop | clang-tidy-14                        | clang-tidy-14  | static analysis
'

fail() {
    printf 'install_dependencies: %s\n' "$*" >&2
    exit 1
}

# Node.js before 18 lacks what the tests use; the other commands have no version that is too old and
# common.
is_new_enough() {
    case "$1" in
        node) [ "$(node -p 'parseInt(process.versions.node, 10) >= 18' 2>/dev/null)" = true ] ;;
        *) true ;;
    esac
}

is_package_installed() {
    command -v dpkg-query >/dev/null &&
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_there() {
    local package=$1 command=$2
    if [ "$command" != - ] && command -v "$command" >/dev/null && is_new_enough "$command"; then
        return 0
    fi
    is_package_installed "$package"
}

# Prints "package|why" for every package of the given groups that is not there.
list_missing() {
    local group package command why
    while IFS='|' read -r group package command why; do
        group=${group// /} package=${package// /} command=${command// /} why=${why# }
        [ -n "$group" ] || continue
        case " $* " in *" $group "*) ;; *) continue ;; esac
        is_there "$package" "$command" || printf '%s|%s\n' "$package" "$why"
    done <<<"$packages"
}

is_debian_12() {
    [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ])
}

# Package servers and proxies fail now and then; a build should not fail with them.
apt_get() {
    local attempt
    for attempt in 1 2 3; do
        if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -q -y \
            -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null; then
            return 0
        fi
        [ "$attempt" = 3 ] || sleep $((attempt * 5))
    done
    return 1
}

groups=("$@")
[ $# -gt 0 ] || groups=(build test develop)
for group in "${groups[@]}"; do
    case "$group" in
        build | test | develop | bench) ;;
        *) fail "there is no group '$group'; the groups are build, test, develop and bench" ;;
    esac
done

missing=$(list_missing "${groups[@]}")
[ -n "$missing" ] || exit 0
mapfile -t names < <(cut -d'|' -f1 <<<"$missing")

if ! is_debian_12; then
    {
        echo 'install_dependencies: this is not Debian 12. Install what corresponds to these packages of Debian 12'
        echo 'in your distribution, then call make with DEPENDENCIES=: to leave this step out:'
        printf '  %s\n' "${names[@]}"
    } >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "needs root or sudo to install: ${names[*]}"
    as_root=(sudo)
fi

echo 'Installing:'
while IFS='|' read -r package why; do printf '  %-38s %s\n' "$package" "$why"; done <<<"$missing"

apt_get update || fail 'apt-get update failed three times; see above'
apt_get install --no-install-recommends "${names[@]}" || fail 'apt-get install failed three times; see above'

# Debian starts a service with its package. Only the programs are wanted here.
for service in prometheus nats-server nginx; do
    if [[ " ${names[*]} " == *" $service "* ]] && [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --quiet --now "$service.service" || true
    fi
done

still_missing=$(list_missing "${groups[@]}" | cut -d'|' -f1 | tr '\n' ' ')
[ -z "$still_missing" ] || fail "still missing after the installation: $still_missing"
