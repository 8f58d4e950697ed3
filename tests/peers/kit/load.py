"""Good requests while others do harm, and many connections at once."""

import re
import resource
import statistics
import threading
import time
import urllib.request

from .gateway import Gateway


def room(wanted: int) -> int:
    """Raises this process's bound of open files as far as it may; how many there can be, at most `wanted`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - 256)


class Background:
    """Runs in a thread of its own while a `with` goes on, until `_done` is set."""

    def __init__(self):
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        raise NotImplementedError

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


class GoodClient(Background):
    """Asks one request after the other, each on a connection of its own, and takes the time of each."""

    def __init__(self, gateway: Gateway, head: str):
        self._gateway, self._head = gateway, head
        self.seconds: list[float] = []
        self.failures: list[str] = []
        super().__init__()

    def _run(self):
        while not self._done.is_set():
            began = time.monotonic()
            try:
                with self._gateway.wire() as wire:
                    wire.write(self._head)
                    status = wire.answer().status
                if status != 200:
                    self.failures.append(f"status {status}")
            except (OSError, AssertionError) as fault:
                self.failures.append(str(fault))
            self.seconds.append(time.monotonic() - began)
            self._done.wait(0.02)

    def __str__(self):
        middle, worst = statistics.median(self.seconds) * 1000, max(self.seconds) * 1000
        count, failed = len(self.seconds), len(self.failures)
        return f"{count} good requests, {failed} failed, {middle:.0f} ms in the middle, {worst:.0f} ms at most"


class Watch(Background):
    """Counts the gateway's open connections every quarter of a second."""

    def __init__(self, gateway: Gateway):
        self._address = f"http://{gateway.admin}/metrics"
        # Seconds since the start, and connections.
        self.seen: list[tuple[float, int]] = []
        super().__init__()

    def _run(self):
        began = time.monotonic()
        while not self._done.wait(0.25):
            with urllib.request.urlopen(self._address) as answer:
                count = re.search(r"^valet_connections (\d+)", answer.read().decode(), re.M)[1]
            self.seen.append((time.monotonic() - began, int(count)))

    def most(self) -> int:
        return max(count for _, count in self.seen)

    def last(self, few: int) -> float:
        """When there were for the last time so many connections or more, in seconds."""
        return max(at for at, count in self.seen if count >= few)
