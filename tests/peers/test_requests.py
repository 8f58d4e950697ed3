"""Requests as clients may write them: old ones, odd ones, and those of a client that takes the gateway for a proxy."""

import json

import pytest

from kit.client import Curl
from kit.gateway import HTTPS


@pytest.fixture
def stack(node_stack):
    return node_stack


def target(answer) -> str:
    assert answer.status == 200, answer
    return json.loads(answer.body)["target"]


def problem(answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["type"].rsplit("/", 1)[1]


@pytest.mark.only_http_1("HTTP/1.0 is asked for, whatever the front")
def test_a_client_of_http_1_0_gets_what_it_can_read(stacks, front):
    for name in ["node", "nginx", "haproxy", "caddy"]:
        stack = stacks(name, front)
        for path, body in [("/chunks", b"one two three"), ("/trailers", b"body"), ("/here/nothing", b"")]:
            answer = stack.ask(path, "--http1.0", "--no-alpn")
            assert answer.body == body
            assert answer.field("transfer-encoding") is None
            assert answer.field("connection") == "close"


@pytest.mark.only_http_1("HTTP/1.0 is asked for, whatever the front")
def test_a_client_of_http_1_0_need_not_name_a_host(stack):
    with stack.wire() as wire:
        wire.write("GET /seen HTTP/1.0\r\n\r\n")
        assert target(wire.answer()) == "/seen"
        assert wire.is_closed()


@pytest.mark.only_http_1("HTTP/1.0 is asked for, whatever the front")
def test_a_client_of_http_1_0_gets_no_interim_answers(stack):
    with stack.wire() as wire:
        wire.write(stack.head("GET /hints HTTP/1.0"))
        answer = wire.answer()
    assert (answer.status, answer.interim) == (200, [])


@pytest.mark.only_http_1("HTTP/1.0 is asked for, whatever the front")
def test_a_client_of_http_1_0_may_not_send_chunks(stack):
    with stack.wire() as wire:
        wire.write(stack.head("POST /seen HTTP/1.0", "Transfer-Encoding: chunked") + "1\r\na\r\n0\r\n\r\n")
        assert problem(wire.answer()) == (400, "bad-request")


def test_a_client_of_http_1_0_may_say_so_in_the_tls_handshake(stacks, fronts):
    """curl does (ALPN). nginx, for one, agrees to it."""
    assert stacks("node", fronts[HTTPS.name]).ask("/seen", "--http1.0").status == 200


@pytest.mark.parametrize(
    "sent,got",
    [
        ("/a/../seen", "/seen"),
        ("/./seen", "/seen"),
        ("//seen", "/seen"),
        ("/seen/", "/seen/"),
        ("/seen?", "/seen?"),
        ("/seen?a=../..&b=%2f%zz", "/seen?a=../..&b=%2f%zz"),
        ("/seen/%20;v=1/%C3%A9", "/seen/%20;v=1/%C3%A9"),
    ],
)
def test_the_app_gets_the_path_that_was_judged(stack, sent, got):
    assert target(stack.ask("/", "--path-as-is", "--request-target", sent)) == got


@pytest.mark.only_http_1("HTTP/2 has the scheme and the host in fields of their own")
@pytest.mark.parametrize(
    "sent,got",
    [
        ("http://portal.example/seen?x", "/seen?x"),
        ("HTTP://portal.example/seen", "/seen"),
        ("http://PORTAL.example/seen", "/seen"),
    ],
)
def test_a_target_may_be_a_whole_uri(stack, sent, got):
    assert target(stack.ask("/", "--path-as-is", "--request-target", sent)) == got


@pytest.mark.parametrize(
    "sent",
    [
        "/%2e%2e/seen",
        "/seen%2fx",
        "/seen%5cx",
        "/seen\\x",
        "/seen%00",
        "/..;/seen",
        "/%252e%252e/seen",
    ],
)
def test_a_target_that_can_be_read_in_two_ways_reaches_no_app(stack, sent):
    before = stack.gateway.counted("forwarded")
    assert problem(stack.ask("/", "--path-as-is", "--request-target", sent)) == (400, "bad-request")
    assert stack.gateway.counted("forwarded") == before


@pytest.mark.parametrize(
    "sent",
    [
        "/seen#x",
        "http://other.example/seen",
        "https://portal.example@other.example/seen",
        "ftp://portal.example/seen",
        "seen",
        "?seen",
    ],
)
@pytest.mark.only_http_1("a :path of that kind resets its stream; test_http2.py tries them")
def test_a_target_that_is_no_path_reaches_no_app(stack, sent):
    before = stack.gateway.counted("forwarded")
    assert problem(stack.ask("/", "--path-as-is", "--request-target", sent)) == (400, "bad-request")
    assert stack.gateway.counted("forwarded") == before


@pytest.mark.only_plain("an HTTP proxy is spoken to without TLS")
def test_a_client_may_take_the_gateway_for_its_proxy(stack):
    curl = Curl(None, "--proxy", f"http://127.0.0.1:{stack.gateway.port}")
    assert target(curl.ask(stack.url("/seen?x"), *stack.session)) == "/seen?x"


@pytest.mark.only_plain("an HTTP proxy is spoken to without TLS")
def test_no_tunnel_is_opened(stack):
    curl = Curl(None, "--proxy", f"http://127.0.0.1:{stack.gateway.port}", "--proxytunnel")
    words = ["--write-out", "%{http_connect}", *stack.session, stack.url("/seen")]
    # What curl says when a proxy opens no tunnel.
    assert (done := curl.run(*words, check=False)).returncode == 56
    assert done.stdout in (b"400", b"405")


def test_questions_about_the_whole_server_are_not_for_an_app(stack):
    assert problem(stack.ask("/", "--request", "OPTIONS", "--request-target", "*")) == (400, "bad-request")


def test_nothing_is_traced(stack):
    assert problem(stack.ask("/", "--request", "TRACE")) == (405, "method-not-allowed")


@pytest.mark.only_plain("with TLS the protocol is agreed upon in the handshake")
def test_a_client_may_ask_for_another_protocol_and_gets_this_one(stack):
    answer = stack.ask("/seen", "--http2")
    assert (answer.version, target(answer)) == ("HTTP/1.1", "/seen")
    assert not [field for field in json.loads(answer.body)["fields"] if field[0] in ("upgrade", "http2-settings")]


def test_as_many_fields_as_the_bound_allows_pass_and_one_more_does_not(stack):
    words = lambda count: [word for n in range(count) for word in ("--header", f"X-{n}: v")]  # noqa: E731
    # curl's own: Authorization, User-Agent, Accept, and Host, which HTTP/2 has no field for.
    most = 97 if stack.version == "HTTP/2" else 96
    assert stack.ask("/seen", *words(most)).status == 200
    assert problem(stack.ask("/seen", *words(most + 1))) == (431, "header-too-large")


@pytest.mark.only_http_1("HTTP/2 has no request line")
def test_a_target_as_long_as_the_bound_allows_passes_and_a_longer_one_does_not(stack):
    line = len("GET  HTTP/1.1\r\n")
    longest = "/seen?" + "x" * (8192 - line - len("/seen?"))
    assert target(stack.ask("/", "--request-target", longest)) == longest
    assert problem(stack.ask("/", "--request-target", longest + "x" * 64)) == (414, "header-too-large")
