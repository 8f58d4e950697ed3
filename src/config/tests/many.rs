//! All faults of a file in one run: of shape, of single values, and between parts.

use super::*;
use crate::config::fault::position;

/// Each fault is marked where it is to be shown.
const BROKEN: &str = r#"[server]
public_url = §"https://app.example.com/x"
threads = §2000
trusted_proxies = ["10.0.0.0/8", §"10.0.0.0/99"]
max_requests = §0
idle_timeout = §"0s"
body_stall = §"2h"
§watsh = true
[[listener]]
address = §"unix:valet.sock"
[[listener]]
address = §"127.0.0.1"
min_tls = §"1.1"
[admin]
address = §"nowhere"
[session]
sources = [§"query:token", "cookie:s", §"header:cookie"]
clock_skew = §"6m"
max_token_bytes = §12
cache = §0
login_url = §"login"
[[session.issuer]]
issuer = "https://idp.example.com"
audiences = §[]
algorithms = [§"none"]
keys = { jwks_url = §"http://idp.example.com/{tenant}" }
subject_claim = §"/a~2"
session_claim = §""
audience_claim = §"/~"
external_id = §"{claim:/a~2}"
types = [§"logout+jwt"]
max_age = §"1s"
[[provider]]
name = §"a b"
base_url = §"http://api.acme.example"
api_key = { file = "secrets/acme.key" }
auth = { header = §"x y" }
redirect_hosts = ["embed.acme.example", §"a.example.com:08443", §"*.co.uk"]
timeout = §"1ms"
max_in_flight = §0
rate = §0
quota_header = §"a b"
breaker = { failures = §0, within = §"0s", pause = §"0s" }
[provider.mint.embed]
path = §"embed"
url = "text"
expires = "fixed"
[[plugin]]
name = "embed"
provider = §"acne"
mint = "embed"
path = §"embed"
host = §"a b"
reuse = §"sometimes"
max_age = §"7h"
languages = [§""]
allowed_origins = [§"https://spa.example.com/"]
permissions = [§"Camera"]
embed = ["any", §"some-site", §"https://a.example/"]
login_url = §"//evil.example"
mints_per_subject = { count = §0, within = §"2d" }
[[app]]
name = "portal"
host = §"*.127.0.0.1"
path = "/"
upstreams = ["127.0.0.1:8081"]
allowed_origins = [§"null", "https://spa.example.com"]
login_url = §"login"
claims = { x-user = §"/b~", x-mail = "email", "x y" = §"name", "x:y" = §"name" }
[limits]
per_address = { rate = §0, burst = §2000000 }
invalid_per_address = { count = §0, within = §"2d" }
mints_per = { claim = §"", count = 1, within = "1h" }
[leases]
capacity = §0
[telemetry]
otlp = §"grpc://c:4317"
sample = §2.0
"#;

/// The text without its marks, and where they stood.
fn unmarked(marked: &str) -> (String, Vec<(usize, usize)>) {
    let (mut text, mut places) = (String::new(), Vec::new());
    for (at, piece) in marked.split('§').enumerate() {
        if at > 0 {
            places.push(position(&text, text.len()));
        }
        text.push_str(piece);
    }
    (text, places)
}

#[test]
fn more_than_forty_faults_of_one_file_are_told_in_one_run_each_where_it_stands() {
    let (text, places) = unmarked(BROKEN);
    assert!(places.len() >= 40, "{} faults", places.len());
    let faults = parse(&text).unwrap_err();
    let told: Vec<(usize, usize)> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
    let untold: Vec<_> = places.iter().filter(|place| !told.contains(place)).collect();
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, places, "not told: {untold:?}\n{}", lines.join("\n"));
}
