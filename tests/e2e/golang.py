"""Builds the Go programs in clients/ with Debian's packages: no modules, no network."""

import pathlib
import subprocess

import broker_process

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
BUILD_TIMEOUT_S = 240


def build(name, folder, sources=CLIENTS):
    """Builds NAME.go into the folder; answers the program's path."""
    program = str(folder / name)
    environment = broker_process.clean_environment(
        GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOPROXY="off",
        GOCACHE=str(folder / "go-cache"))
    subprocess.run(["go", "build", "-o", program, str(sources / f"{name}.go")], check=True,
                   env=environment, stdin=subprocess.DEVNULL, timeout=BUILD_TIMEOUT_S)
    return program
