"""gRPC from end to end: a client over TLS, the gateway, and a server behind h2c."""

import queue
import sys
import uuid

import pytest

from kit.apps import FOLDER, App, need
from kit.gateway import H2, PORTAL, Gateway
from kit.process import HANG, Program, free_port, until

# What grpc may hold in one message, here and in the app.
LARGEST = 64 << 20


@pytest.fixture(scope="module")
def app():
    program = Program([sys.executable, FOLDER / "grpc_app.py"])
    port = program.line(lambda line: int(line.split()[1]) if line.startswith("port ") else None)
    yield App("grpc", port, program)
    program.stop()


@pytest.fixture(scope="module")
def helped(home, app):
    """The app behind a HAProxy, which adds `te: trailers`."""
    port, config = free_port(), home / "te.cfg"
    text = (FOLDER / "te.cfg").read_text()
    config.write_text(text.replace("@PORT@", str(port)).replace("@NODE@", str(app.port)))
    program = Program([need("haproxy", "haproxy"), "-db", "-f", config])
    program.serves(port)
    yield App("helped", port, program)
    program.stop()


# The server of grpc's C core (C++, Python, Ruby, PHP, C#) refuses a call without `te: trailers`, so it has to get there.
each = pytest.mark.parametrize("gateway", ["app", "helped"], indirect=True)


@pytest.fixture(scope="module")
def gateway(request, home, idp, fronts):
    app = request.getfixturevalue(request.param)
    gateway = Gateway(home / f"before-grpc-{app.name}", idp, f"h2c://{app.upstream}", fronts[H2.name])
    yield gateway
    gateway.program.stop()
    assert gateway.program.ended() == 0


@pytest.fixture(scope="module")
def grpc():
    # Not before it is needed: its threads start with it.
    return pytest.importorskip("grpc")


@pytest.fixture
def channel(grpc, gateway):
    """Through the gateway."""
    credentials = grpc.ssl_channel_credentials(gateway.front.ca.read_bytes())
    # The certificate's name, and `:authority`.
    options = [("grpc.ssl_target_name_override", PORTAL), ("grpc.enable_http_proxy", 0)]
    options += [("grpc.max_receive_message_length", LARGEST)]
    with grpc.secure_channel(f"127.0.0.1:{gateway.port}", credentials, options) as channel:
        yield channel


@pytest.fixture
def plain(grpc, app):
    """Past the gateway."""
    with grpc.insecure_channel(f"127.0.0.1:{app.port}", [("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


@pytest.fixture
def session(idp):
    return {"metadata": [("authorization", f"Bearer {idp.token('ada')}")], "timeout": HANG}


@each
def test_one_message_is_answered_by_one(channel, session):
    answer, call = channel.unary_unary("/peer.Peer/Whole").with_call(b"hello", **session)
    # The app learns the subject and never the credential.
    assert answer == b"ada||https|hello"
    early, late = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (early["x-early"], early["x-early-bin"]) == ("before", b"\0\xff")
    assert (late["x-late"], late["x-late-bin"]) == ("behind", b"\xff\0")


@each
@pytest.mark.parametrize("size", [0, 1, 70_000, 8 << 20])
def test_a_message_of_any_size_comes_back(channel, session, size):
    sent = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    answer = channel.unary_unary("/peer.Peer/Whole")(sent, **session)
    assert answer == b"ada||https|" + sent


@each
def test_one_message_is_answered_by_many(channel, session):
    answers = list(channel.unary_stream("/peer.Peer/Down")(b"2000", **session))
    assert answers == [b"%d" % number for number in range(2000)]


@each
def test_many_messages_are_answered_by_one(channel, session):
    sent = [bytes(number) for number in range(2000)]
    assert channel.stream_unary("/peer.Peer/Up")(iter(sent), **session) == b"2000 1999000"
    assert channel.stream_unary("/peer.Peer/Up")(iter([]), **session) == b"0 0"


@each
def test_each_message_of_a_conversation_arrives_before_the_next_is_sent(channel, session):
    sent = queue.Queue()
    call = channel.stream_stream("/peer.Peer/Both")(iter(sent.get, None), **session)
    for number in range(200):
        sent.put(b"%d" % number)
        assert next(call) == b"%d" % number
    sent.put(None)
    assert list(call) == []


@each
def test_a_refusal_of_the_apps_is_the_apps_own(grpc, channel, plain, session):
    """The status stands in the trailers, or in the only head if there is no message."""

    def refusal(of, method):
        with pytest.raises(grpc.RpcError) as refused:
            list(of.unary_stream(f"/peer.Peer/{method}")(b"", **session))
        # Dates and ids are not the app's.
        late = {key: value for key, value in refused.value.trailing_metadata() if key.startswith("x-late")}
        return refused.value.code(), refused.value.details(), late

    precondition = grpc.StatusCode.FAILED_PRECONDITION, "not now: é 100 %", {"x-late": "behind"}
    assert refusal(channel, "Fails") == refusal(plain, "Fails") == precondition
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED, "no more", {}
    assert refusal(channel, "FailsLater") == refusal(plain, "FailsLater") == exhausted
    assert refusal(channel, "Nothing")[0] == refusal(plain, "Nothing")[0] == grpc.StatusCode.UNIMPLEMENTED


@each
def test_messages_before_a_refusal_arrive(grpc, channel, session):
    call = channel.unary_stream("/peer.Peer/FailsLater")(b"", **session)
    assert next(call) == b"one"
    with pytest.raises(grpc.RpcError):
        next(call)


@pytest.mark.parametrize("gateway", ["app"], indirect=True)
@pytest.mark.parametrize("token", [None, "a.b.c"], ids=["no session", "no good session"])
def test_without_a_session_the_app_sees_nothing(grpc, gateway, channel, token):
    before = gateway.counted("forwarded")
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/peer.Peer/Whole")(b"hello", metadata=metadata, timeout=HANG)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert gateway.counted("forwarded") == before


@each
@pytest.mark.parametrize("how", ["cancelled", "too late"])
def test_the_app_learns_that_the_client_went(grpc, channel, plain, session, how):
    name = uuid.uuid4().hex.encode()
    call = channel.unary_stream("/peer.Peer/Waits")(name, **session | {"timeout": 2 if how == "too late" else HANG})
    assert next(call) == b"begun"
    if how == "cancelled":
        call.cancel()
    with pytest.raises(grpc.RpcError) as ended:
        next(call)
    assert ended.value.code().name == ("CANCELLED" if how == "cancelled" else "DEADLINE_EXCEEDED")
    asks = plain.unary_unary("/peer.Peer/Gone")
    until("the app saw it", lambda: asks(name, timeout=HANG) == b"yes")


@each
def test_many_calls_at_once_each_get_their_own_answer(channel, session):
    whole = channel.unary_unary("/peer.Peer/Whole")
    calls = [whole.future(b"%d" % number, **session) for number in range(500)]
    assert [call.result() for call in calls] == [b"ada||https|%d" % number for number in range(500)]
