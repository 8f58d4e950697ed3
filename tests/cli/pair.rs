//! An edge and its minters, each a process of its own, with an authority that knows both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use valet_gateway::certificate::CertificateFiles;
use valet_gateway::http_client::{Client, ClientFault, Identity, Route};

use super::client::once;
use super::process::{Program, Stream, until, valet};
use super::stack::{Folder, Gateway, Idp, Vendor, issuer};

/// The name in the edge's certificate.
pub const EDGE: &str = "edge-1.internal";

/// Signs for the folder that it writes to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Writes `NAME.pem`, its own certificate.
    pub fn new(folder: &Folder, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        folder.write(&format!("{name}.pem"), &issuer.pem());
        Self { issuer }
    }

    /// Writes `FILE.pem` and `FILE.key` for this name.
    pub fn sign(&self, folder: &Folder, file: &str, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        folder.write(&format!("{file}.pem"), &certificate.pem());
        folder.write(&format!("{file}.key"), &key.serialize_pem());
    }
}

/// `valet run` with `[minter]`.
pub struct Minter {
    pub program: Program,
    pub address: String,
    pub admin: String,
}

impl Minter {
    /// Starts it on this file of the folder, and waits until it is ready.
    pub fn start(folder: &Path, file: &str) -> Self {
        Self::serving(Program::start(valet(folder, &["run", "--config", file])))
    }

    /// Takes its addresses from the lines on stderr, and waits until it is ready.
    pub fn serving(program: Program) -> Self {
        let says = |message: &'static str| {
            program.line(Stream::Stderr, |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then(|| line["address"].as_str().expect("an address").to_owned())
            })
        };
        let (address, admin) = (says("minting for edges"), says("administration address serving"));
        let minter = Self { program, address, admin };
        until("the minter is ready", || (once(&minter.admin, "GET", "/readyz", &[], "").status == 200).then_some(()));
        minter
    }

    /// Its port.
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("a port")
    }

    pub fn ready(&self) -> Value {
        once(&self.admin, "GET", "/readyz", &[], "").json()
    }

    /// The audit log's lines so far.
    pub fn audit_log(&self) -> Vec<Value> {
        let text = self.program.so_far(Stream::Stdout);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Vendor, identity provider, one minter or several, one edge.
pub struct Pair {
    pub vendor: Vendor,
    pub idp: Idp,
    pub folder: Folder,
    pub authority: Authority,
    pub minters: Vec<Minter>,
    pub edge: Gateway,
}

impl Pair {
    /// With this key at one minter.
    pub fn start(api_key: &str) -> Self {
        Self::with(api_key, 1, |minter| minter, |edge| edge)
    }

    /// With so many minters, and single lines of the files changed.
    pub fn with(
        api_key: &str,
        minters: usize,
        of_minter: impl FnOnce(String) -> String,
        of_edge: impl FnOnce(String) -> String,
    ) -> Self {
        Self::with_files(api_key, &[], minters, of_minter, of_edge)
    }

    /// The same with more files beside them.
    pub fn with_files(
        api_key: &str,
        files: &[(&str, &str)],
        minters: usize,
        of_minter: impl FnOnce(String) -> String,
        of_edge: impl FnOnce(String) -> String,
    ) -> Self {
        let (vendor, idp, folder) = (Vendor::start(api_key), Idp::start(), Folder::new());
        let authority = Authority::new(&folder, "ca");
        authority.sign(&folder, "minter", "localhost");
        authority.sign(&folder, "edge", EDGE);
        folder.write("vendor.key", &format!("{api_key}\n"));
        for (name, text) in files {
            folder.write(name, text);
        }
        folder.write("minter.toml", &of_minter(minter_file(&vendor.url, &idp.url)));
        let minters: Vec<Minter> = (0..minters).map(|_| Minter::start(folder.path(), "minter.toml")).collect();
        let urls: Vec<String> =
            minters.iter().map(|minter| format!("\"https://localhost:{}\"", minter.port())).collect();
        folder.write("valet.toml", &of_edge(edge_file(&idp.url, &urls.join(", "))));
        let edge = Gateway::start(&folder);
        Self { vendor, idp, folder, authority, minters, edge }
    }

    /// One more edge on the same file.
    pub fn another_edge(&self) -> Gateway {
        Gateway::start(&self.folder)
    }

    /// Somebody with this certificate (`FILE.pem`) who asks the first minter by hand.
    pub fn stranger(&self, file: &str) -> Stranger {
        Stranger::new(&self.folder, file, "ca.pem", &self.minters[0])
    }
}

fn minter_file(vendor: &str, idp: &str) -> String {
    let issuer = issuer(idp);
    format!(
        r#"[minter]
address = "127.0.0.1:0"
tls = {{ chain = "minter.pem", key = "minter.key", client_ca = "ca.pem" }}
per_edge = {{ rate = 100000, burst = 100000 }}
per_provider = {{ rate = 100000, burst = 100000 }}

[[minter.edge]]
name = "{EDGE}"
plugins = ["face-scan"]

[admin]
address = "127.0.0.1:0"

{issuer}
[[provider]]
name = "simulated"
preset = "intelliprove-v2"
base_url = "{vendor}"
api_key = {{ file = "vendor.key" }}
redirect_hosts = ["127.0.0.1"]
"#
    )
}

fn edge_file(idp: &str, urls: &str) -> String {
    let issuer = issuer(idp);
    format!(
        r#"[server]
threads = 2
public_url = "http://127.0.0.1:8080"

[[listener]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

{issuer}
[[provider]]
name = "simulated"
minter = {{ url = [{urls}], ca = "ca.pem", certificate = "edge.pem", key = "edge.key" }}
redirect_hosts = ["127.0.0.1"]
breaker = {{ failures = 10000, within = "10s", pause = "1s" }}

[[plugin]]
name = "face-scan"
provider = "simulated"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
"#
    )
}

/// Who speaks the wire by hand.
pub struct Stranger {
    client: Client,
    runtime: tokio::runtime::Runtime,
    origin: String,
}

impl Stranger {
    /// With `FILE.pem`, believing `ca`.
    pub fn new(folder: &Folder, file: &str, ca: &str, minter: &Minter) -> Self {
        let files = CertificateFiles { chain: format!("{file}.pem").into(), key: format!("{file}.key").into() };
        let identity = Identity::open(files, folder.path()).expect("a certificate");
        let route = Route::to_our_own(Path::new(ca), Arc::new(identity), folder.path()).expect("an authority");
        Self::going(route, minter)
    }

    /// Without a certificate.
    pub fn nobody(folder: &Folder, minter: &Minter) -> Self {
        Self::going(Route::open(Some(Path::new("ca.pem")), None, folder.path()).expect("an authority"), minter)
    }

    fn going(route: Route, minter: &Minter) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let origin = format!("https://localhost:{}", minter.port());
        Self { client: Client::through(route).expect("a client"), runtime: runtime.expect("a runtime"), origin }
    }

    /// Status and JSON of an answer; `None` if there is no connection.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.origin));
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body.to_owned()))).expect("a request");
        let answer = self.runtime.block_on(self.client.send(request, 1 << 20, Duration::from_secs(20)));
        match answer {
            Ok(answer) => Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))),
            Err(ClientFault::NoConnection(_) | ClientFault::Unreachable(_)) => None,
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// `POST /v1/mint`, and leaves without an answer as soon as `begun` returns.
    pub fn break_off(&self, body: &str, begun: impl FnOnce() + Send) {
        let request = http::Request::post(format!("{}/v1/mint", self.origin));
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body.to_owned()))).expect("a request");
        let (leave, left) = tokio::sync::oneshot::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                begun();
                let _ = leave.send(());
            });
            self.runtime.block_on(async {
                tokio::select! {
                    answer = self.client.send(request, 1 << 20, Duration::from_secs(60)) => panic!("it ended: {:?}", answer.map(|answer| answer.status)),
                    _ = left => {}
                }
            });
        });
    }

    /// `POST /v1/mint`.
    pub fn mint(&self, ask: &Value) -> Option<(u16, Value)> {
        self.ask("POST", "/v1/mint", &ask.to_string())
    }
}
