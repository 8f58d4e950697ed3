"""What an answer to another proxy costs, beside a warm redirect: CPU of the gateway's process for each request, by h2load."""

import statistics
import subprocess

import pytest

from kit.apps import need
from kit.gateway import Gateway
from kit.process import free_port
from test_long_load import KEY, vendor  # noqa: F401

pytestmark = pytest.mark.long

REQUESTS, CLIENTS, ROUNDS = 100_000, 16, 5

CHECK = "/envoy.service.auth.v3.Authorization/Check"

MORE = """
[[provider]]
name = "vendor"
preset = "intelliprove-v2"
base_url = "{vendor}"
api_key = {{ file = "vendor.key" }}
redirect_hosts = ["127.0.0.1"]

[[plugin]]
name = "face-scan"
provider = "vendor"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"

[assertion]
keys = [{{ file = "assertion.pem" }}]

[[app]]
name = "wiki"
host = "wiki.example.com"
authorize = true

[[app]]
name = "signed"
host = "signed.example.com"
authorize = true
assertion = {{ audience = "signed", claims = ["email"] }}

[[listener]]
address = "127.0.0.1:{checks}"
kind = "ext_authz"
"""


def field(tag: int, value: bytes | str) -> bytes:
    """A field of a protobuf message: a text, or a message."""
    value = value.encode() if isinstance(value, str) else value
    number = lambda n: bytes([n]) if n < 128 else bytes([n & 127 | 128]) + number(n >> 7)  # noqa: E731
    return number(tag << 3 | 2) + number(len(value)) + value


def check(token: str) -> bytes:
    """A `CheckRequest` as Envoy sends it, with the five bytes of gRPC before it."""
    fields = {"authorization": f"Bearer {token}", "accept": "*/*", "user-agent": "h2load", "x-forwarded-proto": "http"}
    headers = b"".join(field(3, field(1, k) + field(2, v)) for k, v in fields.items())
    http = field(2, "GET") + headers + field(4, "/page?x=1") + field(5, "wiki.example.com")
    source = field(1, field(1, field(1, field(2, "203.0.113.7"))))
    message = field(1, source + field(4, field(2, http)))
    return b"\0" + len(message).to_bytes(4, "big") + message


@pytest.fixture(scope="module")
def gateway(home, idp, node, vendor):  # noqa: F811
    home = home / "costs"
    home.mkdir()
    (home / "vendor.key").write_text(KEY)
    (home / "vendor.key").chmod(0o600)
    openssl = need("openssl", "openssl")
    subprocess.run(
        [openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", home / "assertion.pem"],
        check=True,
        capture_output=True,
    )
    checks = free_port()
    server = 'trusted_proxies = ["127.0.0.1"]\nthreads = 1'
    gateway = Gateway(home, idp, node.upstream, server=server, more=MORE.format(vendor=vendor, checks=checks))
    gateway.checks = checks
    yield gateway
    gateway.program.stop()
    assert gateway.program.ended() == 0


def test_what_an_answer_to_another_proxy_costs(gateway, idp, proof, home):
    token = idp.token("ada", email="ada@example.com")
    body = home / "check.bin"
    body.write_bytes(check(token))
    h2load = [need("h2load", "nghttp2-client"), "-n", REQUESTS, "-c", CLIENTS, "-t", 1]
    own, grpc = f"http://127.0.0.1:{gateway.port}", f"http://127.0.0.1:{gateway.checks}"
    asked = ["--h1", "-H", f"authorization: Bearer {token}", "-H", "x-forwarded-method: GET", "-H", "x-forwarded-uri: /page?x=1"]
    ways = {
        "a warm redirect": ["--h1", "-H", f"authorization: Bearer {token}", f"{own}/plugins/face-scan"],
        "/.valet/authorize": [*asked, "-H", "x-forwarded-host: wiki.example.com", f"{own}/.valet/authorize"],
        "the same with an assertion": [*asked, "-H", "x-forwarded-host: signed.example.com", f"{own}/.valet/authorize"],
        "gRPC ext_authz": ["-m", 4, "-d", body, "-H", "content-type: application/grpc", f"{grpc}{CHECK}"],
    }
    costs = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, words in ways.items():
            before = gateway.program.cpu()
            done = subprocess.run(list(map(str, h2load + words)), capture_output=True, text=True, timeout=300)
            assert f"{REQUESTS} succeeded, 0 failed" in done.stdout, done.stdout + done.stderr
            costs[way].append((gateway.program.cpu() - before) / REQUESTS * 1e6)
    median = {way: statistics.median(cost) for way, cost in costs.items()}
    redirect = median["a warm redirect"]
    for way, cost in median.items():
        proof(f"CPU of {way}", f"{cost:.1f} µs, {cost / redirect:.2f} × a warm redirect")
