"""The parts that tests ask for. An app or a gateway starts when the first test needs it, and ends with the last."""

import time
import uuid

import pytest

from kit.apps import App, before_node, files, http_server, node_app
from kit.certificates import Authority
from kit.gateway import H2, HTTPS, PLAIN, Gateway, Idp
from kit.sockets import SocketServer
from kit.stack import Stack

APPS = ["node", "nginx", "haproxy", "caddy"]

# How clients reach the gateway.
FRONTS = [PLAIN, HTTPS, H2]


# Every app is behind the first front, those behind the others: all of them behind all would take twice as long.
BEHIND = {HTTPS.name: ("node", "python", "nginx"), H2.name: ("node", "caddy")}


def pytest_collection_modifyitems(config, items):
    def apart(item):
        params = item.callspec.params if hasattr(item, "callspec") else {}
        front, app = params.get("front"), params.get("stack")
        return front is None or app is None or app in BEHIND.get(front.name, (app,))

    kept = [item for item in items if apart(item)]
    config.hook.pytest_deselected(items=[item for item in items if not apart(item)])
    items[:] = kept


def pytest_generate_tests(metafunc):
    """Each test that asks for a front runs once for each, or for each of its file's; a mark says where it makes no sense, and why."""
    if "front" not in metafunc.fixturenames:
        return
    plain = metafunc.definition.get_closest_marker("only_plain")
    http_1 = metafunc.definition.get_closest_marker("only_http_1")

    def row(front):
        mark = (plain if front is not PLAIN else None) or (http_1 if front is H2 else None)
        why = mark and mark.args[0]
        return pytest.param(front, id=front.name, marks=[pytest.mark.skip(reason=why)] if why else [])

    metafunc.parametrize("front", [row(front) for front in getattr(metafunc.module, "FRONTS", FRONTS)], indirect=True, scope="session")


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
            before = lambda: before_node(name, home / name, node, files=served, sockets=sockets.port)  # noqa: E731
            running[name] = http_server(served) if old else before()
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


@pytest.fixture(scope="session")
def authority(home):
    return Authority(home, "house")


@pytest.fixture(scope="session")
def fronts(authority):
    """Each front with its certificate, by its name."""
    return {front.name: front.signed(authority) for front in FRONTS}


@pytest.fixture(scope="session")
def front(request, fronts):
    return fronts[request.param.name]


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
