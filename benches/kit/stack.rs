//! The gateway as `valet run` starts it, with a vendor and an identity provider in the same process, which have nothing to do while the
//! measurement runs.

use std::io::{BufRead, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use valet_gateway::clock::Clock;
use valet_gateway::config::Config;
use valet_gateway::demo::idp::{self, IdpFaults, IdpOptions, IdpSim, TokenRequest};
use valet_gateway::demo::provider::{self, ProviderOptions, ProviderSim};
use valet_gateway::logging::LineSink;
use valet_gateway::server::{self, Limits, Options};
use valet_gateway::telemetry::Metrics;

use super::setting;

const ADMIN_TOKEN: &str = "an-administrator-of-the-benches-0123456789";

/// Serves on a free port, with an app at `/app` if `APP` names its address, until its standard input ends: `USERS` tokens to be used again, `FRESH` tokens to be seen once. `SERVER` has more lines
/// of `[server]`, `MORE` further tables, `FILES` the directory that their paths start from. A line `hang` on the
/// input makes the identity provider hang; `fetches` asks how often it was asked for keys; `revoke` ends a session that nobody has.
pub fn serve() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let loopback = || "127.0.0.1:0".parse().unwrap();
    let (_vendor, idp, gateway) = runtime.block_on(async {
        let vendor = provider::spawn(loopback(), ProviderSim::new(ProviderOptions::default())).await.unwrap();
        let options = IdpOptions { life: std::time::Duration::from_secs(4 * 3600), ..IdpOptions::default() };
        let idp = idp::spawn(loopback(), IdpSim::with(options).unwrap()).await.unwrap();
        let (temporary, files) = (tempfile::tempdir().unwrap(), std::env::var("FILES"));
        let directory = files.as_deref().map_or(temporary.path(), Path::new);
        std::fs::write(directory.join("key"), &vendor.sim.keys()[0]).unwrap();
        std::fs::write(directory.join("admin.token"), ADMIN_TOKEN).unwrap();
        let mut text = configuration(&idp.url(), &vendor.url());
        // A store behind the memory: lines of `[leases]`, with `seal.key` beside them.
        if let Ok(leases) = std::env::var("LEASES") {
            std::fs::write(directory.join("seal.key"), STANDARD.encode([7; 32])).unwrap();
            text += &format!("[leases]\n{leases}\n");
        }
        if let Ok(app) = std::env::var("APP") {
            text += &format!("[[app]]\nname = \"portal\"\npath = \"/app\"\nupstreams = [\"{app}\"]\n");
        }
        text += &std::env::var("MORE").unwrap_or_default();
        // So many policies; 0: none are asked.
        if setting("POLICIES", 0) > 0 {
            let folder = directory.join("policies");
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("a.cedar"), policies(setting("POLICIES", 0))).unwrap();
            std::fs::write(folder.join("claims.toml"), "groups = \"groups\"\n").unwrap();
            text += "[policies]\ndirectory = \"policies\"\n";
        }
        let config = Config::parse(&text, "bench.toml", directory).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let metrics = Metrics::new("bench", "bench").unwrap();
        let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
        let sink = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let options = Options {
            clock: Clock::system(),
            access_log: Some(LineSink::new(sink, lost).unwrap()),
            limits: Limits::default(),
            metrics,
        };
        (vendor, idp, server::start(config, options).unwrap_or_else(|fault| panic!("{fault}")))
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "address {}", gateway.addresses[0]).unwrap();
    writeln!(out, "admin {}", gateway.admin.as_deref().unwrap()).unwrap();
    for (number, address) in gateway.addresses.iter().enumerate() {
        writeln!(out, "listener-{number} {address}").unwrap();
    }
    writeln!(out, "key {}", STANDARD.encode(public_key(&idp.sim.jwks()))).unwrap();
    let users = setting("USERS", 1000);
    for user in 0..users {
        let request = TokenRequest::user(&format!("user-{user}")).session("s");
        writeln!(out, "token {}", idp.sim.token(&with_traits(request, user))).unwrap();
    }
    for fresh in 0..setting("FRESH", 40_000) {
        let request = TokenRequest::user(&format!("user-{}", fresh % users)).session(&format!("s{fresh}"));
        writeln!(out, "fresh {}", idp.sim.token(&with_traits(request, fresh))).unwrap();
    }
    writeln!(out, "ready").unwrap();
    out.flush().unwrap();
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "hang" => {
                let delay = Some(std::time::Duration::from_secs(3600));
                idp.sim.set_faults(IdpFaults { delay, ..IdpFaults::default() });
                writeln!(out, "hangs").unwrap();
            }
            "fetches" => writeln!(out, "{}", idp.sim.fetches() + idp.sim.discoveries()).unwrap(),
            "revoke" => writeln!(out, "{}", revoke(gateway.admin.as_deref().unwrap(), &idp.url())).unwrap(),
            other => writeln!(out, "what is {other}?").unwrap(),
        }
        out.flush().unwrap();
    }
}

/// The answer's status line.
fn revoke(admin: &str, issuer: &str) -> String {
    let body = format!(r#"{{"issuer": "{issuer}", "subject": "nobody"}}"#);
    let mut wire = std::net::TcpStream::connect(admin).unwrap();
    write!(
        wire,
        "POST /api/sessions/revoke HTTP/1.1\r\nhost: admin\r\nconnection: close\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    std::io::BufReader::new(wire).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}

/// What policies look at, where they are measured: also in the row without any, so that all rows have tokens of one length.
/// They say ten different things of their scopes.
fn with_traits(request: TokenRequest, nth: usize) -> TokenRequest {
    if std::env::var_os("POLICIES").is_none() {
        return request;
    }
    request
        .claim("groups", ["staff".to_owned(), "clinicians".to_owned(), format!("ward-{nth}")].to_vec())
        .claim("scope", format!("openid profile scans-{}", nth % 10))
        .claim("acr", "mfa")
        .claim("amr", vec!["pwd", "otp"])
}

/// So many policies, none of which reads the context. All of them have a say about the plug-in, and the first permits.
fn policies(count: usize) -> String {
    let scope = "action in Valet::Action::\"use\", resource == Valet::Plugin::\"face-scan\"";
    let one = |n: usize| match n % 4 {
        _ if n == 0 => format!("permit(principal in Valet::Group::\"clinicians\", {scope});\n"),
        0 => format!("permit(principal in Valet::Group::\"team-{n}\", {scope});\n"),
        1 => format!("forbid(principal in Valet::Group::\"blocked-{n}\", action, resource);\n"),
        2 => format!("permit(principal, {scope}) when {{ principal.scopes.contains(\"scope-{n}\") }};\n"),
        _ => format!("forbid(principal, {scope}) when {{ principal has acr && principal.acr == \"level-{n}\" }};\n"),
    };
    (0..count).map(one).collect()
}

fn configuration(idp: &str, vendor: &str) -> String {
    let server = std::env::var("SERVER").unwrap_or_default();
    format!(
        r#"
[server]
public_url = "https://app.example.com"
{server}
[admin]
address = "127.0.0.1:0"
token = {{ file = "admin.token" }}
[[listener]]
address = "127.0.0.1:0"
[[session.issuer]]
issuer = "{idp}"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = {{ discovery = true, cooldown = "1s" }}
[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "{vendor}"
api_key = {{ file = "key" }}
redirect_hosts = ["127.0.0.1"]
[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
"#
    )
}

/// SubjectPublicKeyInfo (RFC 5480, section 2) of the first key of a set, which is one of P-256.
fn public_key(set: &serde_json::Value) -> Vec<u8> {
    const P256: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
    [&P256[..], &coordinate("x"), &coordinate("y")].concat()
}
