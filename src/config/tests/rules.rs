//! The rules, each with both sides of its edge.

use super::*;

/// A second issuer, provider or plug-in behind the good file.
fn and(more: &str) -> String {
    format!("{GOOD}{more}")
}

fn issuer(external_id: &str) -> String {
    let (before, after) = GOOD.split_once("[[provider]]").unwrap();
    format!(
        "{before}[[session.issuer]]\nissuer = \"https://two.example\"\naudiences = [\"a\"]\nalgorithms = [\"RS256\"]\nkeys = {{ discovery = true }}\n{external_id}\n[[provider]]{after}"
    )
}

const ACME: &str = r#"[[provider]]
name = "acme"
base_url = "https://api.acme.example"
api_key = { file = "secrets/acme.key" }
auth = { header = "x-api-key" }
redirect_hosts = ["embed.acme.example"]
[provider.mint.embed]
path = "/embed"
url = "text"
expires = "fixed"
"#;

#[test]
fn the_server_and_its_addresses() {
    let duplicate = "listener.address: this address is taken by listener.address already (line 4)";
    for (text, expected) in [
        (
            edited("https://app.example.com", "http://app.example.com"),
            Some("server.public_url: `http://` is allowed on loopback and `*.localhost` only; use `https://`"),
        ),
        (edited("https://app.example.com", "http://app.localhost:8080"), None),
        (
            edited("https://app.example.com", "https://app.example.com/x"),
            Some("server.public_url: expected an origin such as \"https://app.example.com\", without path or query"),
        ),
        (
            edited("https://app.example.com", "https://app.example.com?x=1"),
            Some("server.public_url: expected an origin such as \"https://app.example.com\", without path or query"),
        ),
        (with("[server]", "threads = 1024"), None),
        (with("[server]", "threads = 1025"), Some("server.threads: at most 1024")),
        (edited("127.0.0.1:8080", "[::1]:8080"), None),
        (edited("127.0.0.1:8080", "unix:/run/valet.sock"), None),
        (
            edited("127.0.0.1:8080", "localhost:8080"),
            Some(
                "listener.address: expected an address such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/valet.sock\"",
            ),
        ),
        (
            edited("127.0.0.1:8080", "unix:run/valet.sock"),
            Some("listener.address: expected an absolute path after `unix:`, such as \"unix:/run/valet.sock\""),
        ),
        (
            edited("[[listener]]\naddress = \"127.0.0.1:8080\"\n", ""),
            Some("listener: at least one [[listener]] is required"),
        ),
        (and("[[listener]]\naddress = \"127.0.0.1:8081\""), None),
        (and("[[listener]]\naddress = \"127.0.0.1:8080\""), Some(duplicate)),
        (and("[[listener]]\naddress = \"0.0.0.0:8080\""), Some(duplicate)),
        (and("[admin]\naddress = \"127.0.0.1:9090\""), None),
        (
            and("[admin]\naddress = \"127.0.0.1:8080\""),
            Some("admin.address: this address is taken by listener.address already (line 4)"),
        ),
        (and("[leases]\ncapacity = 1"), None),
        (and("[leases]\ncapacity = 0"), Some("leases.capacity: expected 1 to 1000000000")),
        (and("[log]\nsubject_key = { file = \"secrets/log.key\" }"), None),
        (
            and("[log]\nsubject_key = { file = \"secrets/empty.key\" }"),
            Some("log.subject_key: DIR/secrets/empty.key is empty"),
        ),
        (
            and("[log]\nsubject_key = { env = \"VALET_TEST_IS_NOT_SET\" }"),
            Some("log.subject_key: the environment variable VALET_TEST_IS_NOT_SET is not set"),
        ),
    ] {
        assert_faults(&text, expected.as_slice());
    }
}

#[test]
fn where_credentials_are_read() {
    let source = "session.sources: expected `header:NAME` or `cookie:NAME`";
    let again = "session.sources: this source stands in the list already (line 6)";
    for (keys, expected) in [
        ("sources = []", Some("session.sources: at least one source is required")),
        ("sources = [\"cookie:a\"]", None),
        ("sources = [\"cookie:a\", \"cookie:A\"]", None),
        ("sources = [\"cookie:a\", \"cookie:a\"]", Some(again)),
        ("sources = [\"header:Authorization\", \"header:authorization\"]", Some(again)),
        ("sources = [\"header:x y\"]", Some(source)),
        ("sources = [\"header:\"]", Some(source)),
        ("sources = [\"query:token\"]", Some(source)),
        ("clock_skew = \"5m\"", None),
        ("clock_skew = \"5m 1s\"", Some("session.clock_skew: at most \"5m\"")),
        ("max_token_bytes = 256", None),
        ("max_token_bytes = 255", Some("session.max_token_bytes: expected 256 to 24576")),
        ("max_token_bytes = 24576", None),
        ("max_token_bytes = 24577", Some("session.max_token_bytes: expected 256 to 24576")),
        ("cache = 1", None),
        ("cache = 0", Some("session.cache: expected 1 to 100000000")),
        ("cache = 100000000", None),
        ("cache = 100000001", Some("session.cache: expected 1 to 100000000")),
        ("login_url = \"/login\"", None),
        ("login_url = \"//evil.example\"", Some("session.login_url: a path that starts with `//` is another host")),
        ("login_url = \"login\"", Some("session.login_url: expected a path that starts with `/`, or an http(s) URL")),
    ] {
        assert_faults(&with("[session]", keys), expected.as_slice());
    }
}

#[test]
fn issuers_and_their_keys() {
    let one_of = "session.issuer.keys: expected exactly one of `discovery = true`, `jwks_url`, `jwks_file`, `pem_file`, `secret`";
    let needs = "session.issuer.algorithms: this algorithm needs `keys = { secret = … }`";
    let only = "session.issuer.algorithms: with `keys.secret` only HS256, HS384 and HS512 can be used";
    let http = "session.issuer.keys.jwks_url: `http://` is allowed on loopback and `*.localhost` only; use `https://`";
    for (algorithm, keys, expected) in [
        ("ES256", "discovery = false", Some(one_of)),
        ("ES256", "", Some(one_of)),
        ("ES256", "discovery = true, jwks_file = \"keys.json\"", Some(one_of)),
        ("ES256", "jwks_url = \"https://idp.example.com/keys\"", None),
        ("ES256", "jwks_url = \"http://idp.example.com/keys\"", Some(http)),
        ("ES256", "jwks_url = \"http://127.0.0.1:9000/keys\"", None),
        ("ES256", "jwks_file = \"keys.json\"", None),
        (
            "ES256",
            "jwks_file = \"nokeys.json\"",
            Some("session.issuer.keys.jwks_file: DIR/nokeys.json is no key set: it has no list `keys`"),
        ),
        ("ES256", "jwks_file = \"text.txt\"", Some("session.issuer.keys.jwks_file: DIR/text.txt is not JSON")),
        ("ES256", "jwks_file = \"secrets\"", Some("session.issuer.keys.jwks_file: DIR/secrets is not a file")),
        (
            "RS256",
            "pem_file = \"key.pem\"",
            Some("session.issuer.keys.pem_file: DIR/key.pem: the key serves none of the configured algorithms"),
        ),
        (
            "RS256",
            "jwks_file = \"keys.json\"",
            Some(
                "session.issuer.keys.jwks_file: DIR/keys.json: holds no key that can be used. key 1 is not used: it is not meant for verifying signatures of the configured algorithms",
            ),
        ),
        ("ES256", "pem_file = \"key.pem\"", None),
        (
            "ES256",
            "pem_file = \"text.txt\"",
            Some("session.issuer.keys.pem_file: DIR/text.txt is not PEM: it has no line `-----BEGIN …`"),
        ),
        (
            "ES256",
            "pem_file = \"private.pem\"",
            Some("session.issuer.keys.pem_file: DIR/private.pem holds a private key; only the public one belongs here"),
        ),
        ("HS256", "discovery = true", Some(needs)),
        ("ES256", "secret = { file = \"secrets/64.key\" }", Some(only)),
        ("HS256", "secret = { file = \"secrets/32.key\" }", None),
        (
            "HS256",
            "secret = { file = \"secrets/31.key\" }",
            Some("session.issuer.keys.secret: for these algorithms a secret has at least 32 bytes (RFC 7518)"),
        ),
        ("HS384", "secret = { file = \"secrets/48.key\" }", None),
        (
            "HS384",
            "secret = { file = \"secrets/47.key\" }",
            Some("session.issuer.keys.secret: for these algorithms a secret has at least 48 bytes (RFC 7518)"),
        ),
        ("HS512", "secret = { file = \"secrets/64.key\" }", None),
        (
            "HS512",
            "secret = { file = \"secrets/63.key\" }",
            Some("session.issuer.keys.secret: for these algorithms a secret has at least 64 bytes (RFC 7518)"),
        ),
        (
            "HS256\", \"HS512",
            "secret = { file = \"secrets/63.key\" }",
            Some("session.issuer.keys.secret: for these algorithms a secret has at least 64 bytes (RFC 7518)"),
        ),
    ] {
        let text = edited("keys = { discovery = true }", &format!("keys = {{ {keys} }}")).replace("ES256", algorithm);
        assert_faults(&text, expected.as_slice());
    }
    assert_faults(&edited("[\"ES256\"]", "[]"), &["session.issuer.algorithms: at least one algorithm is required"]);
}

#[test]
fn what_an_issuer_says() {
    let discovery = "session.issuer.issuer: with `keys.discovery` the issuer must be an `https://` URL (`http://` on loopback only)";
    for (text, expected) in [
        (edited("https://idp.example.com", "http://idp.example.com"), vec![discovery]),
        (edited("https://idp.example.com", "http://localhost:9000"), vec![]),
        (edited("https://idp.example.com", "our own"), vec![discovery]),
        (edited("https://idp.example.com", "our own").replace("discovery = true", "jwks_file = \"keys.json\""), vec![]),
        (
            edited("https://idp.example.com", "").replace("discovery = true", "jwks_file = \"keys.json\""),
            vec!["session.issuer.issuer: must not be empty"],
        ),
        (edited("[\"my-app\"]", "[\"\"]"), vec!["session.issuer.audiences: must not be empty"]),
        (with("[[session.issuer]]", "subject_claim = \"\""), vec!["session.issuer.subject_claim: must not be empty"]),
        (with("[[session.issuer]]", "subject_claim = \"/realm/user~1id\""), vec![]),
        (
            with("[[session.issuer]]", "subject_claim = \"/realm/user~2id\""),
            vec!["session.issuer.subject_claim: not a JSON pointer: `~` is written `~0`, and `/` in a name `~1`"],
        ),
        (
            with("[[session.issuer]]", "external_id = \"fixed\""),
            vec![
                "session.issuer.external_id: without `{sub}` or `{claim:NAME}` every person would have one name at the vendor",
            ],
        ),
        (
            edited(
                "[[session.issuer]]\nissuer = \"https://idp.example.com\"\naudiences = [\"my-app\"]\nalgorithms = [\"ES256\"]\nkeys = { discovery = true }\n",
                "",
            ),
            vec!["session.issuer: at least one [[session.issuer]] is required"],
        ),
    ] {
        assert_faults(&text, &expected);
    }
}

#[test]
fn two_issuers_never_give_two_persons_one_name() {
    let required =
        "session.issuer.external_id: is required with two or more issuers: the vendor would take two persons for one";
    let same = "session.issuer.external_id: the issuer \"https://idp.example.com\" has the same `external_id`: the vendor would take two persons for one";
    let first = |id: &'static str| {
        move |text: String| {
            text.replacen("[[session.issuer]]\n", &format!("[[session.issuer]]\nexternal_id = \"{id}\"\n"), 1)
        }
    };
    assert_faults(&issuer(""), &[required, required]);
    assert_faults(&issuer("external_id = \"two-{sub}\""), &[required]);
    assert_faults(&first("{sub}")(issuer("external_id = \"two-{sub}\"")), &[]);
    assert_faults(&first("{sub}")(issuer("external_id = \"{sub}\"")), &[same]);
    assert_faults(&first("x-{sub}")(issuer("external_id = \"x-{sub}\"")), &[same]);
    let alike = |other: &str| {
        format!(
            "session.issuer.external_id: gives the same names as that of the issuer \"https://idp.example.com\", \"{other}\": give one of them a fixed beginning of its own"
        )
    };
    for (one, other) in [("x-{sub}", "x-{claim:org}"), ("{sub}", "{claim:org}"), ("{claim:a}:{sub}", "{claim:b}-{sub}")]
    {
        assert_faults(&first(one)(issuer(&format!("external_id = \"{other}\""))), &[&alike(one)]);
    }
    for (one, other) in
        [("corp-{sub}", "{sub}"), ("{sub}", "{claim:tid}:{sub}"), ("a-{sub}", "a-b-{sub}"), ("{sub}@a", "{sub}@b")]
    {
        assert_faults(&first(one)(issuer(&format!("external_id = \"{other}\""))), &[]);
    }
    let between = "session.issuer.external_id: two values need fixed text between them, such as `:`; without it `a` and `bc` would be `ab` and `c`";
    assert_faults(&first("{claim:org}{sub}")(GOOD.to_owned()), &[between]);
    let again =
        first("a-{sub}")(issuer("external_id = \"{sub}\"")).replace("https://two.example", "https://idp.example.com");
    assert_faults(&again, &["session.issuer.issuer: this issuer stands in the file already (line 8)"]);
}

#[test]
fn providers() {
    let one_of = "provider.auth: expected exactly one of `header`, `bearer = true`, `query`, `basic`, `oauth2`, `login`, `hmac`, `sigv4`";
    let hosts = "provider.redirect_hosts: expected `host`, `host:port` or `*.suffix`";
    let suffix = "provider.redirect_hosts: `*.` before a public suffix would allow everybody's hosts; name the vendor's own domain";
    let key = "{ file = \"secrets/acme.key\" }";
    let acme = |line: &str, instead: &str| {
        assert!(ACME.contains(line));
        and(&ACME.replacen(line, instead, 1))
    };
    for (text, expected) in [
        (and(ACME), None),
        (acme("\"acme\"", "\"intelliprove\""), Some("provider.name: another provider has this name (line 12)")),
        (acme("\"acme\"", "\"a b\""), Some("provider.name: expected a name of 1 to 64 letters, digits, `-` and `_`")),
        (
            edited("intelliprove-v2", "intelliprove-v3"),
            Some(
                "provider.preset: expected one of \"intelliprove-v2\", \"intelliprove-v1\", \"intelliprove-widgets\", \"jumio\", \"metabase\", \"onfido\", \"plaid\", \"stripe-portal\", \"sumsub\", \"superset\"; did you mean \"intelliprove-v2\"?",
            ),
        ),
        (
            acme("https://api", "http://api"),
            Some("provider.base_url: `http://` is allowed on loopback and `*.localhost` only; use `https://`"),
        ),
        (acme("https://api.acme.example", "http://vendor.localhost:9000/v2"), None),
        (
            acme("https://api", "https://u:p@api"),
            Some("provider.base_url: a URL must not hold a user name or password"),
        ),
        (
            acme("acme.example\"\napi", "acme.example?x\"\napi"),
            Some("provider.base_url: expected a URL without query and fragment"),
        ),
        (acme(key, "[{ file = \"secrets/acme.key\" }, { file = \"secrets/next.key\" }]"), None),
        (
            acme(key, &format!("[{key}, {key}, {key}]")),
            Some("provider.api_key: expected one source of the key, or a list of two"),
        ),
        (acme(key, "[]"), Some("provider.api_key: expected one source of the key, or a list of two")),
        (
            acme(key, "{ file = \"secrets/spaced.key\" }"),
            Some("provider.api_key: a key in a header has visible ASCII only, no spaces or line ends"),
        ),
        (acme(key, "{ file = \"secrets/spaced.key\" }").replace("header = \"x-api-key\"", "query = \"k\""), None),
        (acme("auth = { header = \"x-api-key\" }\n", ""), Some("provider.auth: is required without a preset")),
        (acme("header = \"x-api-key\"", ""), Some(one_of)),
        (acme("header = \"x-api-key\"", "header = \"x\", bearer = true"), Some(one_of)),
        (acme("header = \"x-api-key\"", "bearer = true"), None),
        (
            acme("header = \"x-api-key\"", "header = \"x y\""),
            Some("provider.auth.header: expected the name of a header field"),
        ),
        (
            acme("header = \"x-api-key\"", "header = \"Host\""),
            Some("provider.auth.header: this field can't carry the key"),
        ),
        (acme("header = \"x-api-key\"", "header = \"authorization\", prefix = \"Token token=\""), None),
        (
            acme("header = \"x-api-key\"", "bearer = true, prefix = \"Token \""),
            Some("provider.auth.prefix: stands before a key in a header field: name it in `header`"),
        ),
        (
            acme("header = \"x-api-key\"", "basic = \"a:b\""),
            Some("provider.auth.basic: a user name has no `:` and no control characters (RFC 7617)"),
        ),
        (acme(key, "{ file = \"secrets/spaced.key\" }").replace("header = \"x-api-key\"", "basic = \"u\""), None),
        (acme("auth =", "headers = { x-client-id = \"acme\" }\nauth ="), None),
        (
            acme("auth =", "headers = { X-Api-Key = \"acme\" }\nauth ="),
            Some("provider.headers.X-Api-Key: this header field is the API key's"),
        ),
        (acme("auth =", &format!("secret_headers = {{ x-second = {key} }}\nauth =")), None),
        (
            acme("auth =", &format!("secret_headers = {{ x-api-key = {key} }}\nauth =")),
            Some("provider.secret_headers.x-api-key: this header field is the API key's"),
        ),
        (
            acme("auth =", &format!("headers = {{ x-b = \"c\" }}\nsecret_headers = {{ X-B = {key} }}\nauth =")),
            Some("provider.headers.x-b: stands in the provider's `secret_headers` already"),
        ),
        (
            acme("auth =", "secret_headers = { x-b = { file = \"secrets/spaced.key\" } }\nauth ="),
            Some("provider.secret_headers.x-b: a secret in a header has visible ASCII only, no spaces or line ends"),
        ),
        (acme("path = \"/embed\"", "method = \"POST\"\npath = \"/embed\"\nform = { user = \"{subject}\" }"), None),
        (
            acme("path = \"/embed\"", "path = \"/embed\"\nform = { user = \"{subject}\" }"),
            Some("provider.mint.embed.form: a GET has no body"),
        ),
        (
            acme(
                "path = \"/embed\"",
                "method = \"POST\"\npath = \"/embed\"\nform = { a = \"1\" }\njson = { a = \"1\" }",
            ),
            Some("provider.mint.embed.form: contradicts `json`: a call has one body"),
        ),
        (
            acme("[provider.mint.embed]\npath = \"/embed\"\nurl = \"text\"\nexpires = \"fixed\"\n", ""),
            Some("provider.mint: without a preset at least one [provider.mint.NAME] is required"),
        ),
        (acme("[\"embed.acme.example\"]", "[]"), Some("provider.redirect_hosts: at least one host is required")),
        (acme("embed.acme.example", "https://embed.acme.example"), Some(hosts)),
        (acme("embed.acme.example", "*.co.uk"), Some(suffix)),
        (acme("auth =", "timeout = \"100ms\"\nauth ="), None),
        (acme("auth =", "timeout = \"99ms\"\nauth ="), Some("provider.timeout: expected \"100ms\" to \"60s\"")),
        (acme("auth =", "timeout = \"60s\"\nauth ="), None),
        (acme("auth =", "timeout = \"61s\"\nauth ="), Some("provider.timeout: expected \"100ms\" to \"60s\"")),
        (acme("auth =", "max_in_flight = 0\nauth ="), Some("provider.max_in_flight: at least 1")),
        (acme("auth =", "breaker = { failures = 0 }\nauth ="), Some("provider.breaker.failures: at least 1")),
        (
            acme("auth =", "breaker = { within = \"0s\" }\nauth ="),
            Some("provider.breaker.within: must be longer than nothing"),
        ),
        (
            acme("auth =", "breaker = { pause = \"0s\" }\nauth ="),
            Some("provider.breaker.pause: must be longer than nothing"),
        ),
    ] {
        assert_faults(&text, expected.as_slice());
    }
}

#[test]
fn a_subject_hash_needs_a_key() {
    let fault = |key: &str| {
        format!(
            "provider.mint.embed.{key}: `{{subject_hash}}` needs a key: set `subject_key` of the provider or of [log]"
        )
    };
    for (key, line) in [
        ("path", "path = \"/embed/{subject_hash}\""),
        ("query.user", "path = \"/embed\"\nquery = { user = \"{subject_hash}\" }"),
        ("headers.x-user", "path = \"/embed\"\nheaders = { x-user = \"u-{subject_hash}\" }"),
        ("json", "method = \"POST\"\npath = \"/embed\"\njson = { user = [{ id = \"{subject_hash}\" }] }"),
    ] {
        let text = and(&ACME.replace("path = \"/embed\"", line));
        assert_faults(&text, &[fault(key).as_str()]);
        assert_faults(&format!("{text}[log]\nsubject_key = {{ file = \"secrets/log.key\" }}"), &[]);
        assert_faults(&text.replace("auth =", "subject_key = { file = \"secrets/log.key\" }\nauth ="), &[]);
    }
}

#[test]
fn plug_ins() {
    let plugin = |name: &str, path: &str, more: &str| {
        and(&format!(
            "[[plugin]]\nname = \"{name}\"\nprovider = \"intelliprove\"\nmint = \"health-dashboard\"\npath = \"{path}\"\nreuse = \"user\"\n{more}"
        ))
    };
    let taken = "plugin.path: another plug-in has this path, for the same host (line 21)";
    for (text, expected) in [
        (plugin("b", "/b", ""), None),
        (plugin("face-scan", "/b", ""), Some("plugin.name: another plug-in has this name (line 18)")),
        (plugin("b", "/plugins/face-scan", ""), Some(taken)),
        (plugin("b", "/plugins/face-scan", "host = \"b.example\""), None),
        (
            edited("provider = \"intelliprove\"", "provider = \"other\""),
            Some("plugin.provider: there is no [[provider]] with this name; there are: intelliprove"),
        ),
        (
            edited("mint = \"face-scan\"", "mint = \"scan\""),
            Some("plugin.mint: the provider has no such mint; it has: face-scan, health-dashboard"),
        ),
        (
            edited("mint = \"face-scan\"", "mint = \"health-dashboard\"").replace("-v2", "-v1"),
            Some("plugin.mint: the provider has no such mint; it has: face-scan"),
        ),
        (
            plugin("b", "/b", "host = \"https://b.example\""),
            Some("plugin.host: expected a host name such as \"app.example.com\""),
        ),
        (
            plugin("b", "/b", "login_url = \"login\""),
            Some("plugin.login_url: expected a path that starts with `/`, or an http(s) URL"),
        ),
        (
            plugin("b", "/b", "languages = [\"en\", \"EN\"]"),
            Some("plugin.languages: this language stands in the list already (line 29)"),
        ),
        (plugin("b", "/b", "languages = [\"\"]"), Some("plugin.languages: expected a language such as \"en\"")),
        (plugin("b", "/b", "allowed_origins = [\"https://a.example\", \"http://localhost:3000\"]"), None),
        (
            plugin("b", "/b", "allowed_origins = [\"https://a.example/\"]"),
            Some("plugin.allowed_origins: write the origin as \"https://a.example\""),
        ),
        (plugin("b", "/b", "embed = [\"same-origin\", \"any\", \"https://a.example\"]"), None),
        (
            plugin("b", "/b", "embed = [\"none\"]"),
            Some(
                "plugin.embed: expected \"same-origin\", \"same-site\", \"any\" or an origin such as \"https://app.example.com\"",
            ),
        ),
        (plugin("b", "/b", "mints_per_subject = { count = 1, within = \"24h\" }"), None),
        (plugin("b", "/b", "mints_per_subject = { count = 5 }"), None),
        (plugin("b", "/b", "mints_per_subject = { within = \"5m\" }"), None),
        (
            plugin("b", "/b", "mints_per_subject = { count = 0, within = \"1s\" }"),
            Some("plugin.mints_per_subject.count: at least 1"),
        ),
        (
            plugin("b", "/b", "mints_per_subject = { count = 1, within = \"24h 1s\" }"),
            Some("plugin.mints_per_subject.within: expected \"1s\" to \"24h\""),
        ),
        (
            plugin("b", "/b", "mints_per_subject = { count = 1, within = \"999ms\" }"),
            Some("plugin.mints_per_subject.within: expected \"1s\" to \"24h\""),
        ),
    ] {
        assert_faults(&text, expected.as_slice());
    }
}

#[test]
fn the_paths_of_plug_ins_are_normal() {
    for good in ["/", "/a", "/a/", "/a/b.c", "/a%20b", "/.valetx", "/...", "/caf%C3%A9"] {
        assert_faults(&edited("/plugins/face-scan", good), &[]);
    }
    for bad in [
        "",
        "a",
        "//a",
        "/a//b",
        "/./a",
        "/a/..",
        "/%2e%2e/a",
        "/..;x/a",
        "/a?b",
        "/a#b",
        "/a%2fb",
        "/a%5Cb",
        "/a%00",
        "/a%7f",
        "/a%252e",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a b",
        "/é",
        "/%ff",
        "/.valet",
        "/.valet/x",
        "/.v%61let/x",
    ] {
        let found = faults(&edited("/plugins/face-scan", bad));
        assert_eq!(found.len(), 1, "{bad:?}: {found:?}");
        assert!(found[0].starts_with("plugin.path: "), "{bad:?}: {found:?}");
    }
}

#[test]
fn the_path_of_an_app_is_one_that_every_reading_of_a_request_keeps() {
    let app = |name: &str, path: &str| {
        format!("\n[[app]]\nname = \"{name}\"\npath = \"{path}\"\nupstreams = [\"127.0.0.1:3000\"]\n")
    };
    for good in ["/", "/a/", "/caf%C3%A9", "/caf%c3%a9/x", "/a%20b", "/a{b|c}", "/a%7Bb", "/a@b:c+d~e"] {
        assert_faults(&format!("{GOOD}{}", app("portal", good)), &[]);
    }
    let spelling = "another spelling of `b`, which some apps tell apart: write `b`";
    for (bad, why) in [
        ("/a;b", "an app's path has no `;`: some apps cut a segment there"),
        ("/a%3Bb", "an app's path has no `%3b`: some apps cut a path at `;`"),
        ("/a%3fb", "an app's path has no `%3f`: some apps cut a path at `?`"),
        ("/a%23b", "an app's path has no `%23`: some apps cut a path at `#`"),
        ("/caf%C3%A9/a%62", &format!("`%62` is {spelling}")),
        ("/a%2fb", "`%2f`, `%5c`, `%25` and control characters are not allowed in a path"),
        ("/a%25b", "`%2f`, `%5c`, `%25` and control characters are not allowed in a path"),
    ] {
        assert_faults(&format!("{GOOD}{}", app("portal", bad)), &[&format!("app.path: {why}")]);
    }
    let found = faults(&format!("{GOOD}{}{}", app("one", "/caf%C3%A9"), app("two", "/caf%c3%a9/")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("app.path: another app has this path, for the same host"), "{found:?}");
}

#[test]
fn the_times_of_plug_ins_leave_room_for_each_other() {
    let age = "plugin.max_age: expected more than nothing and at most \"6h\"";
    for (keys, expected) in [
        ("max_age = \"6h\"", None),
        ("max_age = \"6h 1s\"", Some(age)),
        ("max_age = \"0s\"", Some(age)),
        ("max_age = \"5m 1s\"", None),
        (
            "max_age = \"5m\"",
            Some("plugin.min_remaining: must be shorter than max_age, \"5m\" (left out, it is \"5m\")"),
        ),
        ("max_age = \"1h\"\nmin_remaining = \"59m\"", None),
        (
            "max_age = \"1h\"\nmin_remaining = \"1h\"",
            Some("plugin.min_remaining: must be shorter than max_age, \"1h\""),
        ),
        ("refresh_ahead = \"5m 1s\"", None),
        ("refresh_ahead = \"5m\"", Some("plugin.refresh_ahead: must be longer than min_remaining, \"5m\"")),
        ("refresh_ahead = \"5h 59m\"", None),
        ("refresh_ahead = \"6h\"", Some("plugin.refresh_ahead: must be shorter than max_age, \"6h\"")),
    ] {
        assert_faults(&with("[[plugin]]", keys), expected.as_slice());
    }
    let never = with("[[plugin]]", "refresh_ahead = \"30m\"").replace("reuse = \"user\"", "reuse = \"never\"");
    assert_faults(
        &never,
        &["plugin.refresh_ahead: has no meaning with reuse = \"never\": nothing is kept that could be refreshed"],
    );
}

#[test]
fn a_rule_between_two_keys_is_silent_when_one_of_them_is_faulty() {
    let age = "plugin.max_age: expected a duration such as \"5m\"";
    assert_faults(&with("[[plugin]]", "max_age = \"soon\"\nmin_remaining = \"7h\""), &[age]);
}

#[test]
fn fetched_keys_have_a_pace_within_bounds() {
    let at = "session.issuer.keys";
    let local = "has a meaning for fetched keys only: `discovery` or `jwks_url`";
    for (keys, fault) in [
        ("discovery = true, refresh = \"10s\", cooldown = \"1s\", max_stale = \"1m\"", None),
        ("jwks_url = \"https://idp.example.com/k\", refresh = \"24h\", cooldown = \"1h\", max_stale = \"168h\"", None),
        ("discovery = true, refresh = \"24h\"", None),
        ("discovery = true, refresh = \"9s\"", Some(format!("{at}.refresh: expected \"10s\" to \"24h\""))),
        ("discovery = true, cooldown = \"0s\"", Some(format!("{at}.cooldown: expected \"1s\" to \"1h\""))),
        ("discovery = true, max_stale = \"169h\"", Some(format!("{at}.max_stale: expected \"1m\" to \"168h\""))),
        (
            "discovery = true, refresh = \"2m\", max_stale = \"1m\"",
            Some(format!("{at}.max_stale: must not be shorter than refresh, \"2m\"")),
        ),
        ("secret = { env = \"A_SECRET_THAT_IS_NOT_SET\" }, cooldown = \"1s\"", Some(format!("{at}.cooldown: {local}"))),
    ] {
        let found = faults(&edited("keys = { discovery = true }", &format!("keys = {{ {keys} }}")));
        match fault {
            None => assert_eq!(found, [""; 0], "{keys}"),
            Some(fault) => assert!(found.contains(&fault), "{keys}: {found:?}"),
        }
    }
}

#[test]
fn which_tokens_an_issuer_may_name() {
    let at = "session.issuer";
    let other_end = "tokens of this type are signed for another end, and open no session";
    for (line, fault) in [
        ("types = [\"at+jwt\"]", None),
        ("types = [\"JWT\", \"application/vnd.example.session+jwt\"]", None),
        ("types = []", Some(format!("{at}.types: at least one type is required"))),
        ("types = [\"\"]", Some(format!("{at}.types: expected a type such as \"at+jwt\""))),
        ("types = [\"application/\"]", Some(format!("{at}.types: expected a type such as \"at+jwt\""))),
        ("types = [\"text/jwt\"]", Some(format!("{at}.types: expected a type such as \"at+jwt\""))),
        ("types = [\"at+jwt\", \"application/Logout+JWT\"]", Some(format!("{at}.types: {other_end}"))),
        ("types = [\"dpop+jwt\"]", Some(format!("{at}.types: {other_end}"))),
        ("max_age = \"12h\"", None),
        ("max_age = \"1m\"", None),
        ("max_age = \"59s\"", Some(format!("{at}.max_age: expected \"1m\" to \"8784h\""))),
        ("max_age = \"8785h\"", Some(format!("{at}.max_age: expected \"1m\" to \"8784h\""))),
        ("accept_bound = true", None),
        ("accept_bound = \"yes\"", Some(format!("{at}.accept_bound: expected true or false, found a string"))),
    ] {
        let found = faults(&with("[[session.issuer]]", line));
        match fault {
            None => assert_eq!(found, [""; 0], "{line}"),
            Some(fault) => assert_eq!(found, [fault], "{line}"),
        }
    }
}

#[test]
fn the_way_to_issuers_and_vendors() {
    for (owner, line) in
        [("session.issuer", "keys = { discovery = true }"), ("provider", "preset = \"intelliprove-v2\"")]
    {
        let with = |keys: &str| edited(line, &format!("{line}\n{keys}"));
        assert_faults(&with("ca = \"ca.pem\"\nproxy = \"http://proxy.internal:3128\""), &[]);
        let table = "proxy = { url = \"http://proxy.internal:3128\", credentials = { file = \"secrets/proxy.key\" } }";
        assert_faults(&with(table), &[]);
        for (keys, fault) in [
            ("ca = \"absent.pem\"", "ca: DIR/absent.pem: No such file or directory (os error 2)"),
            ("ca = \"text.txt\"", "ca: DIR/text.txt holds no certificate in PEM"),
            ("ca = 1", "ca: expected a path, found an integer"),
            (
                "proxy = \"https://proxy.internal\"",
                "proxy: only proxies at http:// are supported; what goes through them is TLS from end to end all the same",
            ),
            (
                "proxy = \"http://me:secret@proxy.internal\"",
                "proxy: an address holds no user name or password: give them as `credentials`",
            ),
            (
                "proxy = { url = \"http://proxy.internal\", credentials = { file = \"secrets/acme.key\" } }",
                "proxy.credentials: expected `user:password` on one line",
            ),
            (
                "proxy = { url = \"http://proxy.internal\", password = \"x\" }",
                "proxy.password: unknown key; known here: url, credentials; a key of this name belongs in [leases.redis]",
            ),
            (
                "proxy = 1",
                "proxy: expected \"http://host:port\" or { url = \"http://host:port\", credentials = { file = \"…\" } }, found an integer",
            ),
        ] {
            assert_faults(&with(keys), &[&format!("{owner}.{fault}")]);
        }
    }
    let for_https = "has a meaning for `https://` addresses only";
    let local = edited("https://engine.intelliprove.com", "http://127.0.0.1:8000")
        .replace("redirect_hosts", "ca = \"ca.pem\"\nproxy = \"http://127.0.0.1:3128\"\nredirect_hosts");
    assert_faults(&local, &[&format!("provider.ca: {for_https}"), &format!("provider.proxy: {for_https}")]);
    let for_fetched = "has a meaning for fetched keys only: `discovery` or `jwks_url`";
    let filed = edited("keys = { discovery = true }", "keys = { pem_file = \"key.pem\" }\nca = \"ca.pem\"");
    assert_faults(&filed, &[&format!("session.issuer.ca: {for_fetched}")]);
}

#[test]
fn ed25519_is_another_name_of_its_algorithm() {
    assert_faults(&edited("\"ES256\"", "\"Ed25519\""), &[]);
    assert_eq!(
        parse(&edited("\"ES256\"", "\"Ed25519\"")).unwrap().session.issuers[0].algorithms,
        [crate::session::settings::SignatureAlgorithm::EdDSA]
    );
}

#[test]
fn two_values_side_by_side_in_a_recipe_are_a_warning() {
    for (text, warned) in [
        ("{claim:org}{subject}", true),
        ("{subject_hash}{claim:org?}", true),
        ("{claim:org}/{subject}", false),
        ("{subject}{language}", false),
    ] {
        let log = "[log]\nsubject_key = { file = \"secrets/log.key\" }\n";
        let query = format!("query = {{ id = \"{text}\" }}\nurl = \"text\"");
        let config = parse(&and(&(ACME.replace("url = \"text\"", &query) + log))).unwrap();
        let lines: Vec<_> = config.warnings.iter().filter(|line| line.contains("side by side")).collect();
        assert_eq!(lines.len(), usize::from(warned), "{text}: {:?}", config.warnings);
        assert!(
            lines.iter().all(|line| line.starts_with("provider.mint.embed.query.id (provider acme): ")),
            "{lines:?}"
        );
    }
}

#[test]
fn tenants_and_the_template_belong_together() {
    let at = "session.issuer";
    let of = |issuer: &str, more: &str| {
        edited("issuer = \"https://idp.example.com\"", &format!("issuer = \"{issuer}\"\n{more}"))
    };
    let template = "https://login.example/{tenant}/v2.0";
    let several = format!(
        "{at}.external_id: with several `tenants` it needs `{{claim:tid}}` or `{{tenant}}`: the vendor would take two persons for one"
    );
    let plain =
        format!("{at}.tenants: expected 1 to 128 letters, digits, `-`, `.`, `_`, `~`: it becomes part of an address");
    for (issuer, more, expected) in [
        (template, "tenants = [\"a\"]", None),
        (template, "tenants = [\"a\"]\nexternal_id = \"{sub}\"", None),
        (template, "tenants = [\"a\", \"b\"]\nexternal_id = \"{claim:tid}:{sub}\"", None),
        (template, "tenants = [\"a\", \"b\"]\nexternal_id = \"{tenant}:{sub}\"", None),
        (template, "tenants = [\"a\", \"b\"]\nexternal_id = \"x-{sub}-{claim:/tid}\"", None),
        ("https://{tenant}.login.example", "tenants = [\"a\", \"b\"]\nexternal_id = \"{claim:tid}:{sub}\"", None),
        (template, "", Some(format!("{at}.issuer: `{{tenant}}` needs `tenants = [\"…\"]` beside it"))),
        (template, "tenants = []", Some(format!("{at}.issuer: `{{tenant}}` needs `tenants = [\"…\"]` beside it"))),
        (
            "https://login.example",
            "tenants = [\"a\"]",
            Some(format!(
                "{at}.tenants: have a meaning with `{{tenant}}` in `issuer` only, such as \"https://login.example.com/{{tenant}}/v2.0\""
            )),
        ),
        ("https://login.example", "tenants = []", Some(format!("{at}.tenants: at least one tenant is required"))),
        (
            "https://login.example/{tenantid}/v2.0",
            "",
            Some(format!("{at}.issuer: of values in braces only `{{tenant}}` is known here")),
        ),
        (template, "tenants = [\"a\", \"b\"]", Some(several.clone())),
        (template, "tenants = [\"a\", \"b\"]\nexternal_id = \"{sub}\"", Some(several.clone())),
        (template, "tenants = [\"a\", \"b\"]\nexternal_id = \"{claim:org}:{sub}\"", Some(several)),
        (
            template,
            "tenants = [\"a\", \"a\"]\nexternal_id = \"{tenant}:{sub}\"",
            Some(format!("{at}.tenants: this tenant stands in the list already (line 8)")),
        ),
    ] {
        assert_faults(&of(issuer, more), expected.as_deref().as_slice());
    }
    for wrong in ["", "a/b", "a?b", "a#b", "a b", "a\\u0007", ".", "..", "{tenant}", "a%2fb", "é", &"a".repeat(129)] {
        assert_faults(&of(template, &format!("tenants = [\"{wrong}\"]")), &[&plain]);
    }
    let many = |count: usize| (0..count).map(|n| format!("\"t{n}\"")).collect::<Vec<_>>().join(", ");
    let many = |count| of(template, &format!("tenants = [{}]\nexternal_id = \"{{claim:tid}}:{{sub}}\"", many(count)));
    assert_faults(&many(256), &[]);
    assert_faults(&many(257), &[&format!("{at}.tenants: at most 256")]);
    // A tenant's issuer beside the same one written out.
    let twice = of(template, "tenants = [\"two\", \"b\"]\nexternal_id = \"{claim:tid}:{sub}\"");
    let second = issuer("external_id = \"x-{sub}\"").replace("https://two.example", "https://login.example/two/v2.0");
    let second = second
        .split_once("[[session.issuer]]\nissuer = \"https://login")
        .unwrap()
        .1
        .split_once("[[provider]]")
        .unwrap()
        .0;
    let text =
        twice.replacen("[[provider]]", &format!("[[session.issuer]]\nissuer = \"https://login{second}[[provider]]"), 1);
    assert_faults(&text, &[&format!("{at}.issuer: this issuer stands in the file already (line 7)")]);
    let url = edited("discovery = true", "jwks_url = \"https://login.example/{tenant}/keys\"");
    assert_faults(&url, &[&format!("{at}.keys.jwks_url: `{{tenant}}` needs `tenants = [\"…\"]` beside it")]);
}

#[test]
fn subjects_of_names_an_issuer_with_subjects_of_its_own() {
    let at = "session.issuer.subjects_of";
    let first = "https://idp.example.com";
    for (more, expected) in [
        (format!("subjects_of = \"{first}\""), vec![]),
        ("subjects_of = \"https://two.example\"".to_owned(), vec![format!("{at}: names this issuer itself")]),
        (
            "subjects_of = \"https://idp.example.com/\"".to_owned(),
            vec![format!("{at}: no [[session.issuer]] is \"https://idp.example.com/\"; did you mean \"{first}\"?")],
        ),
        (
            format!("subjects_of = \"{first}\"\nexternal_id = \"{{sub}}\""),
            vec!["session.issuer.external_id: has no meaning beside `subjects_of`: that issuer's counts".to_owned()],
        ),
    ] {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_faults(&issuer(&more), &expected);
    }
    let cycle = issuer(&format!("subjects_of = \"{first}\"")).replacen(
        "[[session.issuer]]\n",
        "[[session.issuer]]\nsubjects_of = \"https://two.example\"\n",
        1,
    );
    let itself =
        |root: &str| format!("{at}: that issuer has `subjects_of` itself; name the one that it names, \"{root}\"");
    assert_faults(&cycle, &[&itself(first), &itself("https://two.example")]);

    // Each tenant of one name is the same tenant of the other; one for all would make two tenants' people one.
    let tenants = "tenants = [\"a\", \"b\"]";
    let sts = |of: &str| {
        let second = issuer(&format!("{tenants}\nsubjects_of = \"{of}\""))
            .replace("https://two.example", "https://login.example/{tenant}/v2.0");
        second.replace(
            "issuer = \"https://idp.example.com\"",
            &format!(
                "issuer = \"https://sts.example/{{tenant}}/\"\n{tenants}\nexternal_id = \"{{claim:tid}}:{{sub}}\""
            ),
        )
    };
    assert_faults(&sts("https://sts.example/{tenant}/"), &[]);
    assert_faults(
        &sts("https://sts.example/a/"),
        &[&format!(
            "{at}: with several `tenants` it needs `{{tenant}}`: one subject of two tenants would be one person"
        )],
    );
    assert_faults(
        &sts("https://sts.example/{tenant}"),
        &[&format!(
            "{at}: no [[session.issuer]] is \"https://sts.example/a\"; did you mean \"https://sts.example/a/\"?"
        )],
    );
}

#[test]
fn an_issuer_may_have_several_keys_each_with_its_algorithms() {
    let at = "session.issuer";
    let secret = "{ secret = { file = \"secrets/32.key\" }, algorithms = [\"HS256\"] }";
    let set = "{ discovery = true, algorithms = [\"ES256\"] }";
    let needs = "this algorithm needs `keys = { secret = … }`; give each entry of `keys` its own `algorithms`";
    let only = "with `keys.secret` only HS256, HS384 and HS512 can be used";
    let whole = "algorithms = [\"ES256\"]\nkeys = { discovery = true }";
    for (own, keys, expected) in [
        (None, format!("[{secret}, {set}]"), vec![]),
        (None, set.to_owned(), vec![]),
        (Some("\"ES256\", \"HS256\""), format!("[{secret}, {set}]"), vec![]),
        (Some("\"ES256\""), format!("[{secret}, {{ discovery = true }}]"), vec![]),
        (None, format!("[{secret}, {{ discovery = true }}]"), vec![format!("{at}.algorithms: is required")]),
        (None, "{ discovery = true }".to_owned(), vec![format!("{at}.algorithms: is required")]),
        (Some("\"ES256\""), "[]".to_owned(), vec![format!("{at}.keys: expected 1 to 8 entries")]),
        (None, format!("[{}]", [set; 9].join(", ")), vec![format!("{at}.keys: expected 1 to 8 entries")]),
        (Some("\"ES256\", \"HS256\""), "[{ discovery = true }]".to_owned(), vec![format!("{at}.algorithms: {needs}")]),
        (
            None,
            "[{ secret = { file = \"secrets/32.key\" }, algorithms = [\"ES256\"] }]".to_owned(),
            vec![format!("{at}.keys.algorithms: {only}; give each entry of `keys` its own `algorithms`")],
        ),
        (
            None,
            "{ discovery = true, algorithms = [] }".to_owned(),
            vec![format!("{at}.keys.algorithms: at least one algorithm is required")],
        ),
        (
            None,
            format!("[{set}, {{ discovery = true, pem_file = \"key.pem\", algorithms = [\"ES256\"] }}]"),
            vec![format!(
                "{at}.keys: expected exactly one of `discovery = true`, `jwks_url`, `jwks_file`, `pem_file`, `secret`"
            )],
        ),
        (
            None,
            format!("[{set}, {{ secret = {{ file = \"secrets/31.key\" }}, algorithms = [\"HS256\"] }}]"),
            vec![format!("{at}.keys.secret: for these algorithms a secret has at least 32 bytes (RFC 7518)")],
        ),
        (
            None,
            "\"https://x.example\"".to_owned(),
            vec![format!(
                "{at}.keys: expected a table such as {{ discovery = true }}, or a list of such tables, found a string"
            )],
        ),
        (
            None,
            "[{ discovery = true, algorithm = [\"ES256\"] }]".to_owned(),
            vec![format!("{at}.keys.algorithm: unknown key; did you mean \"algorithms\"?")],
        ),
    ] {
        let own = own.map(|own| format!("algorithms = [{own}]\n")).unwrap_or_default();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_faults(&edited(whole, &format!("{own}keys = {keys}")), &expected);
    }
    let extra = edited(whole, &format!("algorithms = [\"RS256\"]\nkeys = [{set}]"));
    let config = parse(&extra).unwrap();
    let line = "session.issuer \"https://idp.example.com\": no entry of `keys` names RS256: it opens nothing";
    assert!(config.warnings.iter().any(|warning| warning == line), "{:?}", config.warnings);
}

#[test]
fn the_host_that_an_app_is_told_is_a_host_with_or_without_a_port() {
    let app = |told: &str| {
        format!(
            "{GOOD}[[app]]\nname = \"portal\"\nupstreams = [\"unix:/run/app.sock\"]\n[app.request]\nhost = {told}\n"
        )
    };
    assert_eq!(lines(&app("\"portal.internal:8080\"")), [""; 0]);
    let [line] = lines(&app("\"http://portal.internal\"")).try_into().unwrap();
    let place = format!("{}:8 app.request.host: expected a host name or an IP address", GOOD.lines().count() + 5);
    assert!(line.starts_with(&place), "{line}");
}

#[test]
fn a_socket_of_an_app_is_an_absolute_path() {
    let app = |upstream: &str| format!("{GOOD}[[app]]\nname = \"portal\"\nupstreams = [\"{upstream}\"]\n");
    let [line] = lines(&app("unix:run/app.sock")).try_into().unwrap();
    let place =
        format!("{}:13 app.upstreams: \"unix:run/app.sock\": expected an absolute path", GOOD.lines().count() + 3);
    assert!(line.starts_with(&place), "{line}");
}

#[test]
fn revocations_are_remembered_for_as_long_as_any_token_lives() {
    let at = "session.revocation_life";
    for (life, max_age, fault) in [
        ("24h", "", None),
        ("12h", "12h", None),
        ("8784h", "", None),
        ("59s", "", Some("expected \"1m\" to \"8784h\"".to_owned())),
        (
            "11h",
            "12h",
            Some(
                "shorter than max_age of \"https://idp.example.com\": a token would open a session that was ended"
                    .to_owned(),
            ),
        ),
    ] {
        let text = with("[session]", &format!("revocation_life = \"{life}\""));
        let text = match max_age {
            "" => text,
            age => text.replacen("[[session.issuer]]", &format!("[[session.issuer]]\nmax_age = \"{age}\""), 1),
        };
        let expected: Vec<String> = fault.iter().map(|fault| format!("{at}: {fault}")).collect();
        assert_eq!(faults(&text), expected, "{life} {max_age}");
    }
    let warned = |life: &str| {
        let config = parse(&with("[session]", &format!("revocation_life = \"{life}\""))).unwrap();
        config.warnings.iter().filter(|line| line.starts_with(at)).count()
    };
    assert_eq!((warned("23h"), warned("24h")), (1, 0));
    assert_faults(&with("[session]", "revocations_unknown = \"refuse\""), &[]);
}
