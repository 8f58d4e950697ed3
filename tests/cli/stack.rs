//! Vendor, identity provider and gateway, each a process of its own, as an operator would start them.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::{Answer, once};
use super::process::{Ended, Program, Stream, valet};

/// `http://ADDRESS` without its scheme.
fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap_or(url)
}

/// A subject to look for where no name may stand: long, and with letters that no hash, number or token has. A short one such as `ada` comes
/// by chance in what is random: `47fadace`.
pub const CANARY_PERSON: &str = "canary-person-7q4x!w2k9z@example.com";

/// The simulated vendor.
pub struct Vendor {
    pub program: Program,
    pub url: String,
}

impl Vendor {
    /// With this key.
    pub fn start(api_key: &str) -> Self {
        let words = ["simulate", "provider", "--listen", "127.0.0.1:0", "--api-key", api_key];
        let program = Program::start(valet(Path::new("."), &words));
        let url = listening(&program);
        Self { program, url }
    }

    /// `PUT /_sim/faults`.
    pub fn faults(&self, faults: Value) {
        let answer = once(address(&self.url), "PUT", "/_sim/faults", &[], &faults.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// `PUT /_sim/keys`.
    pub fn accept_only(&self, key: &str) {
        let headers = ["content-type: application/json"];
        let answer = once(address(&self.url), "PUT", "/_sim/keys", &headers, &json!({ "keys": [key] }).to_string());
        assert!(answer.status < 300, "{answer:?}");
    }

    /// How many mints were asked of it.
    pub fn mint_calls(&self) -> u64 {
        once(address(&self.url), "GET", "/_sim/calls", &[], "").json()["mint_calls"].as_u64().expect("a number")
    }
}

/// The simulated identity provider.
pub struct Idp {
    pub program: Program,
    pub url: String,
}

impl Idp {
    /// With Ada as its one user; every subject can be had by [`Self::token`].
    pub fn start() -> Self {
        let words = ["simulate", "idp", "--listen", "127.0.0.1:0", "--user", "ada"];
        let program = Program::start(valet(Path::new("."), &words));
        let url = listening(&program);
        Self { program, url }
    }

    /// A token for this subject.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, json!({}))
    }

    /// A token with more fields of `/token`.
    pub fn token_with(&self, subject: &str, mut fields: Value) -> String {
        fields["user"] = "ada".into();
        fields["sub"] = subject.into();
        let answer = self.post("/token", &fields.to_string());
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer:?}")).to_owned()
    }

    /// `PUT /_sim/faults`.
    pub fn faults(&self, faults: Value) {
        let answer = once(address(&self.url), "PUT", "/_sim/faults", &[], &faults.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A `POST` with JSON.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        once(address(&self.url), "POST", path, &["content-type: application/json"], body)
    }
}

/// The address that a simulator prints.
pub fn listening(program: &Program) -> String {
    program.line(Stream::Stdout, |line| line.strip_prefix("Listening").map(|url| url.trim().to_owned()))
}

/// A folder with a configuration and its secrets.
pub struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    /// An empty one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file that its owner alone can read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our file");
        path
    }

    /// Replaces a file by another with one rename, as careful tools do.
    pub fn replace(&self, name: &str, text: &str) {
        let new = self.write(&format!("{name}.new"), text);
        std::fs::rename(new, self.path().join(name)).expect("our file");
    }

    /// Writes what an operator would write for these two, with the key in `vendor.key`. A test changes single lines of it.
    pub fn configure(&self, vendor: &str, idp: &str, api_key: &str, change: impl FnOnce(String) -> String) {
        self.write("vendor.key", &format!("{api_key}\n"));
        self.write("valet.toml", &change(configuration(vendor, idp)));
    }
}

/// An issuer whose keys are found by discovery.
pub fn issuer(url: &str) -> String {
    format!(
        r#"[[session.issuer]]
issuer = "{url}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ discovery = true }}
"#
    )
}

/// A vendor at `engine.example.com`, with its key in this file, and a plug-in of it.
pub fn vendor_and_plugin(key: &str) -> String {
    format!(
        r#"[[provider]]
name = "vendor"
preset = "intelliprove-v2"
base_url = "https://engine.example.com"
api_key = {{ file = "{key}" }}
redirect_hosts = ["plugin.example.com"]
[[plugin]]
name = "face-scan"
provider = "vendor"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
"#
    )
}

fn configuration(vendor: &str, idp: &str) -> String {
    let issuer = issuer(idp);
    format!(
        r#"[server]
threads = 2
public_url = "http://127.0.0.1:8080"
drain = "30s"

[[listener]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[log]
level = "info"
access = true

[session]
sources = ["header:authorization", "cookie:session"]

{issuer}
[[provider]]
name = "simulated"
preset = "intelliprove-v2"
base_url = "{vendor}"
api_key = {{ file = "vendor.key" }}
redirect_hosts = ["127.0.0.1"]
timeout = "20s"
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

/// `valet run`, serving.
pub struct Gateway {
    pub program: Program,
    pub address: String,
    pub admin: String,
}

impl Gateway {
    /// Starts it on `valet.toml` of the folder, and waits until it is ready.
    pub fn start(folder: &Folder) -> Self {
        let gateway = Self::serving(Program::start(valet(folder.path(), &["run", "--config", "valet.toml"])));
        gateway.until_ready();
        gateway
    }

    /// Takes its addresses from the lines on stderr.
    pub fn serving(program: Program) -> Self {
        let says = |message: &'static str| {
            program.line(Stream::Stderr, |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then(|| line["address"].as_str().expect("an address").to_owned())
            })
        };
        let (address, admin) = (says("serving"), says("administration address serving"));
        Self { program, address, admin }
    }

    pub fn until_ready(&self) {
        super::process::until("it is ready", || (self.admin("/readyz").status == 200).then_some(()));
    }

    /// Asks the administration address.
    pub fn admin(&self, path: &str) -> Answer {
        once(&self.admin, "GET", path, &[], "")
    }

    /// The value of one sample of `/metrics`, 0 if it is not there.
    pub fn metric(&self, sample: &str) -> u64 {
        let text = self.admin("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }

    /// Opens the plug-in with this token, on a connection of its own.
    pub fn open(&self, token: &str) -> Answer {
        once(&self.address, "GET", "/plugins/face-scan", &[&bearer(token)], "")
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(self) -> Ended {
        self.program.terminate()
    }
}

/// The header line with this token.
pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// All three.
pub struct Stack {
    pub vendor: Vendor,
    pub idp: Idp,
    pub folder: Folder,
    pub gateway: Gateway,
}

/// The key that both sides know unless a test says otherwise.
pub const KEY: &str = "the-key-of-this-test";

impl Stack {
    pub fn start() -> Self {
        Self::with(KEY, |config| config)
    }

    /// With this key, and single lines of the configuration changed.
    pub fn with(api_key: &str, change: impl FnOnce(String) -> String) -> Self {
        let (vendor, idp, folder) = (Vendor::start(api_key), Idp::start(), Folder::new());
        folder.configure(&vendor.url, &idp.url, api_key, change);
        let gateway = Gateway::start(&folder);
        Self { vendor, idp, folder, gateway }
    }
}

/// An app that agrees to a WebSocket, and says again what it hears. Its address.
pub fn echo() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                // The other side closes when it has heard enough.
                let _ = stream.write_all(agreed.as_bytes());
                let _ = stream.try_clone().and_then(|mut back| std::io::copy(&mut stream, &mut back));
            });
        }
    });
    address
}
