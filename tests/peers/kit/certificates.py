"""An authority of the tests' own, and the certificates that it signs: made by openssl for this run."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .apps import need

# What openssl is told of a certificate; who runs the tests may have settings of his own.
_SETTINGS = """
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = $ENV::NAMES
"""


@dataclass
class Pair:
    """A certificate and its key, as files in PEM."""

    chain: Path
    key: Path


class Authority:
    """Signs for whom a test likes."""

    def __init__(self, home: Path, name: str):
        self._home = home / name
        self._home.mkdir(parents=True)
        (self._home / "openssl.cnf").write_text(_SETTINGS)
        self._own = self._make(f"authority {name}", "authority", "DNS:none")
        self.file = self._own.chain

    def pair(self, name: str, *hosts: str) -> Pair:
        """A certificate for these hosts, and its key."""
        signed = ["-CA", self._own.chain, "-CAkey", self._own.key]
        return self._make(name, "leaf", ",".join(f"DNS:{host}" for host in hosts or [name]), *signed)

    def _make(self, name: str, kind: str, names: str, *words) -> Pair:
        stem = name.replace(" ", "-")
        made = Pair(self._home / f"{stem}.pem", self._home / f"{stem}.key")
        command = [need("openssl", "openssl"), "req", "-x509", "-config", self._home / "openssl.cnf", "-extensions", kind]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={name}", "-keyout", made.key, "-out", made.chain, *words]
        done = subprocess.run(command, capture_output=True, env=os.environ | {"NAMES": names}, timeout=30)
        assert done.returncode == 0, done.stderr.decode()
        made.key.chmod(0o600)
        return made
