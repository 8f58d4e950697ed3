"""What recipes sign, computed again by others: Python's hmac, botocore, PyJWT."""

import hashlib
import hmac
import json
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kit.gateway import Gateway

KEY = "a key & of=\"signatures\" that is long enough for every hash: 0123456789"

# What means something in each place of a call.
HOSTILE = ["ada", "a&b=c", "\"}", "é ü", "{subject}", "a/../b?c#d", "x" * 200]

RECIPES = """
[[provider]]
name = "hmac"
base_url = "{vendor}"
api_key = {{ file = "key" }}
redirect_hosts = ["embed.acme.example"]
auth = {{ hmac = {{ algorithm = "sha512", text = "{{timestamp}}{{method}}{{path_and_query}}{{body}}", header = "x-sig", encoding = "hex", timestamp_header = "x-ts" }} }}
[provider.mint.embed]
method = "POST"
path = "/hmac/{{claim:who}}"
query = {{ user = "{{claim:who}}" }}
form = {{ user = "{{claim:who}}", ttl = "{{seconds:6h}}" }}
url = "json:/url"
expires = "fixed"

[[provider]]
name = "sigv4"
base_url = "{vendor}"
api_key = {{ file = "key" }}
redirect_hosts = ["embed.acme.example"]
auth = {{ sigv4 = {{ region = "eu-west-1", service = "quicksight", access_key_id = "AKIDEXAMPLE" }} }}
[provider.mint.embed]
method = "POST"
path = "/aws/{{claim:who}}/embed-url"
query = {{ z = "1", user = "{{claim:who}}" }}
headers = {{ x-amz-own = "{{claim:own}}" }}
json = {{ UserArn = "arn:{{claim:who}}", SessionLifetimeInMinutes = 600 }}
url = "json:/url"
expires = "fixed"

[[provider]]
name = "jwt"
api_key = {{ file = "key" }}
[provider.mint.embed]
jwt = {{ algorithm = "HS384", header = {{ kid = "k1" }}, claims = {{ sub = "{{claim:who}}", aud = "board", exp = "{{now+10m:epoch#}}" }} }}
token = "jwt"
"""

PLUGIN = """
[[plugin]]
name = "{name}"
provider = "{name}"
mint = "embed"
path = "/plugins/{name}"
reuse = "never"
"""


class Vendor(BaseHTTPRequestHandler):
    seen: list = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, dict(self.headers.items()), body))
        answer = b'{"url":"https://embed.acme.example/"}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def vendor():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def gateway(home, idp, vendor):
    home = home / "signatures"
    home.mkdir()
    (home / "key").write_text(KEY)
    more = RECIPES.format(vendor=f"http://127.0.0.1:{vendor.server_port}")
    more += "".join(PLUGIN.format(name=name) for name in ("hmac", "sigv4", "jwt"))
    gateway = Gateway(home, idp, "127.0.0.1:9", more=more)
    yield gateway
    gateway.program.stop()


def mint(gateway, idp, name: str, subject: str):
    """What the vendor saw, with lower-case names, and the JSON that the caller got."""
    token = idp.token("ada", own="o", who=subject)
    ask = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}/plugins/{name}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
    )
    Vendor.seen.clear()
    with urllib.request.urlopen(ask) as got:
        told = json.load(got)
    if not Vendor.seen:
        return None, told
    [(target, fields, body)] = Vendor.seen
    return (target, {key.lower(): value for key, value in fields.items()}, body), told


@pytest.mark.parametrize("subject", HOSTILE)
def test_an_hmac_is_that_of_pythons_hmac(gateway, idp, subject):
    (target, fields, body), _ = mint(gateway, idp, "hmac", subject)
    text = fields["x-ts"].encode() + b"POST" + target.encode() + body
    assert fields["x-sig"] == hmac.new(KEY.encode(), text, hashlib.sha512).hexdigest()
    path, query = target.split("?")
    assert urllib.parse.unquote(path.removeprefix("/hmac/")) == subject
    assert urllib.parse.parse_qsl(query, strict_parsing=True) == [("user", subject)]
    assert dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True)) == {"user": subject, "ttl": "21600"}


@pytest.mark.parametrize("subject", HOSTILE)
def test_an_aws_signature_is_that_of_botocore(gateway, idp, subject):
    (target, fields, body), _ = mint(gateway, idp, "sigv4", subject)
    said = fields["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-own, " in said
    signed = {name: fields[name] for name in ("content-type", "x-amz-date", "x-amz-own")}
    request = AWSRequest("POST", f"http://{fields['host']}{target}", headers=signed, data=body)
    request.context["timestamp"] = fields["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", KEY), "quicksight", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert said.endswith(f"Signature={signer.signature(text, request)}")
    assert json.loads(body) == {"UserArn": f"arn:{subject}", "SessionLifetimeInMinutes": 600}


@pytest.mark.parametrize("subject", HOSTILE)
def test_a_jwt_is_read_by_pyjwt(gateway, idp, subject):
    called, told = mint(gateway, idp, "jwt", subject)
    assert called is None
    claims = jwt.decode(told["token"], KEY, algorithms=["HS384"], audience="board")
    assert (claims["sub"], sorted(claims)) == (subject, ["aud", "exp", "sub"])
    assert jwt.get_unverified_header(told["token"]) == {"alg": "HS384", "typ": "JWT", "kid": "k1"}
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(told["token"], KEY + "x", algorithms=["HS384"], audience="board")
