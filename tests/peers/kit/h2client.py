"""A client of HTTP/2 that says what it likes: the Python package h2 over TLS."""

import socket
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame

from .gateway import PORTAL, Gateway

# What a client sends first (RFC 9113, section 3.4), with empty settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"

# No answer takes longer.
TIME = 30


@dataclass
class Stream:
    """What came on one stream."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    # The code of RST_STREAM.
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


def tls(gateway: Gateway, protocols=("h2",)) -> ssl.SSLSocket:
    """A connection to the gateway on which nothing was said yet."""
    context = ssl.create_default_context(cafile=gateway.front.ca)
    context.set_alpn_protocols(list(protocols))
    wire = socket.create_connection(("127.0.0.1", gateway.port), TIME)
    return context.wrap_socket(wire, server_hostname=PORTAL)


class H2:
    """One connection, on which streams are opened by hand."""

    def __init__(self, gateway: Gateway, token: str | None = None, settings: dict | None = None):
        self._token = token
        self.wire = tls(gateway)
        config = h2.config.H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.state = h2.connection.H2Connection(config)
        if settings:
            self.state.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.state.initiate_connection()
        self.streams: dict[int, Stream] = {}
        # The code and the last stream of GOAWAY; whether the other side has closed.
        self.goaway: tuple[int, int] | None = None
        self.closed = False
        self._rest = b""
        self.flush()

    def head(self, method: str, path: str, *fields, host: str = PORTAL) -> list[tuple[str, str]]:
        session = [("authorization", f"Bearer {self._token}")] if self._token else []
        whole = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        return [*whole, *session, *fields]

    def open(self, fields: list[tuple[str, str]], end: bool = True) -> int:
        """Begins a request; its stream's number."""
        number = self.state.get_next_available_stream_id()
        self.streams[number] = Stream()
        self.state.send_headers(number, fields, end_stream=end)
        self.flush()
        return number

    def send(self, number: int, piece: bytes, end: bool = False):
        """A piece of a body that is smaller than the window."""
        self.state.send_data(number, piece, end_stream=end)
        self.flush()

    def reset(self, number: int, code: int = 8):
        self.state.reset_stream(number, code)
        self.flush()

    def raw(self, frames: bytes | Frame):
        """Whatever a test likes, past the package's own checks."""
        self.wire.sendall(frames if isinstance(frames, bytes) else frames.serialize())

    def flush(self):
        self.wire.sendall(self.state.data_to_send())

    def read(self, acknowledge: bool = True):
        """Takes what is there, once."""
        try:
            piece = self.wire.recv(65536)
        except (ConnectionResetError, ssl.SSLError) as fault:
            if isinstance(fault, ssl.SSLWantReadError):
                raise
            piece = b""
        if not piece:
            self.closed = True
            return
        self._rest += piece
        # Frame by frame: to the package a GOAWAY is the end, but what was asked before it is still answered (RFC 9113, section 6.8).
        while len(self._rest) >= 9 and len(self._rest) >= (whole := 9 + int.from_bytes(self._rest[:3], "big")):
            frame, self._rest = self._rest[:whole], self._rest[whole:]
            for event in self.state.receive_data(frame):
                self._take(event, acknowledge)
            if self.goaway:
                self.state.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        if not self.closed:
            self.flush()

    def _take(self, event, acknowledge: bool):
        stream = self.streams.get(getattr(event, "stream_id", None) or 0, Stream())
        match event:
            case h2.events.ResponseReceived():
                stream.status, stream.fields = int(dict(event.headers)[":status"]), event.headers
            case h2.events.DataReceived():
                stream.body += event.data
                if acknowledge and event.flow_controlled_length:
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                stream.trailers = event.headers
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code), event.last_stream_id

    def until(self, holds):
        """Reads until it holds."""
        while not holds():
            assert not self.closed, f"the connection ended: {self.goaway}, {self.streams}"
            self.read()

    def answer(self, number: int) -> Stream:
        """The whole of it."""
        stream = self.streams[number]
        self.until(lambda: stream.over)
        return stream

    def ask(self, method: str, path: str, *fields, body: bytes | None = None, host: str = PORTAL) -> Stream:
        number = self.open(self.head(method, path, *fields, host=host), end=body is None)
        if body is not None:
            self.send(number, body, end=True)
        return self.answer(number)

    def close(self):
        self.wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
