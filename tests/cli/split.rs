//! `valet demo --split`: two processes, of which one holds the key.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Connection, once};
use super::demo::{address, addresses, line};
use super::process::{Ended, Program, Stream, until, valet};
use super::stack::bearer;

/// A demo whose temporary files lie in a folder of the test's: the key file is among them.
struct Demo {
    program: Program,
    gateway: String,
    folder: TempDir,
}

impl Demo {
    fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let words = [&["demo", "--no-open", "--port", "0"], words].concat();
        let mut command = valet(Path::new("."), &words);
        command.env("TMPDIR", folder.path());
        let program = Program::start(command);
        program.line(Stream::Stdout, |line| line.contains("Ctrl-C").then_some(()));
        Self { gateway: address(&program), program, folder }
    }

    fn split() -> Self {
        Self::start(&["--split"])
    }

    /// The process id on the line that begins so.
    fn pid(&self, who: &str) -> u32 {
        let begins = format!("  {who}, process ");
        let line = line(&self.program, &begins);
        let digits: String = line[begins.len()..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a process id")
    }

    fn scan(&self, method: &str) -> Answer {
        let token = line(&self.program, "TOKEN=");
        once(&self.gateway, method, "/plugins/face-scan", &[&bearer(token.trim_start_matches("TOKEN="))], "")
    }

    /// As Ada's browser asks.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let host = self.gateway.replace("127.0.0.1", "app.localhost");
        let token = line(&self.program, "TOKEN=").replace("TOKEN=", "");
        let (body, json) = (body.to_string(), "content-type: application/json");
        let fields = format!("host: {host}\r\ncookie: session={token}\r\n{json}\r\nconnection: close");
        let length = body.len();
        Connection::open(&self.gateway)
            .ask(&format!("{method} {path} HTTP/1.1\r\n{fields}\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    fn press(&self, path: &str, body: &Value) {
        let answer = self.ask("POST", path, body);
        assert_eq!(answer.status, 204, "{path} {body}: {answer:?}");
    }

    /// How often the vendor was asked for a link.
    fn mint_calls(&self) -> u64 {
        let pages = addresses(&self.program, "the simulated vendor").pop().expect("an address");
        once(&pages, "GET", "/_sim/calls", &[], "").json()["mint_calls"].as_u64().expect("a number")
    }

    /// The vendor's key, from the one file that holds it; and the file.
    fn key(&self) -> (String, PathBuf) {
        let folders = std::fs::read_dir(self.folder.path()).expect("a folder").flatten();
        let mut files = folders.map(|folder| folder.path().join("intelliprove.key")).filter(|file| file.exists());
        let (file, None) = (files.next().expect("a key file"), files.next()) else { panic!("two key files") };
        (std::fs::read_to_string(&file).expect("a key"), file)
    }
}

#[test]
fn a_session_gets_its_link_through_both_processes_and_it_is_held() {
    let demo = Demo::split();
    let (minted, held) = (demo.scan("GET"), demo.scan("GET"));
    assert_eq!((minted.status, held.status), (302, 302), "{minted:?}");
    assert!(minted.location().starts_with("http://plugin.localhost:"), "{minted:?}");
    assert_eq!((minted.location(), demo.mint_calls()), (held.location(), 1));
    let again = demo.scan("POST");
    assert!([302, 303].contains(&again.status) && again.location() != held.location(), "{again:?}");
    assert_eq!(demo.mint_calls(), 2);
    // The plug-in's page is where the link says.
    let pages = addresses(&demo.program, "the simulated vendor").pop().expect("an address");
    let (_, page) = again.location().split_once("/?").expect("a query");
    assert_eq!(once(&pages, "GET", &format!("/?{page}"), &[], "").status, 200);
    // The minter's audit log is on the terminal, and says whose it is.
    let audit_log = line(&demo.program, &format!("minter, process {}: {{", demo.pid("minter")));
    assert!(audit_log.contains("\"outcome\":\"granted\""), "{audit_log}");
    let ended = demo.program.terminate();
    ended.assert_code(0);
    assert!(!ended.all().contains("action_token"), "{}", ended.all());
}

#[test]
fn the_page_and_the_terminal_name_each_process_and_who_holds_the_key() {
    let one = Demo::start(&[]);
    let gateway = format!("gateway, process {}: holds the key", one.pid("gateway"));
    let page = one.ask("GET", "/", &Value::Null).body;
    assert!(page.contains(&gateway) && !page.contains("minter, process"), "{page}");
    assert!(line(&one.program, &format!("  {gateway}")).contains("the vendor"));

    let two = Demo::split();
    let (edge, minter) = (two.pid("edge"), two.pid("minter"));
    assert_eq!(edge, two.program.pid());
    assert_ne!(edge, minter);
    let page = two.ask("GET", "/", &Value::Null).body;
    for said in [format!("edge, process {edge}: no key"), format!("minter, process {minter}: holds the key")] {
        assert!(page.contains(&said), "{said}\n{page}");
        line(&two.program, &format!("  {said}"));
    }
    assert!(!page.contains("gateway, process"), "{page}");
}

#[test]
fn the_buttons_reach_the_other_process() {
    let demo = Demo::split();
    for (trouble, status) in [("unreachable", 502), ("foreign", 502), ("busy", 503), ("slow", 504)] {
        demo.press("/demo/trouble", &json!({ "trouble": "none" }));
        // By the clock a pause and a failure that is remembered end. Four times, and a session ends: it is a day old.
        if trouble != "unreachable" {
            demo.press("/demo/clock", &json!({}));
        }
        assert_eq!(demo.scan("GET").status, 302, "before {trouble}");
        demo.press("/demo/trouble", &json!({ "trouble": trouble }));
        assert_eq!(demo.scan("GET").status, 302, "held under {trouble}");
        assert_eq!(demo.scan("POST").status, status, "{trouble}");
    }
}

#[test]
fn six_hours_pass_in_both_processes() {
    let demo = Demo::split();
    let first = demo.scan("GET");
    demo.press("/demo/clock", &json!({}));
    let second = demo.scan("GET");
    assert!(second.status == 302 && second.location() != first.location(), "{second:?}");
    let pages = addresses(&demo.program, "the simulated vendor").pop().expect("an address");
    let status = |link: &Answer| {
        let (_, query) = link.location().split_once("/?").expect("a query");
        once(&pages, "GET", &format!("/?{query}"), &[], "").status
    };
    assert_eq!((status(&first), status(&second)), (410, 200), "by the vendor's clock");
    // A new key of the identity provider is fetched by both.
    demo.press("/demo/keys", &json!({}));
    // A process that asked for keys a moment ago asks again after its cool-down.
    let tabs = until("twenty tabs open with a session of the new key", || {
        let answer = demo.ask("POST", "/api/tabs", &json!({}));
        (answer.json()["opened"] == 20).then(|| answer.json())
    });
    assert_eq!((&tabs["links"], &tabs["asked"]), (&json!(1), &json!(1)), "{tabs}");
}

#[test]
fn a_signal_ends_both_processes_well() {
    for signal in ["INT", "TERM"].repeat(3) {
        let demo = Demo::split();
        let minter = demo.pid("minter");
        demo.program.signal(signal);
        demo.program.end().assert_code(0);
        assert!(is_gone(minter), "{signal}");
        assert_eq!(std::fs::read_dir(demo.folder.path()).expect("a folder").count(), 0, "no file stays");
    }
}

#[test]
fn ctrl_c_goes_to_both_and_they_end_well() {
    let demo = Demo::split();
    assert_eq!(demo.scan("GET").status, 302);
    let minter = demo.pid("minter");
    signal_to(minter, "INT");
    demo.program.signal("INT");
    demo.program.end().assert_code(0);
    assert!(is_gone(minter));
}

#[test]
fn an_edge_that_is_killed_leaves_no_minter_behind() {
    let demo = Demo::split();
    assert_eq!(demo.scan("GET").status, 302);
    let (minter, (_, key_file)) = (demo.pid("minter"), demo.key());
    demo.program.signal("KILL");
    until("the minter ends", || is_gone(minter).then_some(()));
    assert!(!key_file.exists(), "nor its key");
}

#[test]
fn without_its_minter_the_demo_ends_and_says_so() {
    let demo = Demo::split();
    let minter = demo.pid("minter");
    signal_to(minter, "KILL");
    let ended = demo.program.end();
    ended.assert_code(69);
    let line = ended.only_line();
    assert!(line.starts_with(&format!("valet: the minter's process {minter} has ended (signal: 9")), "{line}");
}

#[test]
fn the_minter_is_nothing_to_start_by_hand() {
    let ended = super::process::end_of(Path::new("."), &["demo-minter"]);
    ended.assert_code(70);
    assert!(ended.all().contains("`valet demo --split`"), "{}", ended.all());
    let help = super::process::end_of(Path::new("."), &["help"]);
    assert!(!help.all().contains("demo-minter") && help.all().contains("--split"), "{}", help.all());
}

#[cfg(target_os = "linux")]
#[test]
fn the_key_is_in_the_memory_of_the_minter_and_not_in_that_of_the_edge() {
    let demo = Demo::split();
    let link = demo.scan("GET");
    assert_eq!(
        (demo.scan("POST").location() == link.location(), demo.ask("GET", "/", &Value::Null).status),
        (false, 200)
    );
    demo.press("/demo/clock", &json!({}));
    let link = demo.scan("GET").location().to_owned();
    let (edge, minter, (key, _)) = (demo.pid("edge"), demo.pid("minter"), demo.key());
    let (Some(of_edge), Some(of_minter)) = (holds(edge, &[&key, &link]), holds(minter, &[&key, &link])) else { return };
    assert_eq!(of_edge, [false, true], "the edge: the key, the link that it holds");
    assert_eq!(of_minter, [true, true], "the minter: both");

    let one = Demo::start(&[]);
    let link = one.scan("GET").location().to_owned();
    let Some(of_gateway) = holds(one.pid("gateway"), &[&one.key().0, &link]) else { return };
    assert_eq!(of_gateway, [true, true], "in one process both are in it");
}

/// Which of these secrets stand in the memory of a process, in any mapping that can be read. Half of a secret counts: what a buffer was
/// used for again is found too. `None`: this user may not look.
#[cfg(target_os = "linux")]
fn holds(pid: u32, secrets: &[&str]) -> Option<Vec<bool>> {
    use std::os::unix::fs::FileExt;

    const PAGE: u64 = 4096;
    const CUT: u64 = 64;
    // So that nothing moves while it is read.
    signal_to(pid, "STOP");
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"));
    let (Ok(maps), Ok(memory)) = (maps, std::fs::File::open(format!("/proc/{pid}/mem"))) else {
        eprintln!("left out: this user may not read the memory of process {pid}");
        signal_to(pid, "CONT");
        return None;
    };
    let halves: Vec<[&[u8]; 2]> = secrets.iter().map(|secret| halves(secret)).collect();
    let mut found = vec![false; secrets.len()];
    let (mut piece, mut read) = (vec![0; 1 << 20], 0);
    for (mut at, end) in maps.lines().filter_map(mapping) {
        while at < end {
            let wanted = piece.len().min(usize::try_from(end - at).expect("a size"));
            let Ok(got @ 1..) = memory.read_at(&mut piece[..wanted], at) else {
                // What can't be read is the kernel's own (vvar), or lies behind a file's end.
                at += PAGE;
                continue;
            };
            read += got;
            for (found, halves) in found.iter_mut().zip(&halves) {
                *found |= halves.iter().any(|half| memchr::memmem::find(&piece[..got], half).is_some());
            }
            at += got as u64;
            // What the end of the piece may have cut in two is read again.
            at -= if at < end { CUT } else { 0 };
        }
    }
    signal_to(pid, "CONT");
    assert!(read > 1 << 20, "a process has more memory than {read} bytes");
    Some(found)
}

#[cfg(target_os = "linux")]
fn halves(secret: &str) -> [&[u8]; 2] {
    // Of a key the part that is its own, of a link the end of its token.
    let own = secret.strip_prefix("sim_").unwrap_or(secret);
    let own = own.split_once("action_token=").map_or(own, |(_, rest)| rest.split('&').next().unwrap_or_default());
    let own = &own.as_bytes()[own.len() - 32..];
    let (first, second) = own.split_at(16);
    [first, second]
}

/// From where to where, if it can be read.
#[cfg(target_os = "linux")]
fn mapping(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    (rest.starts_with('r') && !rest.ends_with("[vsyscall]")).then_some((hex(from)?, hex(to)?))
}

fn signal_to(pid: u32, name: &str) {
    let sent = std::process::Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
    assert!(sent.expect("sh runs").success(), "no signal could be sent");
}

/// Whether a process has ended. Who inherited it may not have buried it yet.
fn is_gone(pid: u32) -> bool {
    let state = if cfg!(target_os = "linux") {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which stands in brackets.
        stat.rsplit(") ").next().unwrap_or_default().to_owned()
    } else {
        let ps = std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
        Ended::from(ps.expect("ps runs")).stdout.trim().to_owned()
    };
    state.is_empty() || state.starts_with('Z')
}
