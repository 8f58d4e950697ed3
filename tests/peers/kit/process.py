"""Programs that live as long as a test needs them, and never longer."""

import atexit
import contextlib
import ctypes
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time

# A machine under load is slow, and a hang is for ever: what takes longer than this hangs.
HANG = 30

_running: list["Program"] = []


def free_port() -> int:
    """A port on loopback that nobody has now. Below those that the system gives out, so that no other test gets it meanwhile."""
    while True:
        port = random.randrange(12_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(what: str, holds, seconds: float = HANG):
    """Waits until it holds, and returns what it gave."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.02)
    return found


def accepts(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Program:
    """A child process; its lines, from both streams, are kept."""

    def __init__(self, words: list, **options):
        self.words = [str(word) for word in words]
        self.lines: list[str] = []
        self._news: queue.Queue = queue.Queue()
        self._child = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=_die_with_parent,
            **options,
        )
        _running.append(self)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._child.stdout:
            self.lines.append(line.rstrip("\n"))
            self._news.put(self.lines[-1])
        self._news.put(None)

    @property
    def pid(self) -> int:
        return self._child.pid

    def line(self, found, seconds: float = HANG):
        """What `found` makes of the first line of which it makes something."""
        end = time.monotonic() + seconds
        while True:
            line = self._news.get(timeout=max(0.01, end - time.monotonic()))
            assert line is not None, f"{self} ended:\n" + "\n".join(self.lines)
            if (value := found(line)) is not None:
                return value

    def serves(self, port: int):
        """Waits until it takes connections at `port`."""

        def there():
            assert self._child.poll() is None, f"{self} ended:\n" + "\n".join(self.lines)
            return accepts(port)

        until(f"{self} serves", there)

    def peak(self) -> float:
        """The most memory that was resident, in MiB."""
        with open(f"/proc/{self.pid}/status") as status:
            kibibytes = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
        return int(kibibytes) / 1024

    def cpu(self) -> float:
        """The time that it has had of all cores, in seconds."""
        # As clock_getcpuclockid(3) names the CPU clock of another process: in nanoseconds, where /proc counts in steps of ten milliseconds.
        return time.clock_gettime((~self.pid << 3) | 2)

    def signal(self, number: int):
        self._child.send_signal(number)

    def ended(self, seconds: float = HANG) -> int:
        """Its exit code."""
        return self._child.wait(seconds)

    def stop(self):
        """Asks it to end, and makes it."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self in _running:
            _running.remove(self)

    def __str__(self):
        return " ".join(self.words[:2])


def _die_with_parent():
    # A run that is killed leaves nothing behind, either (Linux: PR_SET_PDEATHSIG).
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@atexit.register
def _stop_all():
    for program in list(_running):
        program.stop()


# Who is asked to end ends as by Ctrl-C: what was started is stopped.
signal.signal(signal.SIGTERM, signal.default_int_handler)
