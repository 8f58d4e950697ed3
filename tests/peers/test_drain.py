"""SIGTERM: what is under way is finished, within `server.drain`."""

import signal
import threading
import time
import uuid

import pytest
from websockets.exceptions import ConnectionClosed

from kit.apps import PIECE
from kit.process import HANG, accepts, until
from test_websockets import dial


def stop_accepting(stack):
    """SIGTERM, and waits until nobody new gets in."""
    stack.gateway.program.signal(signal.SIGTERM)
    until("nobody gets in", lambda: not accepts(stack.gateway.port))


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
@pytest.mark.parametrize("name", ["node", "nginx"])
def test_a_download_is_finished_after_the_listeners_are_closed(leaving, name):
    stack, download = leaving(name, "30s"), uuid.uuid4().hex
    with stack.wire() as wire:
        wire.write(stack.head(f"GET /halves/{download} HTTP/1.1"))
        assert wire.line().split()[1] == b"200"
        stop_accepting(stack)
        stack.direct(f"/go/{download}", "--request", "POST", "--header", "Content-Length: 0")
        while wire.line() != b"\r\n":
            pass
        assert wire.read(2 * len(PIECE)) == PIECE * 2
        assert wire.is_closed()
    assert stack.gateway.program.ended() == 0


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_an_upload_is_finished_after_the_listeners_are_closed(leaving):
    stack = leaving("node", "30s")
    with stack.wire() as wire:
        wire.write(stack.head("POST /seen HTTP/1.1", "Content-Length: 6") + "abc")
        until("the request is under way", lambda: stack.direct("/connections"))
        stop_accepting(stack)
        wire.write("def")
        assert wire.answer().status == 200
    assert stack.gateway.program.ended() == 0


@pytest.mark.only_http_1("WebSockets over HTTP/2 do not pass")
def test_a_websocket_works_until_its_client_closes_it(leaving):
    stack = leaving("python", "30s")
    with dial(stack) as ws:
        stop_accepting(stack)
        ws.send("still there?")
        assert ws.recv(HANG) == "still there?"
    assert stack.gateway.program.ended() == 0


@pytest.mark.only_http_1("WebSockets over HTTP/2 do not pass")
def test_a_websocket_is_cut_at_the_end_of_the_drain(leaving):
    stack = leaving("python", "1s")
    with dial(stack) as ws:
        began = time.monotonic()
        stack.gateway.program.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            ws.recv(HANG)
        # A second in which answers close their connections, the drain, and one more for what is cut.
        assert stack.gateway.program.ended() == 0
        assert time.monotonic() - began < 6


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_a_request_on_a_connection_that_is_kept_gets_its_answer(leaving):
    """While the gateway stops, who sends in the same moment loses nothing: curl, over and over on one connection."""
    stack = leaving("node", "30s")
    answers = []

    def ask_on():
        with stack.wire() as wire:
            while True:
                wire.write(stack.head("GET /chunks HTTP/1.1"))
                answers.append(wire.answer())
                if answers[-1].field("connection") == "close":
                    return

    client = threading.Thread(target=ask_on)
    client.start()
    until("requests are under way", lambda: len(answers) > 10)
    stack.gateway.program.signal(signal.SIGTERM)
    client.join(HANG)
    assert not client.is_alive()
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"one two three")}
    assert stack.gateway.program.ended() == 0
