"""A WebSocket app: the server of the Python package websockets."""

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

    def _talk(self, socket):
        try:
            for message in socket:
                match message:
                    case str() if message.startswith("close "):
                        _, code, reason = message.split(" ", 2)
                        socket.close(int(code), reason)
                    case "ping me":
                        socket.send("pong seen" if socket.ping().wait(30) else "no pong")
                    case "in pieces":
                        socket.send(iter(["one ", "two ", "three"]))
                    case _:
                        socket.send(message)
        except ConnectionClosed:
            pass
        self.closed.append((socket.close_code, socket.close_reason))

    def stop(self):
        self._server.shutdown()
