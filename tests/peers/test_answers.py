"""Through the gateway a client gets from an app what it gets from the app itself."""

import json

import pytest

from kit.apps import PIECE

# Paths at which each app answers itself.
EVERYWHERE = {
    "nothing to say": ("/here/nothing",),
    "a redirect": ("/here/away",),
    "nothing found": ("/here/missing",),
    "three cookies": ("/here/cookies",),
    "three cookies, only the head": ("/here/cookies", "--head"),
    "a redirect, only the head": ("/here/away", "--head"),
    "chunks": ("/chunks",),
    "a compressed body": ("/gzip", "--header", "Accept-Encoding: gzip"),
    "a body of another coding": ("/br", "--header", "Accept-Encoding: br"),
    "a long body": ("/bytes/16",),
    "a long body in chunks": ("/bytes/16/chunked",),
    "a question about options": ("/here/cookies", "--request", "OPTIONS"),
    "a form": ("/echo", "--data", "a=1&b=%20"),
    "a put": ("/echo", "--request", "PUT", "--data", "whole"),
    "a patch": ("/echo", "--request", "PATCH", "--data", "part"),
    "a deletion": ("/echo", "--request", "DELETE"),
    "a deletion with a body": ("/echo", "--request", "DELETE", "--data", "why"),
    "a get with a body": ("/echo", "--request", "GET", "--data", "odd"),
    "a post without a body": ("/echo", "--request", "POST", "--header", "Content-Length: 0"),
    "a method of the app's own": ("/echo", "--request", "PROPFIND", "--data", "<x/>"),
}

# What those apps can do that serve files.
FILES = {
    "a file": ("/files/bytes.bin",),
    "a file, only the head": ("/files/bytes.bin", "--head"),
    "an empty file": ("/files/empty.txt",),
    "a compressed file": ("/files/text.txt", "--header", "Accept-Encoding: gzip"),
    "the start of a file": ("/files/bytes.bin", "--range", "0-99"),
    "the end of a file": ("/files/bytes.bin", "--range", "-100"),
    "all but the start": ("/files/bytes.bin", "--range", "1000000-"),
    "a range behind the end": ("/files/bytes.bin", "--range", "9999999-"),
    "a range of a file that is no longer so": ("/files/bytes.bin", "--range", "0-99", "--header", 'If-Range: "other"'),
    "a file that did not change": (
        "/files/text.txt",
        "--header",
        "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    ),
    "a file that must not have changed": (
        "/files/text.txt",
        "--header",
        "If-Unmodified-Since: Tue, 14 Nov 2000 22:13:20 GMT",
    ),
}


@pytest.mark.parametrize("words", EVERYWHERE.values(), ids=EVERYWHERE.keys())
def test_an_answer_is_the_apps_own(stack, words):
    direct = stack.direct(*words)
    assert direct.status < 500
    assert stack.open(*words).end_to_end() == direct.end_to_end(stack.version)
    assert stack.ask(*words).end_to_end() == direct.end_to_end(stack.version)


@pytest.mark.parametrize("name", ["nginx", "caddy"])
@pytest.mark.parametrize("words", FILES.values(), ids=FILES.keys())
def test_a_file_is_the_apps_own(stacks, front, name, words):
    stack = stacks(name, front)
    direct = stack.direct(*words)
    assert direct.status in (200, 206, 304, 412, 416)
    assert stack.ask(*words).end_to_end() == direct.end_to_end(stack.version)


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_what_a_client_has_already_is_not_sent_again(stacks, front, name):
    stack = stacks(name, front)
    first = stack.ask("/files/text.txt")
    again = stack.ask("/files/text.txt", "--header", f"If-None-Match: {first.field('etag')}")
    assert (again.status, again.body) == (304, b"")
    assert again.field("etag") == first.field("etag")


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_several_ranges_come_as_parts(stacks, front, name):
    stack = stacks(name, front)
    whole = stack.direct("/files/bytes.bin").body
    answer = stack.ask("/files/bytes.bin", "--range", "0-9,100-109")
    assert answer.status == 206
    assert answer.field("content-type").startswith("multipart/byteranges; boundary=")
    assert whole[0:10] in answer.body and whole[100:110] in answer.body


def test_a_body_comes_back_byte_for_byte(stack):
    for sent in [b"\0", bytes(range(256)) * 300, PIECE * 20]:
        for words in [(), ("--header", "Transfer-Encoding: chunked")]:
            answer = stack.ask("/echo", "--data-binary", "@-", *words, input=sent)
            assert answer.status == 200
            assert answer.body == sent


def test_a_file_is_stored_read_and_deleted(stacks, front):
    stack = stacks("nginx", front)
    sent = bytes(range(256)) * 4096
    assert stack.ask("/store/a/b.bin", "--upload-file", "-", input=sent).status == 201
    assert stack.ask("/store/a/b.bin", "--upload-file", "-", input=sent).status == 204
    assert stack.ask("/store/a/b.bin", "--request", "DELETE").status == 204
    assert stack.ask("/store/a/b.bin", "--request", "DELETE").status == 404


@pytest.mark.only_http_1("a length that is off by one spoils no frame")
def test_one_connection_serves_answers_of_every_kind(node_stack):
    """A length that is off by one would show in the answer behind it."""
    stack = node_stack
    with stack.wire() as wire:
        for line, status in [
            ("HEAD /here/cookies", 200),
            ("GET /here/nothing", 204),
            ("HEAD /bytes/3", 200),
            ("GET /chunks", 200),
            ("GET /gzip", 200),
            ("GET /trailers", 200),
            ("GET /here/away", 302),
            ("GET /here/missing", 404),
            ("HEAD /chunks", 200),
            ("GET /hints", 200),
            ("GET /here/cookies", 200),
        ]:
            wire.write(stack.head(f"{line} HTTP/1.1"))
            answer = wire.answer(head_only=line.startswith("HEAD"))
            assert (line, answer.status) == (line, status)
        assert answer.body == b"crumbs\n"


def test_requests_of_many_clients_share_a_connection_to_the_app(node_stack):
    before = int(node_stack.ask("/connections").body)
    for _ in range(10):
        node_stack.ask("/chunks")
    assert int(node_stack.ask("/connections").body) - before <= 1


def test_trailers_of_an_answer_are_dropped_and_nothing_else(stack):
    answer = stack.ask("/trailers")
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.field("trailer") is None


@pytest.mark.only_http_1("written by hand; test_http2.py does the like with frames")
def test_trailers_of_a_request_are_dropped_and_the_connection_goes_on(node_stack):
    with node_stack.wire() as wire:
        wire.write(node_stack.head("POST /seen HTTP/1.1", "Transfer-Encoding: chunked", "Trailer: X-Auth-Subject"))
        wire.write("3\r\nabc\r\n0\r\nX-Auth-Subject: eve\r\n\r\n")
        seen = json.loads(wire.answer().body)
        assert (seen["body"]["length"], seen["rawTrailers"], seen["subject"]) == (3, [], "ada")
        wire.write(node_stack.head("GET /chunks HTTP/1.1"))
        assert wire.answer().body == b"one two three"


@pytest.mark.only_http_1("clients of HTTP/2 get the final answer only")
def test_early_hints_reach_the_client(node_stack):
    answer = node_stack.ask("/hints")
    assert (answer.status, answer.body, answer.interim) == (200, b"hinted", [103])


@pytest.mark.only_http_1("curl 7.88 takes RST_STREAM with NO_ERROR behind a whole answer for a fault; test_http2.py does the like with frames")
def test_an_app_may_answer_before_it_has_read_the_body(stack):
    """nginx, HAProxy and Caddy do so for each answer of their own: the client gets it, not a fault of ours."""
    answer = stack.ask("/here/missing", "--data-binary", "@-", input=PIECE * 64)
    assert answer.status == 404
    answer = stack.ask("/here/missing", "--data-binary", "@-", "--header", "Expect:", input=PIECE * 64)
    assert answer.status == 404
