//! The ways of a request that are counted, and the gateways that they need.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rustls::pki_types::CertificateDer;

use crate::kit::callgrind::{Counts, Profiled};
use crate::kit::http2::Connection;
use crate::kit::load::load;
use crate::kit::process::{Server, role};

/// Persons, each with a token that is used again.
const USERS: usize = 50;

/// How often each of them asks while it is counted.
const TIMES: usize = 20;

/// The same where a hundredth of the requests are traced: what they cost varies with how many those are.
const TIMES_TRACED: usize = 200;

/// Tokens that are seen for the first time while it is counted.
const FRESH: usize = 100;

const PLUGIN: &str = "/plugins/face-scan";

const LIMITS: &str = "warm redirect, limits and a revocation";
const POLICIES: &str = "warm redirect, 100 policies without context";
const TRACED: &str = "warm redirect, collector at 1 %";
const ALL: &str = "warm redirect, all of these";

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// One way, and what a request costs on it.
pub struct Row {
    pub name: &'static str,
    pub counts: Counts,
}

/// All rows, or those whose names contain `ROWS`.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    plain(&mut rows);
    asked(&mut rows);
    for (name, more) in [
        (LIMITS, limits as fn(&Path) -> String),
        (POLICIES, policies),
        (TRACED, telemetry),
        (ALL, |files| limits(files) + &policies(files) + &telemetry(files)),
    ] {
        configured(&mut rows, name, more);
    }
    rows
}

fn is_wanted(name: &str) -> bool {
    std::env::var("ROWS").map_or(true, |rows| name.contains(&rows))
}

/// A gateway under callgrind, and what its listeners speak.
struct Gateway {
    profiled: Profiled,
    _app: Server,
    _collector: Server,
    _files: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    /// With an app, a TLS listener, and what `more` writes.
    fn start(server: &str, more: impl FnOnce(&Path) -> String) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = tempfile::tempdir().unwrap();
        let site = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(files.path().join("site.pem"), site.cert.pem()).unwrap();
        std::fs::write(files.path().join("site.pem.key"), site.signing_key.serialize_pem()).unwrap();
        let app = Server::start_on("1", "the app", &role("app"));
        let collector = Server::start_on("1", "the collector", &role("collector"));
        // Rows that need it find it in their own table.
        std::fs::write(files.path().join("collector"), collector.address.to_string()).unwrap();
        let tls = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ chain = \"site.pem\", key = \"site.pem.key\" }]\n";
        let mut command = role("valet");
        command.env("FILES", files.path()).env("APP", app.address.to_string());
        command.env("USERS", USERS.to_string()).env("FRESH", FRESH.to_string());
        command.env("SERVER", server).env("MORE", format!("{tls}{}", more(files.path())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let certificate = site.cert.der().clone();
        let profiled = Profiled::start("valet", &command);
        Self { profiled, _app: app, _collector: collector, _files: files, certificate, runtime }
    }

    /// Counts requests over one connection of HTTP/1.1, of which `request` makes one for each token.
    fn http1(&mut self, rows: &mut Vec<Row>, name: &'static str, request: impl Fn(&str) -> String) {
        self.http1_times(rows, name, TIMES, request);
    }

    fn http1_times(&mut self, rows: &mut Vec<Row>, name: &'static str, times: usize, request: impl Fn(&str) -> String) {
        if !is_wanted(name) {
            return;
        }
        let made = |token: &String| request(token).into_bytes();
        let once: Vec<_> = self.profiled.server.tokens.iter().map(made).collect();
        let requests: Vec<_> = std::iter::repeat_n(once, times).flatten().collect();
        let far = Instant::now() + Duration::from_secs(3600);
        let (runtime, address) = (&self.runtime, self.profiled.server.address);
        runtime.block_on(load(address, &requests, 1, far, true));
        let counts = self.profiled.count(requests.len(), |_| {
            runtime.block_on(load(address, &requests, 1, far, true));
        });
        rows.push(Row { name, counts });
    }

    /// Counts requests over one connection of HTTP/2, to the listener of this number.
    fn http2(
        &mut self,
        rows: &mut Vec<Row>,
        (name, listener, body): (&'static str, usize, fn(&str) -> Bytes),
        request: impl Fn(&str, &str) -> Request<()>,
    ) {
        if !is_wanted(name) {
            return;
        }
        let address = self.profiled.server.word(&format!("listener-{listener}")).to_owned();
        let tokens = &self.profiled.server.tokens;
        let once: Vec<_> = tokens.iter().map(|token| request(&address, token)).collect();
        let requests: Vec<_> = std::iter::repeat_n(once, TIMES).flatten().collect();
        let body = body(&tokens[0]);
        let (runtime, certificate) = (&self.runtime, self.certificate.clone());
        let mut connection = runtime.block_on(async {
            if listener == 1 {
                Connection::open_tls(&address, certificate).await
            } else {
                Connection::open(&address).await
            }
        });
        let good = |status| matches!(status, 200 | 302);
        runtime.block_on(connection.make(&requests, &body, good));
        let counts = self.profiled.count(requests.len(), |_| {
            runtime.block_on(connection.make(&requests, &body, good));
        });
        rows.push(Row { name, counts });
    }
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn get2(address: &str, path: &str, token: &str) -> Request<()> {
    let request = Request::get(format!("https://{address}{path}")).header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap()
}

/// Nothing that is optional.
fn plain(rows: &mut Vec<Row>) {
    let mut gateway = Gateway::start("", |_| String::new());
    gateway.http1(rows, "warm redirect", |token| get(PLUGIN, token));
    let fresh = "first sight, ES256";
    if is_wanted(fresh) {
        let requests = crate::kit::load::requests(&gateway.profiled.server.fresh);
        let far = Instant::now() + Duration::from_secs(3600);
        let (runtime, address) = (&gateway.runtime, gateway.profiled.server.address);
        // The person's lease is there, the token is not.
        runtime.block_on(load(address, &requests[..FRESH / 2], 1, far, true));
        let counts = gateway.profiled.count(FRESH / 2, |_| {
            runtime.block_on(load(address, &requests[FRESH / 2..], 1, far, true));
        });
        rows.push(Row { name: fresh, counts });
    }
    gateway.http1(rows, "app, GET of 1 KiB", |token| get("/app/orders", token));
    let body = "x".repeat(1024);
    gateway.http1(rows, "app, POST of 1 KiB", |token| {
        let head = format!("POST /app/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n");
        format!("{head}Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n{body}")
    });
    let none = |_: &str| Bytes::new();
    gateway.http2(rows, ("warm redirect, TLS and HTTP/2", 1, none), |address, token| get2(address, PLUGIN, token));
    gateway.http2(rows, ("app, GET of 1 KiB, TLS and HTTP/2", 1, none), |address, token| {
        get2(address, "/app/orders", token)
    });
}

/// Beside another proxy.
fn asked(rows: &mut Vec<Row>) {
    let more = |_: &Path| {
        let app = "[[app]]\nname = \"wiki\"\nhost = \"wiki.example.com\"\nauthorize = true\n";
        format!("[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"ext_authz\"\n{app}")
    };
    let mut gateway = Gateway::start("trusted_proxies = [\"127.0.0.1\"]", more);
    gateway.http1(rows, "authorize", |token| {
        format!(
            "GET /.valet/authorize HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nX-Forwarded-Method: GET\r\n\
             X-Forwarded-Uri: /page?x=1\r\nX-Forwarded-Host: wiki.example.com\r\n\r\n"
        )
    });
    gateway.http2(rows, ("ext_authz", 2, check), |address, _| {
        let request = Request::post(format!("http://{address}{CHECK}")).header("content-type", "application/grpc");
        request.header("te", "trailers").body(()).unwrap()
    });
}

/// A field of a protobuf message.
fn field(tag: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let (mut out, mut length) = (vec![tag << 3 | 2], value.len());
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(value);
    out
}

/// A `CheckRequest` as Envoy sends it, with the five bytes of gRPC before it.
fn check(token: &str) -> Bytes {
    let authorization = format!("Bearer {token}");
    let fields =
        [("authorization", &*authorization), ("accept", "*/*"), ("user-agent", "bench"), ("x-forwarded-proto", "http")];
    let mut http = field(2, "GET");
    for (name, value) in fields {
        http.extend(field(3, [field(1, name), field(2, value)].concat()));
    }
    http.extend([field(4, "/page?x=1"), field(5, "wiki.example.com")].concat());
    let source = field(1, field(1, field(1, field(2, "203.0.113.7"))));
    let message = field(1, [source, field(4, field(2, http))].concat());
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat().into()
}

/// A warm redirect with more configured.
fn configured(rows: &mut Vec<Row>, name: &'static str, more: fn(&Path) -> String) {
    if !is_wanted(name) {
        return;
    }
    let mut gateway = Gateway::start("", more);
    if name == LIMITS || name == ALL {
        assert!(gateway.profiled.server.tell("revoke").contains(" 204 "), "the revocation");
    }
    let times = if name == POLICIES || name == LIMITS { TIMES } else { TIMES_TRACED };
    gateway.http1_times(rows, name, times, |token| get(PLUGIN, token));
}

fn limits(_: &Path) -> String {
    "[session.logout]\n[limits]\nper_subject = { rate = 1000000, burst = 1000000 }\n\
     per_address = { rate = 1000000, burst = 1000000 }\ninvalid_per_address = { count = 50, within = \"1m\" }\n"
        .to_owned()
}

fn policies(files: &Path) -> String {
    let directory = files.join("policies");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("claims.toml"), "groups = \"groups\"\n").unwrap();
    let mut set = "@id(\"everybody\")\npermit(principal, action, resource);\n".to_owned();
    for number in 1..100 {
        set += &format!(
            "@id(\"p{number}\")\nforbid(principal in Valet::Group::\"g{number}\", action, resource == Valet::Plugin::\"face-scan\");\n"
        );
    }
    std::fs::write(directory.join("set.cedar"), set).unwrap();
    "[policies]\ndirectory = \"policies\"\n".to_owned()
}

fn telemetry(files: &Path) -> String {
    let collector = std::fs::read_to_string(files.join("collector")).unwrap();
    format!("[telemetry]\notlp = \"http://{collector}\"\nsample = 0.01\n")
}
