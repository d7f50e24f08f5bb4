"""A network of the test's own, with a link that can be cut: two network namespaces without names,
joined by a pair of virtual interfaces. The kernel removes both with the last process in them, so
that nothing is left behind however the test ends.

The test's main thread, and all that it starts, moves into the first one, `near`. What is started
with preexec=network.enter_far is in the second one, and its only way out is the link.
"""

import os
import subprocess
import unittest

from broker_process import LIBC

CLONE_NEWNET = 0x40000000
NEAR_ADDRESS = "192.0.2.1"  # of the network that RFC 5737 sets aside
FAR_ADDRESS = "192.0.2.2"


def enter(namespace):
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError("setns")


def new_namespace():
    """A descriptor of a new namespace, in which the calling thread is from now on."""
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise unittest.SkipTest("needs the right to make network namespaces (root, CAP_SYS_ADMIN)")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def ip(*arguments, preexec=None):
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True,
                       preexec_fn=preexec)
    except FileNotFoundError:
        raise unittest.SkipTest("needs `ip`, of the package iproute2") from None
    except subprocess.CalledProcessError as error:
        if "Operation not permitted" in error.stderr or "Unknown device type" in error.stderr:
            raise unittest.SkipTest(f"ip {' '.join(arguments)}: {error.stderr}") from None
        raise AssertionError(f"ip {' '.join(arguments)}: {error.stderr}") from None


class Network:
    """Made once per process, before it has other threads."""

    def __init__(self):
        self.far = new_namespace()
        new_namespace()
        ip("link", "set", "lo", "up")
        ip("link", "add", "near", "type", "veth", "peer", "name", "far",
           "netns", f"/proc/{os.getpid()}/fd/{self.far}")
        ip("address", "add", f"{NEAR_ADDRESS}/24", "dev", "near")
        ip("link", "set", "near", "up")
        self.far_ip("address", "add", f"{FAR_ADDRESS}/24", "dev", "far")
        self.far_ip("link", "set", "far", "up")

    def enter_far(self):
        enter(self.far)

    def far_ip(self, *arguments):
        ip(*arguments, preexec=self.enter_far)

    def pull_the_plug(self):
        """The link is down, and both ends see it."""
        self.far_ip("link", "set", "far", "down")

    def plug_in(self):
        self.far_ip("link", "set", "far", "up")

    def lose_what_comes_back(self):
        """Nothing comes from the far side any more, and nobody is told why."""
        self.far_ip("route", "add", "blackhole", f"{NEAR_ADDRESS}/32")

    def find_it_again(self):
        self.far_ip("route", "del", "blackhole", f"{NEAR_ADDRESS}/32")
