"""Many requests over few connections of HTTP/2, by h2load."""

import re
import subprocess

import pytest

from kit.apps import need
from kit.gateway import H2 as FRONT
from kit.gateway import PORTAL, VALET, Gateway
from kit.process import Program

pytestmark = pytest.mark.long

FRONTS = [FRONT]

REQUESTS, CLIENTS, STREAMS = 20_000, 8, 16

KEY = "key-of-these-tests"


@pytest.fixture(scope="module")
def vendor():
    """The simulated vendor's address."""
    program = Program([VALET, "simulate", "provider", "--listen", "127.0.0.1:0", "--api-key", KEY])
    found = re.compile(r"^Listening\s+(\S+)")
    yield program.line(lambda line: (m := found.match(line)) and m[1])
    program.stop()


@pytest.fixture(scope="module")
def gateway(home, idp, node, front, vendor):
    home = home / "loaded"
    home.mkdir()
    (home / "vendor.key").write_text(KEY)
    (home / "vendor.key").chmod(0o600)
    more = f"""
[[provider]]
name = "vendor"
preset = "intelliprove-v2"
base_url = "{vendor}"
api_key = {{ file = "vendor.key" }}
redirect_hosts = ["{vendor.split("//")[1].rsplit(":")[0]}"]

[[plugin]]
name = "face-scan"
provider = "vendor"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
"""
    gateway = Gateway(home, idp, node.upstream, front, more=more)
    yield gateway
    gateway.program.stop()
    assert gateway.program.ended() == 0


@pytest.mark.parametrize("path,status", [("/here/nothing", "2xx"), ("/plugins/face-scan", "3xx")])
def test_no_request_of_20_000_fails(gateway, idp, proof, path, status):
    before, cpu = gateway.program.peak(), gateway.program.cpu()
    words = [need("h2load", "nghttp2-client"), "-n", REQUESTS, "-c", CLIENTS, "-m", STREAMS, "-t", 1]
    words += ["--connect-to", f"127.0.0.1:{gateway.port}", "-H", f"authorization: Bearer {idp.token('ada')}"]
    done = subprocess.run(list(map(str, [*words, f"https://{PORTAL}{path}"])), capture_output=True, timeout=300)
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    counts = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    codes = {code: int(count) for count, code in re.findall(r"(\d+) (\dxx)", said)}
    rate = re.search(r"([\d.]+) req/s", said)[1]
    proof(
        f"h2load: {REQUESTS} requests for {path}, {CLIENTS} connections of {STREAMS} streams",
        f"{counts[2]} succeeded, {counts[3]} failed; {rate} requests/s; {gateway.program.cpu() - cpu:.1f} s of CPU; "
        f"most memory resident {before:.0f} → {gateway.program.peak():.0f} MiB",
    )
    assert [int(count) for count in counts.groups()] == [REQUESTS, REQUESTS, 0, 0, 0], said
    assert codes == {"2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0} | {status: REQUESTS}
