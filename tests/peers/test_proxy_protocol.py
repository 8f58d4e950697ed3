"""HAProxy before the gateway, which says by the PROXY protocol who the client is."""

import json
from dataclasses import replace

import pytest

from kit.apps import FOLDER, need
from kit.client import Curl
from kit.gateway import Gateway
from kit.process import Program, free_port, until
from kit.stack import Stack

# Another address of this machine, so that the client's is not HAProxy's.
CLIENT = "127.0.0.7"


@pytest.fixture(scope="module")
def listening(home, idp, node, front):
    """A gateway that believes announcements of 127.0.0.1 and of nobody else."""
    spoken = replace(front, listener=f"{front.listener}\nproxy_protocol = true")
    own = home / f"announced {front.name.replace('/', ' ')}"
    gateway = Gateway(own, idp, node.upstream, spoken, server='trusted_proxies = ["127.0.0.1"]')
    yield Stack(node, gateway, idp.token("ada"))
    gateway.program.stop()
    assert gateway.program.ended() == 0


@pytest.fixture(params=["send-proxy", "send-proxy-v2"], scope="module")
def before(request, listening, home):
    """Through HAProxy, which announces in this version."""
    port, front = free_port(), listening.gateway.front
    config = home / f"announces-{port}.cfg"
    marks = {"PORT": port, "GATEWAY": listening.gateway.port, "SEND": request.param}
    text = (FOLDER / "announces.cfg").read_text()
    for mark, value in marks.items():
        text = text.replace(f"@{mark}@", str(value))
    config.write_text(text)
    program = Program([need("haproxy", "haproxy"), "-db", "-f", config])
    program.serves(port)
    yield Curl(port, *front.curl, "--interface", CLIENT)
    program.stop()


def test_the_app_learns_the_real_clients_address(listening, before):
    lies = ["--header", "X-Forwarded-For: 10.0.0.1", "--header", "Forwarded: for=10.0.0.2", "--header", "X-Real-IP: 10.0.0.3"]
    lines = len(listening.gateway.log(path="/seen"))
    answer = before.ask(listening.url("/seen"), *listening.session, *lies)
    assert (answer.status, answer.version) == (200, listening.version)
    told = json.loads(answer.body)
    said = [(name, value) for name, value in told["fields"] if "forwarded" in name or name == "x-real-ip"]
    assert (told["subject"], dict(said)["x-forwarded-for"]) == ("ada", CLIENT)
    assert not [value for _, value in said if "10.0.0" in value]
    # It is written behind the answer.
    line = until("its access line", lambda: listening.gateway.log(path="/seen")[lines:])
    assert line[0]["peer"] == CLIENT


def test_the_address_is_the_connections_for_each_of_its_requests(listening, before):
    url = listening.url("/seen")
    done = before.run(*listening.session, url, url, "--write-out", "|%{num_connects}\n")
    rows = [row.rsplit("|", 1) for row in done.stdout.decode().splitlines()]
    assert [connects for _, connects in rows] == ["1", "0"]
    for told, _ in rows:
        assert ["x-forwarded-for", CLIENT] in json.loads(told)["fields"]


def test_who_announces_nobody_is_not_listened_to(listening):
    malformed = listening.gateway.counted("malformed")
    assert listening.curl.run(*listening.session, listening.url("/seen"), check=False).returncode != 0
    assert listening.gateway.counted("malformed") == malformed + 1


def test_an_announcement_of_a_stranger_is_not_believed(listening):
    """It comes from another address than the trusted one."""
    malformed = listening.gateway.counted("malformed")
    words = ["--haproxy-protocol", "--interface", CLIENT, *listening.session, listening.url("/seen")]
    assert listening.curl.run(*words, check=False).returncode != 0
    assert listening.gateway.counted("malformed") == malformed + 1
