"""Floods over HTTP/2: each ends within its bound, and good clients are served meanwhile, on connections of their own."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from h2.settings import SettingCodes

from kit import floods
from kit.gateway import H2 as FRONT
from kit.h2client import H2, tls
from kit.load import GoodClient
from kit.process import until

pytestmark = pytest.mark.long

FRONTS = [FRONT]

# A good request takes no longer, in seconds, although both sides of the attack share its machine.
GOOD = 5

# How long a client goes on and comes again, in seconds.
LENGTH = 5

# What a clock and a busy machine may add to a bound, in seconds.
SLACK = 2


@dataclass
class Flood:
    """One way of doing harm."""

    name: str
    pieces: object
    # A connection lives no longer, in seconds.
    bound: float = 10
    # At once.
    clients: int = 1
    # What the gateway's memory may grow by, in MiB.
    growth: int = 32


FLOODS = [
    Flood("PINGs whose answers are read", floods.pings),
    Flood("SETTINGS", floods.settings),
    Flood("streams that are reset at once", floods.resets),
    Flood("a head that goes on and on", floods.continuations),
    Flood("a head that goes on with nothing", floods.empty_continuations),
    Flood("heads that unpack to 48 MiB", floods.bombs),
    # It grows to this, however long they go on.
    Flood("malformed streams without end", floods.malformed, growth=64),
    Flood("nothing after TLS", floods.silence, clients=100),
    Flood("half a preface", floods.half_a_preface, clients=100),
    # docs/operations.md, "Bounds": a request's head is there 10 s after its first byte.
    Flood("half a head", floods.half_a_head, clients=100),
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name)
def test_a_flood_ends_and_good_clients_are_served(leaving, proof, flood):
    stack = leaving("node", "1s")
    gateway = stack.gateway
    # What a first request takes is no matter of floods.
    stack.ask("/chunks")
    before, cpu = gateway.program.peak(), gateway.program.cpu()
    began, lives = time.monotonic(), []

    def attack(_):
        while not lives or time.monotonic() < began + LENGTH:
            with tls(gateway) as wire:
                lives.append(floods.pour(wire, flood.pieces(), flood.bound + SLACK))
            if lives[-1] is None or lives[-1] > LENGTH:
                return

    with GoodClient(gateway, stack.head("GET /chunks HTTP/1.1", "Connection: close")) as good:
        with ThreadPoolExecutor(flood.clients) as clients:
            list(clients.map(attack, range(flood.clients)))
        until("twenty good requests", lambda: len(good.seconds) >= 20)
    took, cpu, peak = time.monotonic() - began, gateway.program.cpu() - cpu, gateway.program.peak()
    ended = [life for life in lives if life is not None]
    longest = f", the last after {max(ended):.1f} s" if ended else ""
    proof(
        f"HTTP/2: {flood.name}",
        f"{len(ended)} of {len(lives)} connections ended{longest} (bound {flood.bound:.0f}); {cpu:.1f} s of CPU in {took:.0f} s, "
        f"the good ones' too; most memory resident {before:.0f} → {peak:.0f} MiB; {good}",
    )
    assert len(ended) == len(lives)
    assert not good.failures, good.failures[:3]
    assert max(good.seconds) < GOOD
    assert peak - before < flood.growth


def test_answers_that_are_not_taken_end_and_good_clients_are_served(leaving, proof):
    """A hundred answers of 4 MiB on one connection without a window. docs/operations.md, "Bounds": a piece is taken in 30 s."""
    stack, bound = leaving("node", "1s"), 30
    gateway = stack.gateway
    stack.ask("/chunks")
    before, cpu, began, ends = gateway.program.peak(), gateway.program.cpu(), time.monotonic(), {}
    with GoodClient(gateway, stack.head("GET /chunks HTTP/1.1", "Connection: close")) as good:
        with H2(gateway, stack.token, {SettingCodes.INITIAL_WINDOW_SIZE: 0}) as h2:
            numbers = [h2.open(h2.head("GET", "/bytes/64")) for _ in range(100)]
            h2.wire.settimeout(1)
            while len(ends) < len(numbers) and time.monotonic() < began + bound + SLACK:
                with contextlib.suppress(TimeoutError):
                    h2.read()
                ends |= {number: time.monotonic() - began for number in numbers if h2.streams[number].over and number not in ends}
            # It may ask again.
            assert h2.ask("GET", "/here/nothing").status == 204
    cpu, peak = gateway.program.cpu() - cpu, gateway.program.peak()
    proof(
        "HTTP/2: a hundred answers into no window",
        f"{len(ends)} of {len(numbers)} streams ended, from {min(ends.values(), default=0):.1f} s to "
        f"{max(ends.values(), default=0):.1f} s (bound {bound}); {cpu:.1f} s of CPU in {bound} s, the good ones' too; "
        f"most memory resident {before:.0f} → {peak:.0f} MiB; {good}",
    )
    assert len(ends) == len(numbers)
    assert not good.failures, good.failures[:3]
    assert max(good.seconds) < GOOD
    # About what a connection of HTTP/1.1 whose answer is not taken has: half a MiB, each with one to the app.
    assert peak - before < 100


def test_a_client_of_64_malformed_streams_goes_on(leaving):
    """They are its own affair: no bound is near."""
    stack = leaving("node", "1s")
    with tls(stack.gateway) as wire:
        assert floods.pour(wire, floods.few_malformed(), 2) is None
