"""Other proxies carry an app's requests, and ask the gateway about each: the files of deploy/beside, run."""

import itertools
import json
import subprocess

import pytest

from kit.beside import KINDS, OWN, WIKI
from kit.client import Wire
from kit.gateway import PORTAL, VALET, Gateway
from kit.process import free_port, until

MORE = """
[[app]]
name = "wiki"
host = "wiki.example.com"
authorize = true
claims = {{ x-auth-email = "email" }}
login_url = "/login"

[[listener]]
address = "127.0.0.1:{checks}"
kind = "ext_authz"
"""


@pytest.fixture(scope="module")
def checks():
    return free_port()


@pytest.fixture(scope="module")
def gateway(home, node, idp, checks):
    started = Gateway(
        home / "beside",
        idp,
        node.upstream,
        app='login_url = "/login"',
        server='trusted_proxies = ["127.0.0.1"]',
        more=MORE.format(checks=checks),
    )
    yield started
    started.program.stop()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name, scope="module")
def proxy(request, home, gateway, checks, node):
    started = request.param.start(home / f"beside-{request.param.name}", gateway, checks, node)
    yield started
    started.program.stop()


@pytest.fixture(scope="module")
def kind(request, proxy):
    return next(kind for kind in KINDS if kind.name == proxy.name)


@pytest.fixture(scope="module")
def token(idp):
    return idp.token("ada", email="ada@example.com")


def seen(answer) -> dict:
    assert answer.status == 200, answer
    return json.loads(answer.body)


def identity(told: dict) -> list:
    return sorted(pair for pair in told["fields"] if pair[0].startswith("x-auth-") and pair[1])


def test_the_app_learns_who_asks_and_never_by_which_credential(proxy, kind, idp, token):
    for credential, left in [
        (f"Authorization: Bearer {token}", ""),
        (f"Cookie: a=1; session={token}; b=2", "a=1; b=2"),
        (f"Cookie: session={token}", ""),
    ]:
        told = seen(proxy.ask("GET /seen?x=%2f&y HTTP/1.1", credential))
        expected = [["x-auth-email", "ada@example.com"], ["x-auth-issuer", idp.issuer], ["x-auth-subject", "ada"]]
        assert identity(told) == expected
        assert (told["method"], told["target"]) == ("GET", "/seen?x=%2f&y")
        if kind.cuts_cookie:
            assert (told["authorization"], told["cookie"]) == ("", left)
            assert token not in json.dumps(told)


def test_what_a_client_says_of_itself_reaches_nobody(proxy, token):
    forged = ["X-Auth-Subject", "x-auth-email", "X-Auth-Assertion", "X-Auth-Cookie", "X_Auth_Subject", "X_auth-email"]
    lines = [f"{name}: eve" for name in forged]
    told = seen(proxy.ask("GET /seen HTTP/1.1", f"Authorization: Bearer {token}", *lines))
    assert told["subject"] == "ada" and "eve" not in json.dumps(told["fields"])
    assert proxy.ask("GET /seen HTTP/1.1", *lines).status == 401


def test_what_a_client_says_of_its_request_does_not_change_what_is_judged(proxy, token, gateway):
    for line in [
        "X-Forwarded-Uri: /login",
        "X-Forwarded-Method: OPTIONS",
        f"X-Forwarded-Host: {PORTAL}",
        "X-Original-URI: /login",
        "X-Original-URL: http://open.example/",
        "X-Original-Method: OPTIONS",
        "X-Envoy-Original-Path: /login",
        "X-Rewrite-Url: /login",
    ]:
        # Refused, or judged as what it is: never let in.
        assert proxy.ask("GET /seen HTTP/1.1", line).status in (400, 401), line
        answer = proxy.ask("GET /seen HTTP/1.1", f"Authorization: Bearer {token}", line)
        assert answer.status == 400 or seen(answer)["target"] == "/seen", line
    lines = len(gateway.log())
    proxy.ask("GET /seen HTTP/1.1", "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9")
    until("its access line", lambda: gateway.log()[lines:])
    assert not gateway.log(peer="203.0.113.9")


def test_no_path_gets_through_that_one_side_reads_otherwise(proxy, token):
    for target in [
        "//seen",
        "/x//seen",
        "/./seen",
        "/x/../seen",
        "/%2e%2e/seen",
        "/x%2f..%2fseen",
        "/seen%2f",
        "/seen%5c",
        "/seen%252f",
        "/..;/seen",
        "/seen/%00",
        "/seen\\x",
    ]:
        answer = proxy.ask(f"GET {target} HTTP/1.1", f"Authorization: Bearer {token}")
        # A proxy may answer it as another path, which was asked about then, or refuse it.
        assert answer.status in (400, 404) or seen(answer)["target"] != target, (target, answer)
        assert proxy.ask(f"GET {target} HTTP/1.1").status in (400, 401, 404), target
    for target in [f"http://{WIKI}/seen?x", f"HTTP://{WIKI}/seen?x"]:
        answer = proxy.ask(f"GET {target} HTTP/1.1", f"Authorization: Bearer {token}")
        assert answer.status == 400 or seen(answer)["target"].endswith("/seen?x"), answer
        assert proxy.ask(f"GET {target} HTTP/1.1").status in (400, 401)
    for host in [PORTAL, "open.example", "wiki.example.com@open.example"]:
        answer = proxy.ask(f"GET http://{host}/seen HTTP/1.1")
        assert answer.status in (400, 401, 404, 421) or not answer.body.startswith(b"{"), answer


def test_a_refusal_is_given_as_the_gateway_says_it(proxy):
    answer = proxy.ask("GET /seen HTTP/1.1")
    assert (answer.status, answer.field("www-authenticate")) == (401, "Bearer")
    assert json.loads(answer.body)["type"].endswith("/session-required")
    answer = proxy.ask("GET /seen?x=1 HTTP/1.1", "Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert (answer.status, answer.field("location")) == (302, "/login?return_to=%2Fseen%3Fx%3D1")
    answer = proxy.ask("POST /seen HTTP/1.1", "Content-Length: 0", "Authorization: Bearer nonsense")
    assert (answer.status, answer.field("www-authenticate")) == (401, 'Bearer error="invalid_token"')
    assert proxy.ask("GET /seen%252f HTTP/1.1").status == 400


def test_a_body_passes_and_is_not_asked_with(proxy, token):
    wire = Wire(proxy.port)
    body = "x" * 300_000
    wire.write(
        f"POST /seen HTTP/1.1\r\nHost: {WIKI}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )
    told = seen(wire.answer())
    assert (told["body"]["length"], told["method"], told["subject"]) == (len(body), "POST", "ada")


def test_nobody_outside_asks(proxy, token):
    for path in ["/.valet/authorize", "/.valet/authorize/seen", "/.valet/authorize?login=never"]:
        for host in [WIKI, OWN]:
            fields = ["X-Forwarded-Method: GET", f"X-Forwarded-Host: {WIKI}", "X-Forwarded-Uri: /seen"]
            answer = proxy.ask(f"GET {path} HTTP/1.1", f"Authorization: Bearer {token}", *fields, host=host)
            assert answer.status == 404 and answer.field("x-auth-subject") is None, (path, host, answer)


def test_the_doctor_finds_nothing_lost(proxy):
    done = subprocess.run(
        [VALET, "doctor", "--from", f"http://{OWN}:{proxy.port}"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_three_hundred_requests_get_the_verdict_of_an_app_route(proxy, gateway, idp, token):
    other = idp.token("grace", email="grace@example.com")
    credentials = [
        [],
        [f"Authorization: Bearer {token}"],
        [f"Cookie: session={other}"],
        ["Authorization: Bearer nonsense"],
        ["Authorization: Basic YTpi"],
        [f"Authorization: Bearer {token}", f"Cookie: session={other}"],
    ]
    targets = ["/seen", "/seen?x=1&y=%2F", "/seen?a=b;c", "/missing", "/seen?%41", "/nothing?", "/seen?//..", "/%73een", "/seen?=", "/seen?x#y"]
    methods = ["GET", "POST", "HEAD", "PUT", "DELETE"]
    compared = 0
    for method, target, fields in itertools.product(methods, targets, credentials):
        length = ["Content-Length: 0"] if method in ("POST", "PUT") else []
        by_asking = proxy.ask(f"{method} {target} HTTP/1.1", *fields, *length)
        wire = gateway.wire()
        wire.write("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {PORTAL}", *fields, *length, "Connection: close", "", ""]))
        by_route = wire.answer(head_only=method == "HEAD")
        case = (method, target, fields, by_asking, by_route)
        assert by_asking.status == by_route.status, case
        if by_route.status == 200 and by_route.body.startswith(b"{"):
            assert identity(seen(by_asking)) == identity(seen(by_route)), case
        else:
            assert by_asking.field("www-authenticate") == by_route.field("www-authenticate"), case
        compared += 1
    assert compared == 300
