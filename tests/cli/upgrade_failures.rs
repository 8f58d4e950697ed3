//! Each way in which an upgrade can fail leaves the old process serving.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::process::{HANG, NOBODY, Program, Stream, there_is, until, valet};
use super::stack::{Folder, Gateway};
use super::upgrade::{Upgradable, around};

const FILE_STORE: &str =
    "\n[leases]\nstore = \"file\"\npath = \"leases.redb\"\nseal_keys = [{ file = \"seal.key\" }]\n";

/// A process that speaks, or does not speak, the protocol of the hand-over.
pub struct Impostor(Socket);

impl Impostor {
    /// A process that runs, to the one that is started to take over from it. It has no sockets to hand over.
    pub fn taken_over_by<T>(folder: &Folder, start: impl FnOnce() -> T) -> (Self, T) {
        let path = folder.path().join("upgrade.sock");
        let listening = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        listening.bind(&SockAddr::unix(&path).expect("a path")).expect("nobody has it");
        listening.listen(1).expect("it listens");
        listening.set_read_timeout(Some(HANG)).expect("a time-out");
        let started = start();
        let (socket, _) = listening.accept().expect("it connects");
        socket.set_read_timeout(Some(HANG)).expect("a time-out");
        socket.set_write_timeout(Some(HANG)).expect("a time-out");
        // The other one binds its own.
        std::fs::remove_file(path).expect("our file");
        (Self(socket), started)
    }

    pub fn connect(stack: &Upgradable) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        let path = stack.folder.path().join("upgrade.sock");
        socket.connect(&SockAddr::unix(path).expect("a path")).expect("somebody listens");
        socket.set_read_timeout(Some(HANG)).expect("a time-out");
        socket.set_write_timeout(Some(HANG)).expect("a time-out");
        Self(socket)
    }

    pub fn says(&self, text: &str) {
        (&self.0).write_all(text.as_bytes()).expect("it is taken");
    }

    /// The next message; `None`: the end.
    pub fn hears(&self) -> Option<String> {
        let mut buffer = vec![0; 256 * 1024];
        let length = (&self.0).read(&mut buffer).expect("a message, or the end");
        (length > 0).then(|| String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    pub fn until_it_hears(&self, wanted: &str) {
        while self.hears().unwrap_or_else(|| panic!("{wanted} did not come")) != wanted {}
    }

    pub const HELLO: &str = r#"{"hello":{"protocol":1,"version":"0"}}"#;
}

/// It serves, what it held it holds, and a good successor is still let in.
fn serves_on(mut stack: Upgradable, ada: &str, url: &str) {
    assert_eq!(stack.gateway.open(ada).location(), url);
    assert_eq!(stack.gateway.open(&stack.idp.token("eve")).status, 302);
    stack.upgrade();
    assert_eq!(stack.gateway.open(ada).location(), url);
    assert_eq!(stack.vendor.mint_calls(), 2);
}

fn started(more: &str) -> (Upgradable, String, String) {
    let stack = Upgradable::start(more);
    let ada = stack.idp.token("ada");
    let url = stack.gateway.open(&ada).location().to_owned();
    (stack, ada, url)
}

fn failed(stack: &Upgradable) {
    stack.gateway.program.line(Stream::Stderr, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "an upgrade has failed: this process goes on").then_some(())
    });
}

#[test]
fn a_new_process_that_can_not_serve_leaves_the_old_one_serving() {
    let (stack, ada, url) = started("");
    let good = stack.config();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let cases = [
        ("reuse = \"user\"", "reuse = \"nobody\"".to_owned(), 78, "plugin.reuse".to_owned()),
        ("vendor.key", "absent.key".to_owned(), 78, "absent.key".to_owned()),
        ("[log]", format!("[[listener]]\naddress = \"{taken}\"\n[log]"), 70, "in use".to_owned()),
        ("[log]", "[[listener]]\naddress = \"192.0.2.1:1\"\n[log]".to_owned(), 70, "no such address".to_owned()),
        (listener, format!("{listener}tls = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n"), 78, "a.pem".to_owned()),
        (
            "keys = { discovery = true }",
            format!("keys = {{ jwks_url = \"http://{NOBODY}/\" }}"),
            70,
            "issuers' keys".to_owned(),
        ),
        ("[server]\n", "[policies]\ndirectory = \"absent\"\n[server]\n".to_owned(), 78, "absent".to_owned()),
        ("upgrade_socket = \"upgrade.sock\"\n", String::new(), 78, "server.upgrade_socket".to_owned()),
    ];
    for (from, to, code, says) in cases {
        assert!(good.contains(from), "{from}");
        stack.folder.replace("valet.toml", &good.replacen(from, &to, 1));
        let ended = stack.successor().end();
        ended.assert_code(code);
        assert!(ended.stderr.contains(&says), "{says}: {}", ended.stderr);
        assert_eq!(stack.gateway.open(&ada).location(), url, "after {says}");
    }
    stack.folder.replace("valet.toml", &good);
    serves_on(stack, &ada, &url);
}

#[test]
fn a_file_of_leases_that_another_process_has_leaves_the_old_one_serving() {
    let (stack, ada, url) = started(FILE_STORE);
    let other = Upgradable::start(FILE_STORE);
    let good = stack.config();
    let locked = other.folder.path().join("leases.redb");
    stack.folder.replace("valet.toml", &good.replace("leases.redb", locked.to_str().expect("a path")));
    let ended = stack.successor().end();
    ended.assert_code(70);
    assert!(ended.stderr.contains("another process has this lease store open"), "{}", ended.stderr);
    failed(&stack);
    stack.folder.replace("valet.toml", &good);
    serves_on(stack, &ada, &url);
}

#[test]
fn a_new_process_that_dies_on_the_way_leaves_the_old_one_serving_with_its_file() {
    for steps in 0..=3 {
        let (stack, ada, url) = started(FILE_STORE);
        let impostor = Impostor::connect(&stack);
        let words = [Impostor::HELLO, "\"ready\"", "\"open\""];
        let ends = ["\"sockets\"", "\"everything\"", "\"go\""];
        for (word, end) in words.iter().zip(ends).take(steps) {
            impostor.says(word);
            impostor.until_it_hears(end);
        }
        drop(impostor);
        failed(&stack);
        serves_on(stack, &ada, &url);
    }
}

#[test]
fn garbage_words_out_of_turn_and_another_version_are_refused() {
    let (stack, ada, url) = started("");
    for (text, says) in [
        ("GET / HTTP/1.1\r\n\r\n", "can't be read"),
        ("\"ready\"", "out of turn"),
        (r#"{"hello":{"protocol":2,"version":"9.9"}}"#, "9.9 speaks version 2 of the hand-over"),
    ] {
        let impostor = Impostor::connect(&stack);
        impostor.says(text);
        let refused = impostor.hears().expect("why");
        assert!(refused.starts_with("{\"refused\"") && refused.contains(says), "{refused}");
        assert!(impostor.hears().is_none());
    }
    let impostor = Impostor::connect(&stack);
    impostor.says(Impostor::HELLO);
    impostor.until_it_hears("\"sockets\"");
    impostor.says("\"serving\"");
    assert!(impostor.hears().expect("why").contains("out of turn"));
    serves_on(stack, &ada, &url);
}

/// It is told to end when the hand-over has begun: if it went on, both processes would end.
#[test]
fn a_new_process_that_is_told_to_end_before_it_serves_ends_and_the_old_one_serves() {
    for signal in ["TERM", "INT", "QUIT"] {
        let (_vendor, _idp, folder) = around("");
        let start = || Program::start(valet(folder.path(), &["run", "--config", "valet.toml", "--upgrade"]));
        let (old, new) = Impostor::taken_over_by(&folder, start);
        old.says(Impostor::HELLO);
        old.says("\"sockets\"");
        old.until_it_hears("\"ready\"");
        new.signal(signal);
        assert_eq!(old.hears(), None, "{signal}: it ends, and does not serve");
        let ended = new.end();
        ended.assert_code(70);
        assert!(ended.stderr.contains("told to end before it could serve"), "{}", ended.stderr);
    }
}

/// From its word `go` on the new one may serve, on the same sockets: it is that one's when the old one is told to end in this moment.
#[test]
fn an_old_process_that_is_told_to_end_when_the_new_one_may_serve_leaves_the_sockets_to_it() {
    for serves in [true, false] {
        let (stack, _, _) = started("");
        let impostor = Impostor::connect(&stack);
        for (word, end) in [(Impostor::HELLO, "\"sockets\""), ("\"ready\"", "\"everything\""), ("\"open\"", "\"go\"")] {
            impostor.says(word);
            impostor.until_it_hears(end);
        }
        let program = stack.gateway.program;
        program.signal("TERM");
        program.line(Stream::Stderr, |line| line.contains("\"draining\"").then_some(()));
        if serves {
            impostor.says("\"serving\"");
            impostor.until_it_hears("\"stopped\"");
        } else {
            let refused = impostor.hears().expect("why");
            assert!(refused.starts_with("{\"refused\""), "{refused}");
        }
        program.end().assert_code(0);
    }
}

#[test]
fn of_two_at_once_the_second_is_refused() {
    let (stack, ada, url) = started("");
    let impostor = Impostor::connect(&stack);
    impostor.says(Impostor::HELLO);
    impostor.until_it_hears("\"sockets\"");
    let ended = stack.successor().end();
    ended.assert_code(70);
    assert!(ended.stderr.contains("another process is taking over already"), "{}", ended.stderr);
    drop(impostor);
    let failed = || stack.gateway.program.so_far(Stream::Stderr).matches("an upgrade has failed").count();
    until("both are given up", || (failed() == 2).then_some(()));
    serves_on(stack, &ada, &url);
}

#[test]
fn a_socket_of_another_user_or_in_a_folder_of_everybody_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let (stack, ada, url) = started("");
    let good = stack.config();
    let squatted = stack.folder.path().join("squatted.sock");
    let squatter = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
    squatter.bind(&SockAddr::unix(&squatted).expect("a path")).expect("it is free");
    squatter.listen(1).expect("it listens");
    let root =
        std::fs::metadata(stack.folder.path()).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).ok() == Some(0);
    if root {
        std::os::unix::fs::chown(&squatted, Some(65534), None).expect("root may");
        stack.folder.replace("valet.toml", &good.replace("upgrade.sock", "squatted.sock"));
        let ended = stack.successor().end();
        ended.assert_code(70);
        assert!(ended.stderr.contains("is another user's"), "{}", ended.stderr);
    }
    std::fs::create_dir(stack.folder.path().join("open")).expect("our folder");
    let open = stack.folder.path().join("open");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("our folder");
    std::fs::rename(&squatted, open.join("upgrade.sock")).expect("our file");
    stack.folder.replace("valet.toml", &good.replace("upgrade.sock", "open/upgrade.sock"));
    let ended = stack.successor().end();
    ended.assert_code(70);
    assert!(ended.stderr.contains("others can write into the folder"), "{}", ended.stderr);
    stack.folder.replace("valet.toml", &good);
    serves_on(stack, &ada, &url);
}

#[test]
fn another_user_who_reaches_the_socket_gets_nothing() {
    let (stack, ada, url) = started("");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root || !there_is("setpriv") || !there_is("perl") {
        return;
    }
    // The mode alone would keep him out.
    let reach = "chmod 0711 . && chmod 0666 upgrade.sock";
    assert!(
        Command::new("sh").arg("-c").arg(reach).current_dir(stack.folder.path()).status().expect("sh runs").success()
    );
    let ask = "$SIG{PIPE} = 'IGNORE'; socket(S, AF_UNIX, 5, 0) && connect(S, sockaddr_un($ARGV[0])) or die $!; syswrite(S, $ARGV[1]); print 0 + sysread(S, $_, 65536)";
    let path = stack.folder.path().join("upgrade.sock");
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-MSocket", "-e", ask]);
    let asked = stranger.arg(path).arg(Impostor::HELLO).output().expect("setpriv runs");
    // Closed unanswered: the end, or a reset.
    assert_eq!((asked.status.success(), &*asked.stdout), (true, &b"0"[..]), "{asked:?}");
    stack.gateway.program.line(Stream::Stderr, |line| line.contains("another user's process asked").then_some(()));
    serves_on(stack, &ada, &url);
}

#[test]
fn without_an_old_process_or_beside_its_leftover_the_new_one_starts_with_a_warning() {
    let (mut stack, ada, _) = started("");
    stack.gateway.program.signal("KILL");
    until("it is dead", || (!stack.gateway.program.runs()).then_some(()));
    assert!(stack.folder.path().join("upgrade.sock").exists(), "a leftover");
    stack.gateway = Gateway::serving(stack.successor());
    stack
        .gateway
        .program
        .line(Stream::Stderr, |line| line.contains("nobody listens at server.upgrade_socket").then_some(()));
    assert_eq!(stack.gateway.open(&ada).status, 302);
}

#[test]
fn an_old_process_that_is_killed_on_the_way_leaves_the_listeners_to_the_new_one() {
    let (mut stack, ada, _) = started(FILE_STORE);
    // The new one waits for keys.
    stack.idp.faults(serde_json::json!({ "fail": "hang", "on": "discovery" }));
    let next = stack.successor();
    stack.gateway.program.line(Stream::Stderr, |line| line.contains("prepares to take over").then_some(()));
    stack.gateway.program.signal("KILL");
    until("it is dead", || (!stack.gateway.program.runs()).then_some(()));
    stack.idp.faults(serde_json::json!({}));
    stack.gateway = Gateway::serving(next);
    stack.gateway.program.line(Stream::Stderr, |line| line.contains("has died on the way").then_some(()));
    assert_eq!(stack.gateway.open(&ada).status, 302);
}
