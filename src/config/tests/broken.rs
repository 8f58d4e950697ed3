//! Broken files, as people break them. Each is told where it is broken, and in words that lead to the mend.

use super::*;
use crate::config::fault::position;

/// What is broken, with `§` at the place that must be named, in place of a piece of [`GOOD`]; and words of the first fault's line.
type Case = (&'static str, &'static str, &'static [&'static str]);

const ISSUER: &str = "issuer = \"https://idp.example.com\"\n";
const KEYS: &str = "{ discovery = true }";
const API_KEY: &str = "api_key = { file = \"secrets/intelliprove.key\" }";
const REUSE: &str = "reuse = \"user\"\n";

const CASES: &[Case] = &[
    // [server]
    ("\"https://app.example.com\"", "§\"app.example.com\"", &["server.public_url", "starts with `https://`"]),
    ("\"https://app.example.com\"", "§\"ftp://app.example.com\"", &["starts with `https://`"]),
    ("\"https://app.example.com\"", "§\"https://app.example.com/x\"", &["without path or query"]),
    ("\"https://app.example.com\"", "§\"https://ada:pw@app.example.com\"", &["server.public_url"]),
    ("\"https://app.example.com\"", "§\"\"", &["server.public_url", "starts with `https://`"]),
    ("\"https://app.example.com\"", "§42", &["server.public_url", "expected a string"]),
    ("\"https://app.example.com\"", "§\"http://app.example.com\"", &["use `https://`"]),
    ("[server]\n", "[server]\n§public-url = \"x\"\n", &["unknown key", "public_url"]),
    ("[server]\n", "[server]\n§timeout = \"5s\"\n", &["server.timeout", "unknown key"]),
    ("[server]\n", "[server]\nthreads = §1025\n", &["at most 1024"]),
    ("[server]\n", "[server]\nthreads = §-1\n", &["server.threads", "not negative"]),
    ("[server]\n", "[server]\nthreads = §\"two\"\n", &["server.threads", "an integer, found a string"]),
    ("[server]\n", "[server]\ndrain = §30\n", &["a duration such as \"5m\""]),
    ("[server]\n", "[server]\ndrain = §\"30\"\n", &["a duration such as \"5m\""]),
    ("[server]\n", "[server]\ndrain = §\"-5s\"\n", &["negative"]),
    ("[server]\n", "[server]\ndrain = §\"30 parsecs\"\n", &["a duration such as \"5m\""]),
    ("[server]\n", "[server]\ntrusted_proxies = §\"10.0.0.0/8\"\n", &["put it in brackets"]),
    ("[server]\n", "[server]\ntrusted_proxies = [§\"10.0.0.0/33\"]\n", &["server.trusted_proxies", "10.0.0.0/8"]),
    ("[server]\n", "[server]\ntrusted_proxies = [§\"proxy.example\"]\n", &["server.trusted_proxies", "10.0.0.0/8"]),
    // [[listener]]
    ("\"127.0.0.1:8080\"", "§\"localhost:8080\"", &["listener.address", "such as \"127.0.0.1:8080\""]),
    ("\"127.0.0.1:8080\"", "§\"127.0.0.1\"", &["such as \"127.0.0.1:8080\""]),
    ("\"127.0.0.1:8080\"", "§\"127.0.0.1:99999\"", &["such as \"127.0.0.1:8080\""]),
    ("\"127.0.0.1:8080\"", "§\"unix:run/valet.sock\"", &["an absolute path"]),
    ("\"127.0.0.1:8080\"", "§8080", &["listener.address", "expected a string"]),
    ("address = ", "§adress = ", &["did you mean \"address\"?"]),
    ("[[listener]]", "§[listener]", &["[[listener]]"]),
    ("[[listener]]", "[[§listner]]", &["did you mean \"listener\"?"]),
    // [session]
    ("[session]\n", "[session]\nsources = [§\"bearer\"]\n", &["session.sources", "header:authorization"]),
    ("[session]\n", "[session]\nsources = [§\"cookie:\"]\n", &["session.sources", "cookie:"]),
    ("[session]\n", "[session]\nsources = §\"header:authorization\"\n", &["put it in brackets"]),
    ("[session]\n", "[session]\n§source = [\"header:authorization\"]\n", &["did you mean \"sources\"?"]),
    ("[session]\n", "[session]\nlogin_url = §\"javascript:alert(1)\"\n", &["session.login_url"]),
    ("[session]\n", "[session]\nclock_skew = §\"a minute\"\n", &["a duration such as"]),
    ("[session]\n", "[session]\ncache = §0\n", &["session.cache", "1 to 100000000"]),
    ("[session]\n", "[session]\nmax_token_bytes = §\"8KiB\"\n", &["session.max_token_bytes"]),
    // [[session.issuer]]
    (ISSUER, "issuer = §\"\"\n", &["session.issuer.issuer", "empty"]),
    (ISSUER, "issuer = §\"idp.example.com\"\n", &["https://"]),
    (ISSUER, "issuer = §\"http://idp.example.com\"\n", &["https://"]),
    ("[\"my-app\"]", "§[]", &["session.issuer.audiences"]),
    ("[\"my-app\"]", "§\"my-app\"", &["put it in brackets"]),
    ("audiences = ", "§audience = ", &["did you mean \"audiences\"?"]),
    ("[\"ES256\"]", "§[]", &["session.issuer.algorithms"]),
    ("[\"ES256\"]", "[§\"es256\"]", &["did you mean \"ES256\"?"]),
    ("[\"ES256\"]", "[§\"none\"]", &["session.issuer.algorithms", "ES256"]),
    ("[\"ES256\"]", "[§\"HS256\"]", &["secret"]),
    ("[\"ES256\"]", "§\"ES256\"", &["put it in brackets"]),
    (KEYS, "§{}", &["session.issuer.keys", "discovery"]),
    (KEYS, "§true", &["session.issuer.keys"]),
    (KEYS, "{ §discover = true }", &["did you mean \"discovery\"?"]),
    (KEYS, "{ jwks_url = §\"http://idp.example.com/keys\" }", &["https"]),
    (KEYS, "{ jwks_file = §\"absent.json\" }", &["absent.json", "No such file"]),
    (KEYS, "{ jwks_file = §\"text.txt\" }", &["is not JSON"]),
    (KEYS, "{ jwks_file = §\"key.pem\" }", &["it is PEM; name it by `pem_file`"]),
    (KEYS, "{ jwks_file = §\"nokeys.json\" }", &["no list `keys`"]),
    (KEYS, "{ jwks_file = §\"one.json\" }", &["it is one key"]),
    (KEYS, "{ jwks_file = §\"bom.json\" }", &["byte order mark"]),
    (KEYS, "{ pem_file = §\"private.pem\" }", &["private key"]),
    (KEYS, "{ pem_file = §\"keys.json\" }", &["is not PEM", "it is JSON"]),
    (KEYS, "{ pem_file = §\"secrets\" }", &["is not a file"]),
    (KEYS, "{ pem_file = §\"key.der\" }", &["it is DER", "openssl"]),
    (KEYS, "{ pem_file = §\"wide.pem\" }", &["is UTF-16"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nexternal_id = §\"{subject}\"\n", &["external_id", "{sub}"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nexternal_id = §\"{sub}{claim:org}\"\n", &["fixed text between"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nsubjects_of = §\"https://idp.exmaple.org\"\n", &["subjects_of"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nmax_age = §600\n", &["a duration such as"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\ntypes = §\"JWT\"\n", &["put it in brackets"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nsubject_claim = §\"\"\n", &["subject_claim"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nca = §\"absent.pem\"\n", &["absent.pem", "No such file"]),
    (ISSUER, "issuer = \"https://idp.example.com\"\nca = §\"key.der\"\n", &["it is DER"]),
    // [[provider]]
    ("\"intelliprove-v2\"", "§\"intelliprove_v2\"", &["did you mean \"intelliprove-v2\"?"]),
    ("\"https://engine.intelliprove.com\"", "§\"http://engine.intelliprove.com\"", &["use `https://`"]),
    ("\"https://engine.intelliprove.com\"", "§\"engine.intelliprove.com\"", &["provider.base_url", "https://"]),
    (API_KEY, "api_key = §\"sk_live_canary_of_this_test\"", &["provider.api_key", "file"]),
    (API_KEY, "api_key = §{ file = \"secrets/absent.key\" }", &["absent.key", "No such file"]),
    (API_KEY, "api_key = §{ file = \"secrets/empty.key\" }", &["is empty"]),
    (API_KEY, "api_key = §{ file = \"bom.json\" }", &["byte order mark"]),
    (API_KEY, "api_key = §{ path = \"x\" }", &["exactly one of `file` and `env`"]),
    (API_KEY, "api_key = §{ env = \"VALET_IS_NOT_SET\" }", &["VALET_IS_NOT_SET is not set"]),
    ("[\"*.intelliprove.com\"]", "§[]", &["provider.redirect_hosts"]),
    ("[\"*.intelliprove.com\"]", "[§\"https://x.intelliprove.com\"]", &["provider.redirect_hosts", "host"]),
    ("[\"*.intelliprove.com\"]", "[§\"*\"]", &["provider.redirect_hosts"]),
    ("[\"*.intelliprove.com\"]", "§\"*.intelliprove.com\"", &["put it in brackets"]),
    ("redirect_hosts", "§redirect_host", &["did you mean \"redirect_hosts\"?"]),
    ("name = \"intelliprove\"", "name = §\"\"", &["provider.name"]),
    ("name = \"intelliprove\"", "name = \"intelliprove\"\ntimeout = §\"0s\"", &["provider.timeout"]),
    ("name = \"intelliprove\"", "name = \"intelliprove\"\nbreaker = { §failure = 3 }", &["did you mean \"failures\"?"]),
    ("name = \"intelliprove\"", "name = \"intelliprove\"\nproxy = §{ url = \"https://proxy:3128\" }", &["http://"]),
    // [[plugin]]
    ("[[plugin]]", "§[plugin]", &["[[plugin]]"]),
    ("provider = \"intelliprove\"", "provider = §\"inteliprove\"", &["did you mean \"intelliprove\"?"]),
    ("mint = \"face-scan\"", "mint = §\"face-scna\"", &["did you mean \"face-scan\"?"]),
    ("\"/plugins/face-scan\"", "§\"plugins/face-scan\"", &["plugin.path", "/"]),
    ("\"/plugins/face-scan\"", "§\"/plugins/../x\"", &["plugin.path"]),
    ("\"/plugins/face-scan\"", "§\"/.valet/x\"", &["/.valet"]),
    (REUSE, "reuse = §\"User\"\n", &["did you mean \"user\"?"]),
    (REUSE, "reuse = §\"always\"\n", &["user", "session", "never"]),
    (REUSE, "reuse = \"user\"\nmax_age = §\"5\"\n", &["a duration such as"]),
    (REUSE, "reuse = \"user\"\nmin_remaining = §\"100h\"\n", &["plugin.min_remaining", "max_age"]),
    (REUSE, "reuse = \"user\"\nhost = §\"https://x.example\"\n", &["plugin.host"]),
    (REUSE, "reuse = \"user\"\nallowed_origins = [§\"https://a.example/\"]\n", &["plugin.allowed_origins"]),
    (REUSE, "reuse = \"user\"\nlanguages = §\"en\"\n", &["put it in brackets"]),
    // [[app]]
    (
        REUSE,
        "reuse = \"user\"\n[[app]]\nname = \"a\"\nupstreams = §[\"ftp://x:1\"]\n",
        &["app.upstreams", "ftp://x:1", "`https://host:port`"],
    ),
    (REUSE, "reuse = \"user\"\n[[app]]\nname = \"a\"\nupstreams = §\"127.0.0.1:1\"\n", &["put it in brackets"]),
    (
        REUSE,
        "reuse = \"user\"\n[[app]]\nname = \"a\"\nupstreams = [\"https://x\"]\nca = §\"key.der\"\n",
        &["app.ca", "it is DER"],
    ),
    (
        REUSE,
        "reuse = \"user\"\n[[app]]\nname = \"a\"\nupstreams = [\"x:1\"]\nsession = §\"optinal\"\n",
        &["did you mean \"optional\"?"],
    ),
    // No TOML
    ("[server]\n", "[server]\nthreads = §\u{201c}1\u{201d}\n", &["typographic"]),
    ("[server]\n", "[server]\nthreads §: 1\n", &["goes `=`, not `:`"]),
    (REUSE, "reuse = \"user\"\n§reuse = \"user\"\n", &["it stands in line 22 already"]),
];

/// The fault that this text should have first: its place by the mark, the text without it.
fn unmarked(text: &str) -> (String, String) {
    let at = text.find('§').expect("a mark");
    let (line, column) = position(text, at);
    (text.replacen('§', "", 1), format!("{line}:{column}"))
}

fn write_files(folder: &std::path::Path) {
    let write = |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).unwrap();
    write("bom.json", b"\xef\xbb\xbf{\"keys\":[]}");
    write("one.json", br#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#);
    write("key.der", &[0x30, 6, 2, 1, 0, 4, 1, 7]);
    write(
        "wide.pem",
        &"-----BEGIN".encode_utf16().fold(vec![0xff, 0xfe], |mut all, unit| {
            all.extend(unit.to_le_bytes());
            all
        }),
    );
}

#[test]
fn each_broken_file_is_told_where_and_how_to_mend_it() {
    let folder = folder();
    write_files(folder.path());
    let mut wrong = Vec::new();
    for (piece, broken, words) in CASES {
        let (text, place) = unmarked(&edited(piece, broken));
        let faults = Config::parse(&text, "valet.toml", folder.path()).err().unwrap_or_default();
        let Some(first) = faults.first().map(ToString::to_string) else {
            wrong.push(format!("{broken:?} is no fault"));
            continue;
        };
        let told = first.strip_prefix("valet.toml:").unwrap_or(&first);
        let lacking: Vec<_> = words.iter().filter(|word| !told.contains(**word)).collect();
        let is_there = told.strip_prefix(&place).is_some_and(|rest| rest.starts_with([' ', ':']));
        if !is_there || !lacking.is_empty() {
            wrong.push(format!("{broken:?}: expected at {place}, without {lacking:?}: {told}"));
        }
        // It may be a secret in the wrong place.
        assert!(!told.contains("canary"), "{told}");
    }
    assert!(CASES.len() >= 95, "{} cases", CASES.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_issuer_that_was_probably_meant_is_named() {
    let two = "[[session.issuer]]\nissuer = \"https://idp2.example.com\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\n\
               keys = { discovery = true }\nsubjects_of = \"https://idp.example.com/\"\n[[provider]]";
    let fault = lines(&edited("[[provider]]", two)).remove(0);
    assert!(fault.contains("did you mean \"https://idp.example.com\"?"), "{fault}");
}
