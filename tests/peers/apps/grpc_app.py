"""An app that speaks gRPC, without a schema: messages are bytes. It prints its port, and speaks HTTP/2 without TLS."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

# Calls whose client went, by the name that they gave.
gone: set[str] = set()


def told(context) -> dict:
    return {key: value for key, value in context.invocation_metadata()}


def whole(request: bytes, context) -> bytes:
    """The message, and what the app was told of its sender."""
    said = told(context)
    context.send_initial_metadata([("x-early", "before"), ("x-early-bin", b"\0\xff")])
    context.set_trailing_metadata([("x-late", "behind"), ("x-late-bin", b"\xff\0")])
    who = [said.get(name, "") for name in ("x-auth-subject", "authorization", "x-forwarded-proto")]
    return "|".join(who).encode() + b"|" + request


def down(request: bytes, context):
    """So many messages."""
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, context) -> bytes:
    """How many messages came, and how long they were."""
    sizes = [len(request) for request in requests]
    return b"%d %d" % (len(sizes), sum(sizes))


def both(requests, context):
    """Each message, when it came."""
    for request in requests:
        yield request


def fails(request: bytes, context) -> bytes:
    context.set_trailing_metadata([("x-late", "behind")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: é 100 %")


def fails_later(request: bytes, context):
    yield b"one"
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


def waits(request: bytes, context):
    """One message, then nothing until the client goes."""
    ended = threading.Event()

    def end():
        # Noted here: who goes as the message is sent ends the call before anything behind the `yield` is run.
        gone.add(request.decode())
        ended.set()

    context.add_callback(end)
    yield b"begun"
    ended.wait(60)


def asks(request: bytes, context) -> bytes:
    return b"yes" if request.decode() in gone else b"no"


METHODS = {
    "Whole": grpc.unary_unary_rpc_method_handler(whole),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fails": grpc.unary_unary_rpc_method_handler(fails),
    "FailsLater": grpc.unary_stream_rpc_method_handler(fails_later),
    "Waits": grpc.unary_stream_rpc_method_handler(waits),
    "Gone": grpc.unary_unary_rpc_method_handler(asks),
}

server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 64 << 20)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("peer.Peer", METHODS)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"port {port}", flush=True)
sys.exit(server.wait_for_termination())
