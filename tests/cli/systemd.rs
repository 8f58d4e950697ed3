//! As a service of systemd: what it is told, the watchdog, and a socket that it hands over.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use super::client::once;
use super::pair::{Minter, Pair};
use super::process::{HANG, Program, VALET, valet};
use super::stack::{Folder, Gateway, Idp, KEY, Vendor};

/// Where systemd listens.
struct Systemd(UnixDatagram);

impl Systemd {
    fn at(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(HANG)).expect("a time-out");
        Self(socket)
    }

    /// The next message.
    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next message but those of the watchdog.
    fn hears_of_state(&self) -> String {
        loop {
            let message = self.hears();
            if !message.contains("WATCHDOG") {
                return message;
            }
        }
    }
}

fn folder() -> (Vendor, Idp, Folder) {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.configure(&vendor.url, &idp.url, KEY, |config| config);
    (vendor, idp, folder)
}

#[test]
fn systemd_is_told_of_readiness_reloads_and_the_stop_and_its_watchdog_is_fed() {
    let (_vendor, _idp, folder) = folder();
    let systemd = Systemd::at(&folder);
    let mut command = valet(folder.path(), &["run", "--config", "valet.toml"]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let gateway = Gateway::serving(Program::start(command));
    assert_eq!(systemd.hears_of_state().trim(), "READY=1");
    assert_eq!(systemd.hears().trim(), "WATCHDOG=1");
    let good = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    for text in [format!("{good}# the same\n"), format!("{good}[limits]\nper_subject = 1\n")] {
        folder.replace("valet.toml", &text);
        gateway.program.signal("HUP");
        let reloading = systemd.hears_of_state();
        assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
        // Also where the new one is refused: the old one serves.
        assert_eq!(systemd.hears_of_state().trim(), "READY=1");
    }
    gateway.program.signal("TERM");
    assert_eq!(systemd.hears_of_state().trim(), "STOPPING=1");
    gateway.program.end().assert_code(0);
}

#[test]
fn a_socket_of_systemd_is_taken_by_its_name_and_the_address_is_not_bound() {
    let (_vendor, idp, folder) = folder();
    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    // An address that no machine has (RFC 5737).
    let named = text.replacen(
        "[[listener]]\naddress = \"127.0.0.1:0\"",
        "[[listener]]\nname = \"web\"\naddress = \"192.0.2.1:1\"",
        1,
    );
    assert_ne!(named, text);
    folder.replace("valet.toml", &named);
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    let mut command = Command::new("sh");
    let run = format!(
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec {VALET} run --config valet.toml"
    );
    command.arg("-c").arg(run).current_dir(folder.path()).stdin(Stdio::from(OwnedFd::from(socket)));
    let gateway = Gateway::serving(Program::start(command));
    assert_eq!(gateway.address, address);
    assert_eq!(gateway.open(&idp.token("ada")).status, 302);
    gateway.terminate().assert_code(0);
}

#[test]
fn a_minter_alone_feeds_its_watchdog_by_a_sign_of_life_that_is_no_event() {
    let pair = Pair::start(KEY);
    let systemd = Systemd::at(&pair.folder);
    let mut command = valet(pair.folder.path(), &["run", "--config", "minter.toml"]);
    command.env("NOTIFY_SOCKET", pair.folder.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let minter = Minter::serving(Program::start(command));
    for _ in 0..3 {
        while systemd.hears().trim() != "WATCHDOG=1" {}
    }
    let metrics = once(&minter.admin, "GET", "/metrics", &[], "").body;
    assert!(!metrics.contains("outcome=\"handshake\""), "{metrics}");
    minter.program.terminate().assert_code(0);
}
