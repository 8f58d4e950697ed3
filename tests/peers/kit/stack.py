"""An app, the gateway before it, and the two ways of asking: through the gateway, and past it."""

from dataclasses import dataclass

from .apps import App
from .client import Answer, Curl, Wire
from .gateway import OPEN, PORTAL, Gateway


@dataclass
class Stack:
    """An app, and a gateway before it."""

    app: App
    gateway: Gateway
    token: str

    def __post_init__(self):
        self._direct = Curl(self.app.port, "--http1.1")
        self.curl = Curl(self.gateway.port, *self.gateway.front.curl)

    def url(self, path: str, host: str = PORTAL) -> str:
        return f"{self.gateway.front.scheme}://{host}{path}"

    def direct(self, path: str, *words, **options) -> Answer:
        """The app's answer to a client that stands before it."""
        return self._direct.ask(f"http://{OPEN}{path}", *words, **options)

    def open(self, path: str, *words, **options) -> Answer:
        """Through the gateway, where nobody is asked for a session."""
        return self.curl.ask(self.url(path, OPEN), *words, **options)

    def ask(self, path: str, *words, **options) -> Answer:
        """Through the gateway, with ada's session."""
        return self.curl.ask(self.url(path), *self.session, *words, **options)

    @property
    def version(self) -> str:
        """Of the answers that come through the gateway."""
        return self.gateway.front.version

    @property
    def session(self) -> tuple[str, ...]:
        return "--header", f"Authorization: Bearer {self.token}"

    def wire(self) -> Wire:
        """A connection to the gateway, for HTTP/1.1 by hand."""
        return self.gateway.wire()

    def head(self, line: str, *fields: str, host: str = PORTAL) -> str:
        """A request's head with ada's session, by hand."""
        return "\r\n".join([line, f"Host: {host}", f"Authorization: Bearer {self.token}", *fields, "", ""])
