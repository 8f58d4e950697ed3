"""Apps that are old, and apps that speak HTTP badly: Python's own server, and answers by hand."""

import socket
import threading

import pytest

from kit.client import Curl
from kit.gateway import OPEN, Gateway


# What curl is told for HTTP/1.0: over TLS it would ask for `http/1.0` alone, which is no protocol of the gateway's.
OLD = ("--http1.0", "--no-alpn")


class ByHand:
    """An app that answers each request with the same bytes."""

    def __init__(self, answer: bytes, close: bool):
        self._answer, self._close = answer, close
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire):
        with wire, wire.makefile("rb") as lines:
            while lines.readline():
                while lines.readline() not in (b"\r\n", b""):
                    pass
                wire.sendall(self._answer)
                if self._close:
                    return

    def stop(self):
        self._listener.close()


@pytest.fixture
def before(home, idp, front, tmp_path):
    """Starts a gateway before an app that answers with these bytes."""
    started = []

    def start(*lines: str, close: bool = False) -> Gateway:
        app = ByHand("\r\n".join(lines).encode("latin-1"), close)
        gateway = Gateway(tmp_path, idp, f"127.0.0.1:{app.port}", front)
        started.extend([app, gateway.program])
        return gateway

    yield start
    for part in started:
        part.stop()


def ask(gateway: Gateway, *words: str):
    front = gateway.front
    curl = Curl(gateway.port, *front.curl, *words)
    return curl.ask(f"{front.scheme}://{OPEN}/")


def test_an_old_apps_files_are_its_own(stacks, front):
    stack = stacks("http.server", front)
    for words in [("/text.txt",), ("/bytes.bin",), ("/text.txt", "--head"), ("/none",), ("/",)]:
        direct = stack.direct(*words)
        assert direct.version == "HTTP/1.0"
        assert stack.ask(*words).end_to_end() == direct.end_to_end(stack.version)
    since = "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"
    assert stack.ask("/text.txt", "--header", since).status == 304


def test_an_old_apps_answer_comes_in_the_gateways_own_version(stacks, front):
    stack = stacks("http.server", front)
    assert stack.ask("/text.txt").version == stack.version


def test_an_answer_that_ends_with_its_connection_arrives_whole(before):
    gateway = before("HTTP/1.1 200 OK", "", "hello", close=True)
    assert ask(gateway).body == b"hello"
    assert ask(gateway, *OLD).body == b"hello"


def test_what_an_app_sends_behind_its_answer_is_nobodys_answer(before):
    gateway = before("HTTP/1.1 200 OK", "Content-Length: 3", "", "abcHTTP/1.1 200 OK", "Content-Length: 3", "", "xyz")
    for _ in range(3):
        assert ask(gateway).body == b"abc"


@pytest.mark.parametrize(
    "lines",
    [
        ("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 5", "", "hello"),
        ("HTTP/1.1 099 Odd", "Content-Length: 5", "", "hello"),
        ("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: upgrade", "", "hello"),
        ("SSH-2.0-OpenSSH", ""),
        ("HTTP/1.1 200 OK", "Content-Length"),
        ("",),
    ],
    ids=["two lengths", "no status", "a protocol that nobody asked for", "no HTTP", "half a head", "nothing"],
)
def test_an_answer_that_cannot_be_read_safely_is_502(before, lines):
    answer = ask(before(*lines, close=True))
    assert (answer.status, answer.field("content-type")) == (502, "application/problem+json")


@pytest.mark.parametrize("lengths", [["5", "5"], ["5, 5"]], ids=["in two fields", "in one"])
def test_a_length_that_is_said_twice_is_said_once_or_refused(before, lengths):
    fields = [f"Content-Length: {length}" for length in lengths]
    answer = ask(before("HTTP/1.1 200 OK", *fields, "", "hello"))
    assert answer.status == 502 or answer.all("content-length") == ["5"]


def test_an_answer_without_a_body_says_nothing_about_chunks(before):
    answer = ask(before("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked", "", ""))
    assert (answer.status, answer.field("transfer-encoding")) == (204, None)


@pytest.mark.parametrize("words", [(), OLD], ids=["its own", "HTTP/1.0"])
def test_fields_as_large_as_apps_send_them_arrive(before, words):
    cookies = [f"Set-Cookie: c{n}={'a' * 1000}" for n in range(32)]
    gateway = before("HTTP/1.1 200 OK", *cookies, "X-Policy: " + "b" * 20000, "Content-Length: 5", "", "hello")
    answer = ask(gateway, *words)
    assert (answer.body, len(answer.all("set-cookie")), len(answer.field("x-policy"))) == (b"hello", 32, 20000)
