"""Clients that are slow on purpose (slowhttptest), and clients that do nothing: good ones are served meanwhile."""

import socket
import subprocess
import time
from dataclasses import dataclass

import pytest

from kit.apps import PIECE, need
from kit.gateway import OPEN, PLAIN
from kit.load import GoodClient, Watch, room
from kit.process import until

pytestmark = pytest.mark.long

FRONTS = [PLAIN]

# docs/operations.md, "Bounds": a head, a read of a body, in seconds.
BOUND = 10

# The same: a piece of an answer that is not taken, in seconds.
TAKEN = 30

# From one sign of life to the next, in seconds.
PACE = 5

# Connections a second.
RATE = 400

# A good request takes no longer, in seconds, although both sides of the attack share its machine.
GOOD = 5


@dataclass
class Mode:
    """One way of being slow."""

    name: str
    count: int
    words: list
    path: str
    # How long such a connection may live, in seconds, and what it may take of memory, in KiB, with the one to the app.
    life: int
    each: int

    @property
    def length(self):
        """How long slowhttptest goes on, in seconds. The bound is over before."""
        return self.life + 15


MODES = [
    # One more line of a head every few seconds.
    Mode("slow heads", 1500, ["-H", "-i", PACE, "-x", "24"], "/chunks", BOUND, 64),
    # A few bytes of a body every few seconds. Judged when a piece arrives, it lives until the first one behind the bound.
    Mode("slow bodies", 1500, ["-B", "-i", PACE, "-x", "24", "-s", "8192"], "/seen", BOUND + PACE, 128),
    # An answer of 4 MiB, taken by few bytes at a time into a small window. One piece of it may fit just in time, and then the next may not.
    Mode("slow readers", 1000, ["-X", "-n", PACE, "-w", "10", "-y", "64", "-z", "32"], "/bytes/64", 2 * TAKEN, 1024),
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_slow_clients_are_closed_and_good_ones_are_served(leaving, proof, mode):
    stack = leaving("node", "1s")
    count = room(2 * mode.count) // 2
    before = stack.gateway.program.peak()
    words = [need("slowhttptest", "slowhttptest"), "-c", count, "-r", RATE, *mode.words, "-l", mode.length, "-p", GOOD]
    words += ["-u", f"http://127.0.0.1:{stack.gateway.port}{mode.path}"]
    head = stack.head("GET /chunks HTTP/1.1", "Connection: close")
    with GoodClient(stack.gateway, head) as good, Watch(stack.gateway) as watch:
        done = subprocess.run(list(map(str, words)), capture_output=True, timeout=150)
        # A few good clients may be there at any time.
        few = count // 20
        until("the slow ones are gone", lambda: watch.seen[-1][1] < few)
    peak = stack.gateway.program.peak()
    assert done.returncode == 0, done.stdout.decode()[-1000:]
    # From when the first came; the last came when all had.
    bound, gone = count / RATE + mode.life, watch.last(few)
    proof(
        f"slowhttptest: {mode.name}",
        f"{watch.most()} connections at once, gone after {gone:.0f} s (bound {bound:.0f}); {good}; "
        f"most memory resident {before:.0f} → {peak:.0f} MiB",
    )
    assert watch.most() >= count
    assert not good.failures, good.failures[:3]
    assert max(good.seconds) < GOOD
    # Two seconds: a closed connection lingers for one, and is counted until then.
    assert gone <= bound + 2
    assert (peak - before) * 1024 < count * mode.each


def test_a_slow_download_that_goes_on_is_not_cut(leaving):
    """docs/operations.md bounds an answer that the client does *not* take; this one takes it, at 64 KiB a second."""
    stack = leaving("node", "1s")
    pieces, rate = 128, 64
    with socket.socket() as wire:
        # As a slow link, or a proxy before a slow client: little is on the way.
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        wire.connect(("127.0.0.1", stack.gateway.port))
        wire.settimeout(30)
        wire.sendall(stack.head(f"GET /bytes/{pieces} HTTP/1.1", "Connection: close").encode())
        began, got = time.monotonic(), 0
        # Slowly for longer than the bound for a piece, then the rest at once.
        while piece := wire.recv(16384):
            got += len(piece)
            ahead = got / (rate * 1024) - (time.monotonic() - began)
            if time.monotonic() - began < TAKEN + PACE and ahead > 0:
                time.sleep(ahead)
    assert got > pieces * len(PIECE), f"{got} bytes of {pieces * len(PIECE)} after {time.monotonic() - began:.0f} s"


def test_an_answer_before_the_body_counts_as_forwarded_although_the_body_never_comes(leaving):
    stack = leaving("node", "1s")
    with stack.wire() as wire:
        wire.write(stack.head("POST /early HTTP/1.1", "Content-Length: 7"))
        assert wire.answer().status == 403
        assert wire.is_closed()
    lines = until("the access line", lambda: stack.gateway.log(path="/early"))
    assert (lines[0]["status"], lines[0]["outcome"]) == (403, "forwarded")


def test_idle_connections_cost_little_and_good_clients_are_served(leaving, proof):
    stack = leaving("node", "1s")
    count = room(8000)
    before = stack.gateway.program.peak()
    request = f"GET /here/nothing HTTP/1.1\r\nHost: {OPEN}\r\n\r\n".encode()
    idle = []
    for _ in range(count):
        wire = socket.create_connection(("127.0.0.1", stack.gateway.port), 30)
        wire.sendall(request)
        assert wire.recv(4096).startswith(b"HTTP/1.1 204 ")
        idle.append(wire)
    peak = stack.gateway.program.peak()
    with GoodClient(stack.gateway, stack.head("GET /chunks HTTP/1.1", "Connection: close")) as good:
        until("a hundred good requests", lambda: len(good.seconds) >= 100)
    # Each of them may ask again.
    for wire in idle:
        wire.sendall(request)
        assert wire.recv(4096).startswith(b"HTTP/1.1 204 ")
        wire.close()
    proof(
        f"{count} idle connections",
        f"most memory resident {before:.0f} → {peak:.0f} MiB, {(peak - before) * 1024 / count:.0f} KiB each; {good}",
    )
    assert not good.failures, good.failures[:3]
    assert max(good.seconds) < GOOD
    assert (peak - before) * 1024 < count * 64
