"""WebSockets, between the client and the server of the Python package websockets."""

import socket
import ssl

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kit.gateway import PORTAL
from kit.process import HANG, until
from kit.sockets import through_tls

pytestmark = pytest.mark.only_http_1("WebSockets over HTTP/2 do not pass")

# The server itself, and behind each proxy that an app may have of its own.
SERVERS = ["python", "nginx", "haproxy", "caddy"]

CODES = [1000, 1001, 1008, 1011, 3000, 4999]


@pytest.fixture(params=SERVERS, scope="session")
def stack(request, stacks, front):
    return stacks(request.param, front)


def dial(stack, token=None, **options):
    """A WebSocket through the gateway."""
    front, port = stack.gateway.front, stack.gateway.port
    if front.ca:
        wire = through_tls(port, ssl.create_default_context(cafile=front.ca), PORTAL)
    else:
        wire = socket.create_connection(("127.0.0.1", port), HANG)
    headers = {"Authorization": f"Bearer {token or stack.token}"} if token != "" else {}
    return connect(
        f"ws://{PORTAL}/socket?room=1",
        sock=wire,
        additional_headers=headers,
        open_timeout=HANG,
        max_size=8 << 20,
        proxy=None,
        **options,
    )


def test_messages_of_each_kind_come_back(stack):
    with dial(stack) as ws:
        for message in ["hello", "é" * 1000, "", b"\0\xff" * 1000, b""]:
            ws.send(message)
            assert ws.recv(HANG) == message


@pytest.mark.parametrize("compression", ["deflate", None])
def test_large_messages_come_back(stack, compression):
    with dial(stack, compression=compression) as ws:
        for message in [bytes(range(256)) * 4096, "x" * (1 << 20)]:
            ws.send(message)
            assert ws.recv(HANG) == message


def test_a_message_in_pieces_stays_one(stack):
    with dial(stack) as ws:
        ws.send(iter(["first ", "second ", "third"]))
        assert ws.recv(HANG) == "first second third"
        ws.send("in pieces")
        assert list(ws.recv_streaming()) == ["one ", "two ", "three", ""]


def test_both_sides_may_ask_whether_the_other_is_there(stack):
    with dial(stack) as ws:
        assert ws.ping().wait(HANG)
        ws.send("ping me")
        assert ws.recv(HANG) == "pong seen"


@pytest.mark.parametrize(
    "offered,chosen", [(["chat.v1"], "chat.v1"), (["chat.v1", "chat.v2"], "chat.v2"), (None, None)]
)
def test_a_subprotocol_is_agreed_upon(stack, offered, chosen):
    with dial(stack, subprotocols=offered) as ws:
        assert ws.subprotocol == chosen


@pytest.mark.parametrize("code", CODES)
def test_the_app_learns_how_the_client_closed(stack, sockets, code):
    with dial(stack) as ws:
        # The package's server tells its app of no WebSocket whose end comes right behind the handshake.
        ws.send("hello")
        assert ws.recv(HANG) == "hello"
        ws.close(code, "for a reason")
    until("the app saw it", lambda: sockets.closed and sockets.closed[-1] == (code, "for a reason"))


@pytest.mark.parametrize("code", CODES)
def test_the_client_learns_how_the_app_closed(stack, code):
    with dial(stack) as ws:
        ws.send(f"close {code} because of this")
        with pytest.raises(ConnectionClosed):
            ws.recv(HANG)
        assert (ws.close_code, ws.close_reason) == (code, "because of this")


def test_the_app_learns_the_subject_and_never_the_credential(stack, sockets):
    with dial(stack, origin="https://app.example"):
        told = sockets.handshakes[-1]
    assert told["x-auth-subject"] == "ada"
    assert told["origin"] == "https://app.example"
    assert "authorization" not in told


@pytest.mark.parametrize("token", ["", "a.b.c"], ids=["no session", "no good session"])
def test_without_a_session_the_app_sees_nothing(stack, sockets, token):
    before = len(sockets.handshakes)
    with pytest.raises(InvalidStatus) as refused:
        dial(stack, token=token)
    assert refused.value.response.status_code == 401
    assert len(sockets.handshakes) == before


def test_an_expired_session_opens_nothing(stack, sockets, idp):
    before = len(sockets.handshakes)
    with pytest.raises(InvalidStatus) as refused:
        dial(stack, token=idp.token("ada", expires_in=-120))
    assert refused.value.response.status_code == 401
    assert len(sockets.handshakes) == before


def test_a_client_that_vanishes_frees_the_app(stack, sockets):
    with dial(stack) as ws:
        ws.send("hello")
        assert ws.recv(HANG) == "hello"
        before = len(sockets.closed)
        ws.socket.shutdown(socket.SHUT_RDWR)
        until("the app saw it", lambda: len(sockets.closed) > before)
