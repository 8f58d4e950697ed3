"""A WebSocket app: the server of the Python package websockets; and a way for its client through TLS."""

import asyncio
import socket
import ssl
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


# Those that the app speaks, the best first.
SPOKEN = ["chat.v2", "chat.v1"]


def _choose(_, offered):
    return next((protocol for protocol in SPOKEN if protocol in offered), None)


class SocketServer:
    """Sends back what it gets, and closes when told to; remembers handshakes and closings."""

    def __init__(self):
        self.handshakes: list[dict[str, str]] = []
        self.closed: list[tuple[int | None, str]] = []
        self._server = serve(
            self._talk,
            "127.0.0.1",
            0,
            process_request=self._note,
            select_subprotocol=_choose,
            max_size=8 << 20,
            open_timeout=30,
        )
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _note(self, _, request):
        self.handshakes.append({name.lower(): value for name, value in request.headers.raw_items()})

    def _talk(self, ws):
        try:
            for message in ws:
                match message:
                    case str() if message.startswith("close "):
                        _, code, reason = message.split(" ", 2)
                        ws.close(int(code), reason)
                    case "ping me":
                        ws.send("pong seen" if ws.ping().wait(30) else "no pong")
                    case "in pieces":
                        ws.send(iter(["one ", "two ", "three"]))
                    case _:
                        ws.send(message)
        except ConnectionClosed:
            pass
        self.closed.append((ws.close_code, ws.close_reason))

    def stop(self):
        self._server.shutdown()


def through_tls(port: int, context: ssl.SSLContext, host: str) -> socket.socket:
    """A socket whose other end is joined to `port` over TLS.

    The client of websockets reads in one thread and writes in another, and of a TLS connection in Python that breaks about one in a
    thousand. So one thread of ours does both.
    """
    near, far = socket.socketpair()

    async def copy(reader, writer):
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def join():
        inner = await asyncio.open_connection(sock=far)
        outer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        await asyncio.gather(copy(inner[0], outer[1]), copy(outer[0], inner[1]))

    threading.Thread(target=lambda: asyncio.run(join()), daemon=True).start()
    return near
