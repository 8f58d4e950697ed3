//! What the settings of an app can be wrong in.

use super::super::target::{Scheme, Target};
use super::*;

/// `key: message` of each fault.
fn faults(keys: Value) -> Vec<String> {
    let faults = open(&settings(keys), Path::new(".")).err().unwrap_or_default();
    faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect()
}

fn keys_at_fault(mut keys: Value) -> Vec<String> {
    if keys["upstreams"].is_null() {
        keys["upstreams"] = json!(["127.0.0.1:3000"]);
    }
    open(&settings(keys), Path::new(".")).err().unwrap_or_default().iter().map(|fault| fault.path.clone()).collect()
}

#[test]
fn an_upstream_is_a_host_and_a_port_after_a_scheme() {
    let read = |text: &str| {
        let target = Target::parse(text).unwrap();
        (target.scheme, target.sni(), target.authority())
    };
    for (text, scheme, sni, authority) in [
        ("127.0.0.1:3000", Scheme::Http, "127.0.0.1", "127.0.0.1:3000"),
        ("http://127.0.0.1:3000", Scheme::Http, "127.0.0.1", "127.0.0.1:3000"),
        ("http://app", Scheme::Http, "app", "app"),
        ("app:80", Scheme::Http, "app", "app"),
        ("App.Internal:8080", Scheme::Http, "app.internal", "app.internal:8080"),
        ("my_app-1:8080", Scheme::Http, "my_app-1", "my_app-1:8080"),
        ("bücher.example:80", Scheme::Http, "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[::1]:3000", Scheme::Http, "::1", "[::1]:3000"),
        ("https://[2001:db8::7]", Scheme::Https, "2001:db8::7", "[2001:db8::7]"),
        ("https://app.internal", Scheme::Https, "app.internal", "app.internal"),
        ("https://app.internal.:8443", Scheme::Https, "app.internal", "app.internal.:8443"),
        ("h2c://app:50051", Scheme::H2c, "app", "app:50051"),
        ("h2c://app:80", Scheme::H2c, "app", "app:80"),
        ("unix:/run/app.sock", Scheme::Http, "", "localhost"),
    ] {
        assert_eq!(read(text), (scheme, sni.into(), authority.into()), "{text}");
    }
}

#[test]
fn anything_else_is_no_upstream() {
    for wrong in [
        "",
        ":",
        "app",
        "app:",
        ":3000",
        "app:0",
        "app:65536",
        "app:+80",
        "app:80a",
        "app:8 0",
        "::1",
        "::1:3000",
        "[::1]",
        "[::1:3000",
        "[::1]x:3000",
        "[]:80",
        "[app]:80",
        "[fe80::1%eth0]:80",
        "a b:80",
        "a..b:80",
        ".:80",
        "*.app:80",
        "a%62:80",
        "127.1:80",
        "0x7f.0.0.1:80",
        "1:80",
        "256.0.0.1:80",
        "h2c://app",
        "ftp://app:21",
        "HTTP://app:80",
        "://app:80",
        "http://",
        "https://",
        "http://app:80/",
        "http://app:80/path",
        "app:80?q",
        "app:80#f",
        "app\\:80",
        "http:app:80",
        "https://-:443",
        "unix:",
        "unix:app.sock",
        "unix:./app.sock",
        "unix:/",
        "unix:/run/",
        "unix://run/app.sock",
        "unix:///run/app.sock",
        "unix:/run/a\0b",
        "UNIX:/run/app.sock",
    ] {
        assert!(Target::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_fault_quotes_its_entry_unless_a_password_may_stand_in_it() {
    assert_eq!(
        faults(json!({ "upstreams": ["app", "http://user:hunter2@app:80", "https://app:443/x"] })),
        [
            "upstreams: \"app\": expected `host:port`, `https://host:port`, `h2c://host:port` or `unix:/path`",
            "upstreams: entry 2: an upstream has no user name or password",
            "upstreams: \"https://app:443/x\": an upstream is a host and a port, without a path",
        ]
    );
}

#[test]
fn a_fault_of_a_socket_says_what_is_wrong_with_it() {
    let long = format!("unix:/run/{}", "x".repeat(103));
    assert!(faults(json!({ "upstreams": [&long[..long.len() - 1]] })).is_empty(), "107 bytes");
    let absolute = "expected an absolute path after `unix:`, such as `unix:/run/app.sock`";
    let plain = "over a Unix socket HTTP/1.1 without TLS is spoken, and nothing else: write `unix:/path`";
    for (text, why) in [
        ("unix:", absolute),
        ("unix:app.sock", absolute),
        ("unix:///run/app.sock", absolute),
        (&long, "a socket's path has at most 107 bytes, and none of them is zero"),
        ("https://unix:/run/app.sock", plain),
        ("h2c://unix:/run/app.sock", plain),
        ("http://unix:/run/app.sock", plain),
    ] {
        assert_eq!(faults(json!({ "upstreams": [text] })), [format!("upstreams: {text:?}: {why}")]);
    }
    let keys = json!({ "upstreams": ["unix:/run/app.sock"], "server_name": "app.internal" });
    assert_eq!(keys_at_fault(keys), ["server_name"], "no TLS is spoken there");
}

#[test]
fn there_is_at_least_one_upstream_at_most_64_and_no_two_are_alike() {
    let none =
        "upstreams: expected at least one upstream; or `authorize = true`, where another proxy carries the requests";
    assert_eq!(faults(json!({ "upstreams": [] })), [none]);
    let ports = |count: u16| json!({ "upstreams": (1..=count).map(|port| format!("app:{port}")).collect::<Vec<_>>() });
    assert!(faults(ports(64)).is_empty());
    assert_eq!(faults(ports(65)).len(), 1);
    assert_eq!(
        faults(json!({ "upstreams": ["unix:/run/a.sock", "unix:/run/b.sock", "unix:/run/a.sock"] })),
        ["upstreams: \"unix:/run/a.sock\" is the same place as \"unix:/run/a.sock\""]
    );
    assert_eq!(
        faults(json!({ "upstreams": ["APP:80", "b:80", "http://app"] })),
        ["upstreams: \"http://app\" is the same place as \"APP:80\""]
    );
    assert_eq!(faults(json!({ "upstreams": ["h2c://app:443", "https://app"] })).len(), 1, "whatever is spoken there");
}

#[test]
fn what_says_something_of_tls_is_a_fault_where_there_is_none() {
    let keys = json!({
        "upstreams": ["app:80", "h2c://app:81"], "server_name": "portal.internal", "ca": "absent.pem",
        "client_certificate": { "chain": "absent.pem", "key": "absent.key" },
    });
    let found = faults(keys);
    for key in ["ca", "server_name", "client_certificate"] {
        let line = format!("{key}: says something of TLS, but no upstream is https://");
        assert!(found.contains(&line), "{found:?}");
    }
    assert_eq!(keys_at_fault(json!({ "upstreams": ["https://app"], "server_name": "no name" })), ["server_name"]);
    assert!(
        keys_at_fault(json!({ "upstreams": ["https://app", "b:80"], "server_name": "portal.internal" })).is_empty()
    );
}

#[test]
fn times_and_counts_of_nothing_are_faults() {
    for key in ["connect_timeout", "read_timeout", "idle_timeout", "websocket_timeout"] {
        assert_eq!(keys_at_fault(json!({ key: "0s" })), [key]);
        assert!(keys_at_fault(json!({ key: "1ms" })).is_empty());
    }
    let ejection = keys_at_fault(json!({ "ejection": { "failures": 0, "pause": "0s" } }));
    assert_eq!(ejection, ["ejection.pause", "ejection.failures"]);
    let health = json!({ "interval": "0s", "timeout": "0s", "healthy": 0, "unhealthy": 0 });
    assert_eq!(
        keys_at_fault(json!({ "health": health })),
        ["health.interval", "health.timeout", "health.healthy", "health.unhealthy"]
    );
    assert!(keys_at_fault(json!({ "health": { "healthy": 1, "unhealthy": 1 } })).is_empty());
}

#[test]
fn the_health_check_asks_for_a_path_and_names_a_host() {
    for good in ["/", "/health", "/health?deep=1", "/%68ealth"] {
        assert!(keys_at_fault(json!({ "health": { "path": good } })).is_empty(), "{good}");
    }
    for wrong in ["", "health", "http://app/health", "/a b", "/a#b", "/a\r\nx: y"] {
        assert_eq!(keys_at_fault(json!({ "health": { "path": wrong } })), ["health.path"], "{wrong:?}");
    }
    for good in ["app", "app.example.com:8080", "[::1]:80", "my_app", "10.0.0.1", "app.example.com."] {
        assert!(keys_at_fault(json!({ "health": { "host": good } })).is_empty(), "{good}");
        assert!(keys_at_fault(json!({ "request": { "host": good } })).is_empty(), "{good}");
    }
    for wrong in [
        "",
        ":80",
        "a b",
        "a/b",
        "user@app",
        "a\r\nx: y",
        "app:",
        "app:0",
        "app:65536",
        "app:x",
        "::1",
        "*.app",
        "http://app",
        "a,b",
        "bücher.example",
        "a..b",
    ] {
        assert_eq!(keys_at_fault(json!({ "health": { "host": wrong } })), ["health.host"], "{wrong:?}");
        assert_eq!(keys_at_fault(json!({ "request": { "host": wrong } })), ["request.host"], "{wrong:?}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let keys = json!({
        "upstreams": ["https://app", "x"], "ca": "absent.pem", "read_timeout": "0s",
        "client_certificate": { "chain": "absent.pem", "key": "absent.key" },
    });
    let mut found = keys_at_fault(keys);
    found.sort_unstable();
    assert_eq!(found, ["ca", "client_certificate.chain", "client_certificate.key", "read_timeout", "upstreams"]);
}

#[test]
fn a_websocket_ends_with_a_session_where_there_is_one() {
    let at_fault = |session: &str, end: &str| keys_at_fault(json!({ "session": session, "websocket_ends_with": end }));
    for (session, end) in [("required", "session"), ("optional", "session"), ("none", "connection")] {
        assert!(at_fault(session, end).is_empty(), "{session} {end}");
    }
    assert_eq!(at_fault("none", "session"), ["websocket_ends_with"]);
}
