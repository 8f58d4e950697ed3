"""Long bodies and long drains, at their real length."""

import hashlib
import json
import signal
import subprocess
import time

import pytest

from kit.apps import PIECE, pieces_hash
from kit.process import until
from test_websockets import dial

pytestmark = pytest.mark.long

# 1 GiB, in pieces of 64 KiB.
PIECES = 16384
GROWTH = 64


@pytest.mark.parametrize("name", ["node", "nginx"])
def test_a_gibibyte_passes_each_way_without_being_held(leaving, proof, name):
    stack = leaving(name, "30s")
    # What a first request takes is no matter of length.
    stack.ask("/chunks")
    start = stack.gateway.program.peak()
    wanted = pieces_hash(PIECES)

    began = time.monotonic()
    words = stack.curl.words("--max-time", "300", *stack.session, "--fail", stack.url(f"/bytes/{PIECES}"))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as curl:
        digest = hashlib.sha256()
        while piece := curl.stdout.read(1 << 20):
            digest.update(piece)
    down_seconds, down = time.monotonic() - began, stack.gateway.program.peak()
    assert (curl.returncode, digest.hexdigest()) == (0, wanted)

    began = time.monotonic()
    words = stack.curl.words("--max-time", "300", *stack.session, "--fail", "--upload-file", "-", stack.url("/seen"))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        for _ in range(PIECES):
            curl.stdin.write(PIECE)
        curl.stdin.close()
        seen = json.loads(curl.stdout.read())
    up_seconds, up = time.monotonic() - began, stack.gateway.program.peak()
    assert seen["body"] == {"length": PIECES * len(PIECE), "sha256": wanted}

    proof(
        f"1 GiB each way over {stack.gateway.front.name}, {name} behind",
        f"most memory resident: {start:.0f} MiB before, {down:.0f} after the download "
        f"({1024 / down_seconds:.0f} MiB/s), {up:.0f} after the upload ({1024 / up_seconds:.0f} MiB/s)",
    )
    assert up - start < GROWTH


@pytest.mark.only_http_1("WebSockets over HTTP/2 do not pass")
def test_a_download_of_20_seconds_and_a_websocket_outlive_sigterm(leaving, proof, apps, tmp_path):
    web, live = leaving("node", "60s"), leaving("python", "60s")
    pieces = 720
    words = web.curl.words("--max-time", "60", "--limit-rate", "2M", *web.session, "--fail")
    curl = subprocess.Popen([*words, "--output", tmp_path / "got", web.url(f"/bytes/{pieces}")])
    messages = []
    with dial(live) as ws:
        until("the download has begun", lambda: (tmp_path / "got").exists() and (tmp_path / "got").stat().st_size)
        began = time.monotonic()
        for stack in (web, live):
            stack.gateway.program.signal(signal.SIGTERM)
        while curl.poll() is None:
            ws.send("still there?")
            messages.append(ws.recv(10))
            time.sleep(0.2)
        took = time.monotonic() - began
    assert curl.returncode == 0
    with open(tmp_path / "got", "rb") as got:
        assert hashlib.file_digest(got, "sha256").hexdigest() == pieces_hash(pieces)
    assert set(messages) == {"still there?"}
    assert [stack.gateway.program.ended() for stack in (web, live)] == [0, 0]
    proof(
        f"SIGTERM during a download and a WebSocket over {web.gateway.front.name}",
        f"the download went on for {took:.0f} s and was whole; {len(messages)} messages came back meanwhile; "
        "exit code 0 twice",
    )
