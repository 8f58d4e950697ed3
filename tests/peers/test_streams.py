"""Bodies are passed on as they come: events one by one, and long ones without being held."""

import hashlib
import json
import uuid

import pytest

from kit.apps import PIECE, pieces_hash
from kit.process import until

# The quick part's long body, in pieces of 64 KiB: 64 MiB.
PIECES = 1024

# What the gateway's memory may grow by while long bodies pass, in MiB.
GROWTH = 64


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_each_event_arrives_before_the_next_is_sent(stack):
    """The app sends the next event only when the client has said, on another connection, that it has the last."""
    name = uuid.uuid4().hex
    with stack.wire() as wire:
        wire.write(stack.head(f"GET /events/{name}/5 HTTP/1.1"))
        assert wire.line().split()[1] == b"200"
        for number in range(1, 6):
            while wire.line() != b"data: %d\n" % number:
                pass
            stack.ask(f"/go/{name}", "--request", "POST", "--header", "Content-Length: 0")
        while wire.line() != b"data: end\n":
            pass


def test_an_answer_that_breaks_off_does_not_look_whole(stack):
    """RFC 9112, section 8: an incomplete message is not taken for a complete one."""
    for path in ["/broken", "/broken/chunked"]:
        done = stack.curl.run(*stack.session, stack.url(path), check=False)
        # 18: less than was announced; 56: the connection broke.
        # 92: the stream was reset; what was on the way may be lost with it.
        assert done.returncode in ((92,) if stack.version == "HTTP/2" else (18, 56))
        assert done.stdout[:5] == b"01234" or stack.version == "HTTP/2"


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_the_app_learns_that_the_client_went(stack):
    name = uuid.uuid4().hex
    with stack.wire() as wire:
        wire.write(stack.head(f"GET /halves/{name} HTTP/1.1"))
        assert wire.line().split()[1] == b"200"
        assert stack.direct(f"/left/{name}").body == b"no"
    until("the app saw it", lambda: stack.direct(f"/left/{name}").body == b"yes")


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_each_piece_of_an_upload_arrives_before_the_next_is_sent(node_stack):
    with node_stack.wire() as wire:
        wire.write(node_stack.head("POST /echo HTTP/1.1", "Transfer-Encoding: chunked"))
        wire.write("5\r\nfirst\r\n")
        while b"first" not in wire.line():
            pass
        wire.write("6\r\nsecond\r\n0\r\n\r\n")
        while b"second" not in wire.line():
            pass


def test_a_long_body_passes_each_way_without_being_held(stack, tmp_path, proof):
    before, wanted = stack.gateway.program.peak(), pieces_hash(PIECES)
    for path in [f"/bytes/{PIECES}", f"/bytes/{PIECES}/chunked"]:
        stack.curl.run(*stack.session, "--fail", "--output", tmp_path / "got", stack.url(path))
        with open(tmp_path / "got", "rb") as got:
            assert hashlib.file_digest(got, "sha256").hexdigest() == wanted
    for words in [(), ("--header", "Transfer-Encoding: chunked")]:
        answer = stack.ask("/seen", *words, "--upload-file", tmp_path / "got")
        assert json.loads(answer.body)["body"] == {"length": PIECES * len(PIECE), "sha256": wanted}
    after = stack.gateway.program.peak()
    proof(f"64 MiB each way over {stack.gateway.front.name}, {stack.app.name} behind", f"most memory resident: {before:.0f} → {after:.0f} MiB")
    assert after - before < GROWTH


@pytest.mark.only_http_1("clients of HTTP/2 get the final answer only")
def test_a_client_that_waits_to_be_asked_for_the_body_is_asked(stack):
    answer = stack.ask("/seen", "--header", "Expect: 100-continue", "--data-binary", "@-", input=PIECE * 16)
    # Caddy may say it twice: for itself, and for the app behind it.
    assert (answer.status, set(answer.interim)) == (200, {100})
    assert json.loads(answer.body)["body"]["length"] == 16 * len(PIECE)


@pytest.mark.only_http_1("clients of HTTP/2 get the final answer only")
def test_a_client_that_waits_is_told_at_once_that_it_may_not(node_stack):
    """Neither a refusal of the gateway nor one of the app costs the body."""
    words = ["--header", "Expect: 100-continue", "--expect100-timeout", "30", "--data-binary", "@-"]
    words += ["--output", "-", "--write-out", "\n%{http_code} %{size_upload}"]
    for path, session, status in [("/seen", (), b"401"), ("/early", node_stack.session, b"403")]:
        done = node_stack.curl.run(*words, *session, node_stack.url(path), input=PIECE * 64)
        assert done.stdout.splitlines()[-1] == status + b" 0"
