"""`valet run` before an app, and `valet simulate idp` for its sessions."""

import json
import os
import re
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from .certificates import Authority
from .client import Wire
from .process import Program, until

VALET = os.environ.get("VALET", "target/debug/valet")

# The app's two hosts: one that needs a session, one that asks nobody.
PORTAL, OPEN = "portal.example", "open.example"


class Idp:
    """The simulated identity provider."""

    def __init__(self):
        self.program = Program([VALET, "simulate", "idp", "--listen", "127.0.0.1:0"])
        found = re.compile(r"^Listening\s+(\S+)")
        self.issuer = self.program.line(lambda line: (m := found.match(line)) and m[1])

    def token(self, user: str, **claims) -> str:
        form = urllib.parse.urlencode({"user": user, **claims}).encode()
        with urllib.request.urlopen(f"{self.issuer}/token", form) as answer:
            return json.load(answer)["access_token"]


@dataclass
class Front:
    """How clients reach the gateway."""

    name: str
    # What curl is told, and the version that an answer then has.
    curl: tuple[str, ...] = ("--http1.1",)
    version: str = "HTTP/1.1"
    scheme: str = "http"
    # Further lines of `[[listener]]`.
    listener: str = ""
    # The authority by which clients believe the gateway.
    ca: Path | None = None

    def signed(self, authority: Authority) -> "Front":
        """The same, with a certificate if it needs one."""
        if self.scheme == "http":
            return self
        site = authority.pair("site", PORTAL, OPEN)
        listener = f'tls = [{{ chain = "{site.chain}", key = "{site.key}" }}]\n{self.listener}'
        curl = "--cacert", str(authority.file), *self.curl
        return replace(self, listener=listener, curl=curl, ca=authority.file)

    def wire(self, port: int, protocol: str = "http/1.1") -> Wire:
        """A connection on which a test writes what it likes; over TLS, if that is this front."""
        if self.ca is None:
            return Wire(port)
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([protocol])
        return Wire(port, context, PORTAL)


PLAIN = Front("http/1.1")
HTTPS = Front("https/1.1", scheme="https")
H2 = Front("h2", ("--http2",), "HTTP/2", "https")


class Gateway:
    """`valet run` on ports of its own before one app."""

    def __init__(
        self,
        home: Path,
        idp: Idp,
        upstream: str,
        front: Front = PLAIN,
        app: str = "",
        server: str = "",
        more: str = "",
    ):
        home.mkdir(parents=True, exist_ok=True)
        self.front = front
        config = home / "valet.toml"
        config.write_text(_toml(idp, upstream, front, app, server) + more)
        self.program = Program([VALET, "run", "--config", config], env=os.environ | {"RUST_BACKTRACE": "0"})
        self._at: dict[str, str] = {}
        self.program.line(self._address)
        self.port = int(self._at["serving"].rsplit(":", 1)[1])
        self.admin = self._at["administration address serving"]
        until("the gateway is ready", lambda: self._ready() == 200)

    def _address(self, line: str):
        if line.startswith("{"):
            said = json.loads(line)
            if said.get("message") in ("serving", "administration address serving"):
                # Of several listeners the first.
                self._at.setdefault(said["message"], said["address"])
        return True if len(self._at) == 2 else None

    def _ready(self) -> int:
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz") as answer:
                return answer.status
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def wire(self) -> Wire:
        """A connection to it, for HTTP/1.1 by hand."""
        return self.front.wire(self.port)

    def counted(self, outcome: str) -> int:
        """Requests to the apps that ended so."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith("valet_requests_total{") and f'outcome="{outcome}"' in line]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)

    def log(self, **wanted) -> list[dict]:
        """The log lines that say all of this."""
        said = [json.loads(line) for line in list(self.program.lines) if line.startswith("{")]
        return [line for line in said if wanted.items() <= line.items()]


def _toml(idp: Idp, upstream: str, front: Front, app: str, server: str) -> str:
    return f"""
[server]
public_url = "http://app.localhost"
{server}

[[listener]]
address = "127.0.0.1:0"
{front.listener}

[admin]
address = "127.0.0.1:0"

[[session.issuer]]
issuer = "{idp.issuer}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ discovery = true }}

[[app]]
name = "portal"
host = "{PORTAL}"
upstreams = ["{upstream}"]
claims = {{ x-auth-email = "email" }}
{app}

[[app]]
name = "open"
upstreams = ["{upstream}"]
session = "none"
{app}
"""
