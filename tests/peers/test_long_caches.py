"""What a cache does is the same behind the gateway as without it, in the judgement of http-cache-tests."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from kit.apps import FOLDER, App, need
from kit.gateway import Gateway
from kit.process import Program, free_port

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder():
    """The npm package, which tools/peers has installed."""
    folder = os.environ.get("CACHE_TESTS")
    if not folder or not Path(folder).is_dir():
        word = "the npm package http-cache-tests is missing: install npm and run tools/peers long"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(word)
    return folder


@pytest.fixture(scope="module")
def origin(folder):
    program = Program([need("node", "nodejs"), FOLDER / "cache_origin.mjs"])
    yield App("origin", program.line(lambda line: int(line.split()[1]) if line.startswith("port ") else None), program)
    program.stop()


@pytest.fixture(scope="module")
def cache(home, origin):
    """nginx with a cache before the origin."""
    folder, port = home / "cache", free_port()
    folder.mkdir()
    text = (FOLDER / "cache.conf").read_text()
    for mark, value in {"PORT": port, "NODE": origin.port, "HOME": folder}.items():
        text = text.replace(f"@{mark}@", str(value))
    (folder / "nginx.conf").write_text(text)
    program = Program([need("nginx", "nginx-light"), "-p", folder, "-c", folder / "nginx.conf"])
    program.serves(port)
    yield App("cache", port, program)
    program.stop()


def verdicts(port: int, *only: str) -> dict:
    words = [need("node", "nodejs"), FOLDER / "cache_verdicts.mjs", f"http://127.0.0.1:{port}", ",".join(only)]
    done = subprocess.run(words, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def differing(one: dict, other: dict) -> list[str]:
    """What passes here and not there. How it fails may differ: of an origin that hangs up the gateway makes a 502."""
    assert one.keys() == other.keys()
    return [test for test in one if (one[test] is True) != (other[test] is True)]


@pytest.mark.parametrize("name", ["origin", "cache"])
def test_the_verdicts_on_caching_are_those_without_the_gateway(home, idp, request, proof, name):
    app = request.getfixturevalue(name)
    gateway = Gateway(home / f"before-{name}", idp, app.upstream)
    direct, through = verdicts(app.port), verdicts(gateway.port)
    # Some tests count seconds. A difference counts if it is there three times.
    differ = differing(direct, through)
    for _ in range(2):
        if differ:
            again = verdicts(app.port, *differ), verdicts(gateway.port, *differ)
            differ = differing(*again)
            direct.update(again[0])
            through.update(again[1])
    gateway.program.stop()
    passed = sum(verdict is True for verdict in direct.values())
    behind = "nginx as a cache" if name == "cache" else "the bare origin"
    result = f"{len(direct)} tests, {passed} pass without the gateway, {len(differ)} verdicts differ with it"
    proof(f"http-cache-tests, {behind} behind", " ".join([result, *differ]))
    assert not differ, {test: (direct[test], through[test]) for test in differ}
