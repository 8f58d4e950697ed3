"""The parts that tests ask for. An app or a gateway starts when the first test needs it, and ends with the last."""

import time
import uuid

import pytest

from kit.apps import App, before_node, files, http_server, node_app
from kit.gateway import PLAIN, Gateway, Idp
from kit.sockets import SocketServer
from kit.stack import Stack

APPS = ["node", "nginx", "haproxy", "caddy"]

# How clients reach the gateway. TLS with HTTP/1.1 and HTTP/2 are further rows.
FRONTS = [PLAIN]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="session")
def idp():
    idp = Idp()
    yield idp
    idp.program.stop()


@pytest.fixture(scope="session")
def sockets():
    server = SocketServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def node():
    app = node_app()
    yield app
    app.program.stop()


@pytest.fixture(scope="session")
def apps(home, node, sockets):
    """Each app by its name, started once."""
    served = files(home)
    running = {"node": node, "python": App("python", sockets.port)}

    def app(name: str) -> App:
        if name not in running:
            old = name == "http.server"
            running[name] = http_server(served) if old else before_node(name, home / name, served, node, sockets.port)
        return running[name]

    yield app
    for started in running.values():
        if started.program:
            started.program.stop()


@pytest.fixture(scope="session")
def stacks(home, apps, idp):
    """A gateway before an app, by the app's name and the way in."""
    running = {}

    def stack(name: str, front=PLAIN) -> Stack:
        key = name, front.name
        if key not in running:
            app = apps(name)
            gateway = Gateway(home / f"gateway-{len(running)}", idp, app.upstream, front)
            running[key] = Stack(app, gateway, idp.token("ada", email="ada@example.com"))
        return running[key]

    yield stack
    for stack in running.values():
        stack.gateway.program.stop()
        assert stack.gateway.program.ended() == 0


@pytest.fixture(params=FRONTS, ids=lambda front: front.name, scope="session")
def front(request):
    return request.param


@pytest.fixture(params=APPS, scope="session")
def stack(request, stacks, front):
    """A gateway before each app in turn."""
    return stacks(request.param, front)


@pytest.fixture(scope="session")
def node_stack(stacks, front):
    """A gateway before the app on Node: for what does not depend on the app."""
    return stacks("node", front)


@pytest.fixture
def leaving(home, apps, idp, front):
    """Starts a gateway of the test's own, with its time to drain, before an app."""
    started = []

    def start(name: str, drain: str) -> Stack:
        app = apps(name)
        own = home / f"leaving-{uuid.uuid4().hex}"
        started.append(Gateway(own, idp, app.upstream, front, server=f'drain = "{drain}"'))
        return Stack(app, started[-1], idp.token("ada"))

    yield start
    for gateway in started:
        gateway.program.stop()


# Rows of a table, `| what | result | seconds |`, for tools/prove.
_rows: list[str] = []


@pytest.fixture
def proof(request):
    """Notes one proof's result."""
    began = time.monotonic()

    def note(what: str, result: str):
        _rows.append(f"| {what} | {result} | {time.monotonic() - began:.0f} |")

    return note


def pytest_terminal_summary(terminalreporter):
    for row in _rows:
        terminalreporter.write_line(row)
