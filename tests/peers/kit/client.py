"""Clients: curl as a program, and bytes on a socket."""

import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .apps import need

# No answer takes longer, not even on a machine under load.
TIME = 60

# What belongs to one connection, or to the moment, and so differs from hop to hop.
PER_HOP = {"date", "connection", "keep-alive", "x-request-id"}


@dataclass
class Answer:
    """What came back."""

    status: int
    version: str
    fields: list[tuple[str, str]]
    body: bytes
    # Statuses of the answers before it: 100, 103.
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def field(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def end_to_end(self, version: str = "HTTP/1.1"):
        """All that an app says to a client of this version through any proxy; fields of one name in their order."""
        # HTTP/2 has frames in place of chunks.
        hop = PER_HOP | ({"transfer-encoding"} if version == "HTTP/2" else set())
        kept = [pair for pair in self.fields if pair[0] not in hop]
        return self.status, sorted(kept, key=lambda pair: pair[0]), self.body


class Curl:
    """curl, to one port whatever the URL's host; without a port wherever `always` says."""

    def __init__(self, port: int | None, *always: str):
        self._always = [*(["--connect-to", f"::127.0.0.1:{port}"] if port else []), *always]

    def words(self, *words) -> list[str]:
        # --disable: the user's own settings have no say.
        base = [need("curl", "curl"), "--disable", "--silent", "--show-error", "--max-time", str(TIME)]
        return [*base, *self._always, *map(str, words)]

    def run(self, *words, check: bool = True, input: bytes | None = None) -> subprocess.CompletedProcess:
        done = subprocess.run(self.words(*words), capture_output=True, input=input, timeout=TIME + 10)
        assert not check or done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr.decode()}"
        return done

    def ask(self, url: str, *words, input: bytes | None = None) -> Answer:
        """One request. The body is as it was sent, only chunks are put together."""
        with tempfile.TemporaryDirectory() as folder:
            head, body = Path(folder, "head"), Path(folder, "body")
            self.run("--dump-header", head, "--output", body, *words, url, input=input)
            # Of a HEAD curl writes the head to both.
            said = body.read_bytes() if body.exists() and "--head" not in words else b""
            return _answer(head.read_bytes().decode("latin-1"), said)


def _answer(heads: str, body: bytes) -> Answer:
    interim = []
    for head in heads.rstrip("\r\n").split("\r\n\r\n"):
        line, *rest = head.split("\r\n")
        version, status = line.split(" ")[:2]
        if status.startswith("1") and status != "101":
            interim.append(int(status))
            continue
        pairs = [text.split(":", 1) for text in rest if ":" in text]
        fields = [(name.lower(), value.strip()) for name, value in pairs]
        return Answer(int(status), version, fields, body, interim)
    raise AssertionError(f"no answer in {heads!r}")


class Wire:
    """A connection on which a test writes what it likes."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, host: str | None = None):
        self._socket = socket.create_connection(("127.0.0.1", port), TIME)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        self._file = self._socket.makefile("rb")

    def write(self, text: str | bytes):
        self._socket.sendall(text.encode("latin-1") if isinstance(text, str) else text)

    def answer(self, head_only: bool = False) -> Answer:
        """The next answer: with a length, chunked, or until the end of the connection."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            assert line, f"the connection ended after {head!r}"
            head += line
        answer = _answer(head.decode("latin-1"), b"") if not head.startswith(b"HTTP/1.1 10") else None
        if answer is None:
            later = self.answer(head_only)
            later.interim.insert(0, int(head.split()[1]))
            return later
        if head_only or answer.status in (204, 304):
            return answer
        if answer.field("transfer-encoding") == "chunked":
            answer.body = self._chunks()
        elif (length := answer.field("content-length")) is not None:
            answer.body = self._file.read(int(length))
        else:
            answer.body = self._file.read()
        return answer

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline().split(b";")[0], 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        end = self._file.readline()
        assert end == b"\r\n", f"trailers: {end!r}"
        return body

    def line(self) -> bytes:
        return self._file.readline()

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def is_closed(self) -> bool:
        """Waits for the other side: true if it closes, false if it sends."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self._file.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
