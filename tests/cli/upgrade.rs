//! Another process takes over: its listeners, leases and revocations, and no request is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::client::{Connection, once, request};
use super::http2_client;
use super::process::{Program, Stream, until, valet};
use super::stack::{Folder, Gateway, Idp, Vendor, bearer, echo};

const KEY: &str = "the-key-of-this-test";
const TOKEN: &str = "the-admin-token-of-this-test-0123456789abcdef";
const SEAL: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=";
pub const FILE_STORE: &str =
    "\n[leases]\nstore = \"file\"\npath = \"leases.redb\"\nseal_keys = [{ file = \"seal.key\" }]\n";

/// A gateway that can be taken over.
pub struct Upgradable {
    pub vendor: Vendor,
    pub idp: Idp,
    pub folder: Folder,
    pub gateway: Gateway,
}

/// Everything but the process: what it talks to, and its folder.
pub fn around(more: &str) -> (Vendor, Idp, Folder) {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.write("admin.token", TOKEN);
    folder.write("seal.key", SEAL);
    folder.configure(&vendor.url, &idp.url, KEY, |config| {
        let config = config.replace("drain = \"30s\"", "drain = \"30s\"\nupgrade_socket = \"upgrade.sock\"");
        let admin = "[admin]\naddress = \"127.0.0.1:0\"";
        config.replace(admin, &format!("{admin}\ntoken = {{ file = \"admin.token\" }}")) + more
    });
    (vendor, idp, folder)
}

impl Upgradable {
    pub fn start(more: &str) -> Self {
        let (vendor, idp, folder) = around(more);
        let gateway = Gateway::start(&folder);
        Self { vendor, idp, folder, gateway }
    }

    /// Starts a process that is to take over.
    pub fn successor(&self) -> Program {
        Program::start(valet(self.folder.path(), &["run", "--config", "valet.toml", "--upgrade"]))
    }

    /// The next one takes over, and the one before ends as it should.
    pub fn upgrade(&mut self) {
        let next = Gateway::serving(self.successor());
        assert_eq!((&next.address, &next.admin), (&self.gateway.address, &self.gateway.admin));
        let before = std::mem::replace(&mut self.gateway, next);
        before.program.end().assert_code(0);
    }

    pub fn revoke(&self, subject: &str) {
        revoke(&self.idp, &self.gateway.admin, subject);
    }

    pub fn config(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("valet.toml")).expect("our file")
    }
}

/// Signs somebody out at this administration address.
pub fn revoke(idp: &Idp, admin: &str, subject: &str) {
    let body = json!({ "issuer": idp.url, "subject": subject }).to_string();
    let headers = [&*bearer(TOKEN), "content-type: application/json"];
    let answer = once(admin, "POST", "/api/sessions/revoke", &headers, &body);
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// What one process knows the next one knows, twice over.
fn all_goes_over(more: &str) {
    let mut stack = Upgradable::start(more);
    let (ada, gone) = (stack.idp.token("ada"), stack.idp.token("gone"));
    let url = stack.gateway.open(&ada).location().to_owned();
    assert_eq!(stack.gateway.open(&gone).status, 302);
    stack.revoke("gone");
    for _ in 0..2 {
        stack.upgrade();
        assert_eq!(stack.gateway.open(&ada).location(), url);
        assert_eq!(stack.gateway.open(&gone).problem(), "session-invalid");
        let heard = "valet_revocations_total{outcome=\"applied\",source=\"store\"}";
        assert_eq!(stack.gateway.metric(heard), 0, "nobody has called this process");
    }
    assert_eq!(stack.vendor.mint_calls(), 2, "no lease was lost");
    assert_eq!(stack.gateway.admin("/readyz").status, 200);
}

#[test]
fn listeners_leases_and_revocations_in_memory_go_over() {
    all_goes_over("");
}

#[test]
fn the_file_of_leases_changes_hands_and_is_whole_afterwards() {
    all_goes_over(FILE_STORE);
    // Also what only the file knows: the second process mints, the third one dies with what it holds, a fourth begins with the file.
    let mut stack = Upgradable::start(FILE_STORE);
    stack.upgrade();
    let ada = stack.idp.token("ada");
    let url = stack.gateway.open(&ada).location().to_owned();
    stack.upgrade();
    let Upgradable { vendor, folder, gateway, idp: _idp } = stack;
    gateway.terminate().assert_code(0);
    assert!(!folder.path().join("upgrade.sock").exists(), "it takes its socket away");
    let gateway = Gateway::start(&folder);
    assert_eq!(gateway.open(&ada).location(), url);
    assert_eq!(vendor.mint_calls(), 1);
}

#[test]
fn a_mint_under_way_in_the_old_process_is_answered_and_its_lease_is_known_to_the_new_one() {
    for more in ["", FILE_STORE] {
        let mut stack = Upgradable::start(more);
        let ada = stack.idp.token("ada");
        stack.vendor.faults(json!({ "fail": "hang", "on": "mint" }));
        let mut waiting = Connection::open(&stack.gateway.address);
        assert!(waiting.send(request("GET", "/plugins/face-scan", &[&bearer(&ada)], "")));
        until("the vendor is asked", || (stack.vendor.mint_calls() == 1).then_some(()));
        let next = Gateway::serving(stack.successor());
        let before = std::mem::replace(&mut stack.gateway, next);
        stack.vendor.faults(json!({}));
        let url = waiting.answer().expect("a whole answer").location().to_owned();
        before.program.end().assert_code(0);
        assert_eq!(stack.gateway.open(&ada).location(), url);
        assert_eq!(stack.vendor.mint_calls(), 1);
    }
}

#[test]
fn sigusr2_starts_the_program_on_disk_which_takes_over() {
    let mut stack = Upgradable::start("");
    let ada = stack.idp.token("ada");
    let url = stack.gateway.open(&ada).location().to_owned();
    stack.gateway.program.signal("USR2");
    let process = stack.gateway.program.line(Stream::Stderr, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "another process is started to take over").then(|| line["process"].as_u64()).flatten()
    });
    until("the first one ends", || (!stack.gateway.program.runs()).then_some(()));
    assert_eq!(stack.gateway.open(&ada).location(), url);
    let killed = std::process::Command::new("sh").arg("-c").arg(format!("kill {process}")).status();
    assert!(killed.expect("sh runs").success());
}

/// A WebSocket that is open for some hundred messages, each of which must come back.
fn talk(address: &str) {
    let mut socket = Connection::open(address);
    let fields = ["connection: upgrade", "upgrade: websocket"];
    assert!(socket.send(request("GET", "/echo/", &fields, "")));
    assert_eq!(socket.head(), 101);
    for number in 0..100 {
        let said = format!("{number:08}");
        assert!(socket.send(&said), "the WebSocket was cut");
        assert_eq!(socket.bytes(said.len()).as_deref(), Some(said.as_bytes()), "the WebSocket was cut");
        // Pause: a user who types.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The address of the second listener, which speaks TLS.
fn second_listener(stack: &Upgradable) -> String {
    let said = stack.gateway.program.so_far(Stream::Stderr);
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let serving = lines.filter(|line| line["message"] == "serving").nth(1).expect("a second listener");
    serving["address"].as_str().expect("a text").to_owned()
}

/// A second listener with a certificate for `localhost`, which clients trust.
fn with_tls(certificates: &Path) -> (String, CertificateDer<'static>) {
    let certificate = http2_client::site(certificates);
    let site = certificates.join("site");
    let (address, site) = ("127.0.0.2:0", site.display());
    let lines = format!(
        "\n[[listener]]\naddress = \"{address}\"\ntls = [{{ chain = \"{site}.pem\", key = \"{site}.key\" }}]\n"
    );
    (lines, certificate)
}

#[test]
fn sessions_of_tls_resume_at_the_process_that_takes_over() {
    let certificates = tempfile::tempdir().expect("a folder");
    let (tls, certificate) = with_tls(certificates.path());
    let mut stack = Upgradable::start(&tls);
    let client = http2_client::Resuming::new(&certificate);
    let address = second_listener(&stack);
    assert!(!client.resumes(&address) && client.resumes(&address));
    for _ in 0..2 {
        stack.upgrade();
        assert_eq!(second_listener(&stack), address);
        assert!(client.resumes(&address), "the ticket of the process before");
    }
    assert!(!http2_client::Resuming::new(&certificate).resumes(&address), "a client without a ticket");
}

/// Four clients of HTTP/2, at the second listener.
fn http2_clients(
    stack: &Upgradable,
    certificate: &CertificateDer<'static>,
    token: &str,
    (stop, answered): (&Arc<AtomicBool>, &Arc<AtomicU64>),
) -> Vec<JoinHandle<()>> {
    let secure = second_listener(stack);
    (0..4)
        .map(|_| {
            let (address, certificate, token) = (secure.clone(), certificate.clone(), token.to_owned());
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || http2_client::ask(&address, &certificate, &token, &stop, &answered))
        })
        .collect()
}

/// Clients that keep their connections, clients that open one for each request, and WebSockets.
fn no_request_is_lost(upgrades: u32, reloads: u32) -> (u64, f64) {
    let app =
        format!("\n[[app]]\nname = \"echo\"\npath = \"/echo/\"\nupstreams = [\"{}\"]\nsession = \"none\"\n", echo());
    let certificates = tempfile::tempdir().expect("a folder");
    let (tls, certificate) = with_tls(certificates.path());
    let mut stack = Upgradable::start(&format!("{app}{tls}"));
    let ada = stack.idp.token("ada");
    let open = request("GET", "/plugins/face-scan", &[&bearer(&ada)], "");
    let url = stack.gateway.open(&ada).location().to_owned();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = std::time::Instant::now();
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (address, open, url) = (stack.gateway.address.clone(), open.clone(), url.clone());
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = Connection::open(&address);
                    loop {
                        let answer = connection.ask(&open);
                        assert_eq!((answer.status, answer.location()), (302, &*url), "{answer:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                        let over = answer.header("connection") == Some("close") || number % 4 == 0;
                        if over || stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    let over_http2 = http2_clients(&stack, &certificate, &ada, (&stop, &answered));
    let sockets: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop) = (stack.gateway.address.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    talk(&address);
                }
            })
        })
        .collect();
    for round in 0..upgrades.max(reloads) {
        if round < reloads {
            let path = if round % 2 == 0 { "\"60s\"" } else { "\"75s\"" };
            let config =
                stack.config().replacen("idle_timeout = \"60s\"\n", "", 1).replacen("idle_timeout = \"75s\"\n", "", 1);
            stack.folder.replace(
                "valet.toml",
                &config.replacen("[server]\n", &format!("[server]\nidle_timeout = {path}\n"), 1),
            );
            let answer = once(&stack.gateway.admin, "POST", "/api/reload", &[&bearer(TOKEN)], "");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        if round < upgrades {
            stack.upgrade();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let failed = clients.into_iter().chain(sockets).chain(over_http2).filter_map(|client| client.join().err()).count();
    assert_eq!(failed, 0, "clients saw a refused, reset, cut or wrong answer");
    assert_eq!(stack.vendor.mint_calls(), 1);
    let answered = answered.load(Ordering::Relaxed);
    (answered, answered as f64 / began.elapsed().as_secs_f64())
}

#[test]
fn no_request_is_lost_over_upgrades_and_reloads() {
    no_request_is_lost(2, 3);
}

#[test]
#[ignore = "long: make prove"]
fn no_request_is_lost_over_five_upgrades_and_ten_reloads() {
    let (answered, rate) = no_request_is_lost(5, 10);
    eprintln!("5 upgrades and 10 reloads: {answered} requests, {rate:.0} a second, 0 failed");
}
