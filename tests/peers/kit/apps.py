"""The apps behind the gateway: real servers, each on a port of its own."""

import hashlib
import os
import random
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .process import Program, free_port

FOLDER = Path(__file__).parent.parent / "apps"

# The piece of which the app on Node makes long bodies.
PIECE = (b"0123456789abcdefghijklmnopqrstuvwxyz\n" * 1772)[: 64 * 1024]


@dataclass
class App:
    """A server that answers."""

    name: str
    port: int
    program: Program | None = None

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.port}"


def need(program: str, package: str) -> str:
    """Where a program is. Without it the test is skipped, and in CI it fails."""
    here = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
    if here is None:
        word = f"{program} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(word, pytrace=False)
        pytest.skip(word)
    return here


def files(home: Path) -> Path:
    """A folder of files that apps serve: text that can be compressed, and bytes that can't."""
    folder = home / "files"
    folder.mkdir()
    (folder / "text.txt").write_text("The same words again.\n" * 5000)
    (folder / "bytes.bin").write_bytes(random.Random(7).randbytes(1 << 20))
    (folder / "empty.txt").write_bytes(b"")
    for file in folder.iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
    return folder


def pieces_hash(count: int) -> str:
    """SHA-256 of so many pieces."""
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(PIECE)
    return digest.hexdigest()


def node_app(*words: str) -> App:
    program = Program([need("node", "nodejs"), FOLDER / "app.mjs", *words])
    port = program.line(lambda line: int(line.split()[1]) if line.startswith("port ") else None)
    return App("node", port, program)


def http_server(served: Path) -> App:
    """The server of Python's own library, which speaks HTTP/1.0."""
    program = Program([sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", served, "0"])
    port = program.line(lambda line: (found := re.search(r" port (\d+) ", line)) and int(found[1]))
    return App("http.server", port, program)


def before_node(name: str, home: Path, node: App, **more) -> App:
    """nginx, HAProxy or Caddy, which answers some paths itself and has the rest from Node. `more` fills the marks of its configuration."""
    home.mkdir()
    (home / "store").mkdir()
    # Another process may take the free port in between: then another one.
    for attempt in range(3):
        port = free_port()
        marks = {"PORT": port, "NODE": node.port, "HOME": home, **{mark.upper(): value for mark, value in more.items()}}
        program = Program(_words(name, home, marks), env=os.environ | {"HOME": str(home)})
        try:
            program.serves(port)
            return App(name, port, program)
        except AssertionError:
            program.stop()
            if attempt == 2:
                raise
    raise AssertionError


def _words(name: str, home: Path, marks: dict) -> list:
    def filled(template: str, path: str) -> Path:
        text = (FOLDER / template).read_text()
        for mark, value in marks.items():
            text = text.replace(f"@{mark}@", str(value))
        (home / path).write_text(text)
        return home / path

    match name:
        case "nginx":
            return [need("nginx", "nginx-light"), "-p", home, "-c", filled("nginx.conf", "nginx.conf")]
        case "haproxy":
            filled("seen.json", "seen.json")
            return [need("haproxy", "haproxy"), "-db", "-f", filled("haproxy.cfg", "haproxy.cfg")]
        case "mtls nginx":
            return [need("nginx", "nginx-light"), "-p", home, "-c", filled("mtls.nginx.conf", "nginx.conf")]
        case "caddy" | "mtls caddy" | "h2c caddy":
            kind = name.removesuffix("caddy").strip()
            config = filled(f"{kind}.Caddyfile" if kind else "Caddyfile", "Caddyfile")
            return [need("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", config]
    raise AssertionError(name)
