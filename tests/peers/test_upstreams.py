"""Apps behind TLS that want to see a certificate, and apps that speak HTTP/2: what passes is what passes to the plain ones."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.apps import PIECE, App, before_node, node_app, pieces_hash
from kit.certificates import Authority, Pair
from kit.gateway import Gateway
from kit.stack import Stack

# Under which name the apps' certificate is.
NAME = "app.internal"

# 64 MiB, in pieces of 64 KiB.
PIECES = 1024

# What the gateway's memory may grow by while long bodies pass, in MiB.
GROWTH = 64


@dataclass
class House:
    """The apps' authority, and whom it knows."""

    ca: Path
    app: Pair
    gateway: Pair


@dataclass
class Kind:
    """An app, how it is reached, and what it then sees."""

    app: str
    scheme: str
    version: str
    # The subject of the gateway's certificate, as this app writes it.
    client: str | None = None


KINDS = [
    Kind("mtls nginx", "https", "HTTP/1.1", "CN=gateway"),
    Kind("mtls caddy", "https", "HTTP/2.0", "CN=gateway"),
    Kind("h2c caddy", "h2c", "HTTP/2.0"),
    Kind("h2c node", "h2c", "2.0"),
]


@pytest.fixture(scope="session")
def house(home):
    """Who signs the apps' certificates, and the gateway's to them."""
    authority = Authority(home, "apps")
    return House(authority.file, authority.pair("app", NAME), authority.pair("gateway"))


@pytest.fixture(scope="session")
def behind(home, node, house):
    """An app of this kind, started once."""
    running = {}

    def app(name: str) -> App:
        if name not in running:
            marks = {"chain": house.app.chain, "key": house.app.key, "clients": house.ca}
            own = name == "h2c node"
            running[name] = node_app("h2c") if own else before_node(name, home / name.replace(" ", "-"), node, **marks)
        return running[name]

    yield app
    for started in running.values():
        started.program.stop()


def keys(ca: Path, pair: Pair | None) -> str:
    """Lines of `[[app]]`."""
    shown = f'client_certificate = {{ chain = "{pair.chain}", key = "{pair.key}" }}' if pair else ""
    return f'ca = "{ca}"\nserver_name = "{NAME}"\n{shown}\n'


@pytest.fixture(params=KINDS, ids=lambda kind: kind.app, scope="session")
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def stack(home, idp, behind, house, kind, fronts):
    app = behind(kind.app)
    extra = keys(house.ca, house.gateway) if kind.scheme == "https" else ""
    gateway = Gateway(home / f"before {kind.app}", idp, f"{kind.scheme}://{app.upstream}", fronts["h2"], extra)
    yield Stack(app, gateway, idp.token("ada", email="ada@example.com"))
    gateway.program.stop()
    assert gateway.program.ended() == 0


def test_an_app_learns_the_subject_and_never_the_credential(stack, kind, idp):
    names = ["X-Auth-Subject", "X_Auth_Subject", "X-Auth-Email"]
    forged = [word for name in names for word in ("--header", f"{name}: eve")]
    answer = stack.ask("/seen?x=%2f", *forged)
    assert answer.status == 200
    seen = json.loads(answer.body)
    fields = dict(seen["fields"])
    assert (seen["subject"], seen["issuer"], seen["authorization"]) == ("ada", idp.issuer, "")
    assert (seen["target"], fields["x-auth-email"]) == ("/seen?x=%2f", "ada@example.com")
    assert fields.get("x-spoken", seen["httpVersion"]) == kind.version
    assert fields.get("x-client") == kind.client
    assert (fields.get("host") or fields[":authority"]) == "portal.example"
    assert stack.token not in answer.body.decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_each_method_arrives(stack, method):
    answer = stack.ask("/seen", *(["--head"] if method == "HEAD" else ["--request", method]))
    assert answer.status == 200
    assert method == "HEAD" or json.loads(answer.body)["method"] == method


@pytest.fixture(scope="session")
def plain_stack(stacks, fronts):
    """A gateway before the app on Node over HTTP/1.1."""
    return stacks("node", fronts["h2"])


@pytest.mark.parametrize(
    "words,status",
    [
        (("/here/nothing",), 204),
        (("/here/away",), 302),
        (("/here/missing",), 404),
        (("/here/cookies",), 200),
        (("/here/cookies", "--head"), 200),
        (("/chunks",), 200),
        (("/gzip", "--header", "Accept-Encoding: gzip"), 200),
        (("/trailers",), 200),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_answer_is_the_one_of_the_plain_app(stack, plain_stack, words, status):
    plain, answer = plain_stack.ask(*words), stack.ask(*words)
    assert (plain.status, answer.status, answer.body) == (status, status, plain.body)
    for name in ["set-cookie", "content-type", "location", "content-encoding"]:
        assert answer.all(name) == plain.all(name)


def test_a_body_comes_back_byte_for_byte(stack):
    for sent in [b"", b"\0", bytes(range(256)) * 300, PIECE * 20]:
        answer = stack.ask("/echo", "--data-binary", "@-", input=sent)
        assert (answer.status, answer.body) == (200, sent)


def test_64_mebibytes_pass_each_way_without_being_held(stack, kind, tmp_path, proof):
    before, wanted = stack.gateway.program.peak(), pieces_hash(PIECES)
    stack.curl.run(*stack.session, "--fail", "--output", tmp_path / "got", stack.url(f"/bytes/{PIECES}"))
    with open(tmp_path / "got", "rb") as got:
        assert hashlib.file_digest(got, "sha256").hexdigest() == wanted
    answer = stack.ask("/seen", "--upload-file", tmp_path / "got")
    assert json.loads(answer.body)["body"] == {"length": PIECES * len(PIECE), "sha256": wanted}
    after = stack.gateway.program.peak()
    proof(f"64 MiB each way over h2, {kind.app} behind", f"most memory resident: {before:.0f} → {after:.0f} MiB")
    assert after - before < GROWTH


def test_nothing_stands_behind_an_answer_on_a_kept_connection(stack):
    with stack.gateway.wire() as wire:
        # An answer that does not wait for the request's end may close the connection.
        read = ["", "Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
        for path in ["/chunks", "/bytes/3", "/seen", "/gzip", "/chunks", "/seen", "/seen"]:
            for body in read if path == "/seen" else [""] * 3:
                head = f"GET {path} HTTP/1.1\r\nHost: portal.example\r\nAuthorization: Bearer {stack.token}\r\n"
                wire.write(head + (body or "\r\n"))
                answer = wire.answer()
                assert (answer.status, len(answer.body) > 0) == (200, True), (path, body)


def test_an_answer_that_breaks_off_does_not_look_whole(stack):
    for path in ["/broken", "/broken/chunked"]:
        # 92: the stream was reset.
        assert stack.curl.run(*stack.session, stack.url(path), check=False).returncode == 92


def test_requests_at_once_share_connections_to_an_app_of_http_2(behind, home, idp, fronts):
    app = behind("h2c node")
    gateway = Gateway(home / "sharing", idp, f"h2c://{app.upstream}", fronts["h2"])
    stack = Stack(app, gateway, idp.token("ada"))
    before = int(stack.ask("/connections").body)
    urls = [word for _ in range(50) for word in ("--output", "/dev/null", stack.url("/chunks"))]
    stack.curl.run(*stack.session, "--parallel", "--parallel-immediate", "--fail", *urls)
    # Not one connection: Pingora takes it out of its pool while it opens a stream on it, and who looks just then opens another.
    assert int(stack.ask("/connections").body) - before < 25
    gateway.program.stop()


@pytest.mark.parametrize("name", ["mtls nginx", "mtls caddy"])
@pytest.mark.parametrize("fault", ["no certificate", "a stranger's certificate", "an unknown authority", "another name"])
def test_an_app_that_is_not_believed_or_believes_us_not_is_502(home, idp, behind, house, name, fault):
    app, stranger = behind(name), Authority(home, f"stranger to {name} {fault}".replace("'", ""))
    match fault:
        case "no certificate":
            extra = keys(house.ca, None)
        case "a stranger's certificate":
            extra = keys(house.ca, stranger.pair("gateway"))
        case "an unknown authority":
            extra = keys(stranger.file, house.gateway)
        case "another name":
            extra = keys(house.ca, house.gateway).replace(NAME, "other.internal")
    gateway = Gateway(home / f"not believed {name} {fault}", idp, f"https://{app.upstream}", app=extra)
    answer = Stack(app, gateway, idp.token("ada")).ask("/seen")
    gateway.program.stop()
    # nginx finishes the handshake and answers 400 itself.
    refused_by_nginx = name == "mtls nginx" and "certificate" in fault
    assert (answer.status, b"subject" in answer.body) == (400 if refused_by_nginx else 502, False)
