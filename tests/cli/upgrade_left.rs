//! What stays in the old process after another has taken over: WebSockets, and mints under way.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::client::{Connection, request};
use super::process::{Program, Stream, free_port, until, valet};
use super::stack::{Folder, Gateway, Idp, Vendor, bearer, echo};
use super::upgrade::{FILE_STORE, Upgradable, around, revoke};
use super::upgrade_failures::Impostor;

/// An app behind which WebSockets say again what they hear.
fn app() -> String {
    format!("\n[[app]]\nname = \"echo\"\npath = \"/echo/\"\nupstreams = [\"{}\"]\n", echo())
}

/// Unix time in seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A WebSocket of this person, open.
fn socket(stack: &Upgradable, token: &str) -> Connection {
    let mut socket = Connection::open(&stack.gateway.address);
    let fields = ["connection: upgrade", "upgrade: websocket", &bearer(token)];
    assert!(socket.send(request("GET", "/echo/", &fields, "")));
    assert_eq!(socket.head(), 101);
    echoes(&mut socket);
    socket
}

#[track_caller]
fn echoes(socket: &mut Connection) {
    assert!(socket.send("hello"), "the WebSocket was cut");
    assert_eq!(socket.bytes(5).as_deref(), Some(&b"hello"[..]), "the WebSocket was cut");
}

/// The next process takes over; the one before goes on.
fn taken_over(stack: &mut Upgradable) -> Gateway {
    let next = Gateway::serving(stack.successor());
    std::mem::replace(&mut stack.gateway, next)
}

#[test]
fn a_websocket_in_the_old_process_ends_when_its_session_is_revoked_at_the_new_one() {
    for more in ["", FILE_STORE] {
        let mut stack = Upgradable::start(&format!("{more}{}", app()));
        let (ada, bob) = (stack.idp.token("ada"), stack.idp.token("bob"));
        let (mut adas, mut bobs) = (socket(&stack, &ada), socket(&stack, &bob));
        let mut before = taken_over(&mut stack);
        echoes(&mut adas);
        stack.revoke("ada");
        adas.rest();
        echoes(&mut bobs);
        assert!(before.program.runs(), "it waits for the other one");
        drop(bobs);
        before.program.end().assert_code(0);
    }
}

/// The first of three processes still drains when the third has taken over from the second, which passes on what is said between them.
#[test]
fn a_websocket_in_the_process_before_the_old_one_ends_too() {
    let mut stack = Upgradable::start(&app());
    let (ada, bob) = (stack.idp.token("ada"), stack.idp.token("bob"));
    let (mut adas, mut bobs) = (socket(&stack, &ada), socket(&stack, &bob));
    let first = taken_over(&mut stack);
    let second = taken_over(&mut stack);
    echoes(&mut adas);
    stack.revoke("ada");
    adas.rest();
    echoes(&mut bobs);
    drop(bobs);
    first.program.end().assert_code(0);
    second.program.end().assert_code(0);
}

/// A process that has taken over from an impostor, which has not said that it accepts no more.
struct Beside {
    old: Impostor,
    new: Program,
    /// The new one announces its addresses only when the old one has stopped.
    admin: String,
    idp: Idp,
    /// Tokens: hers and his end at the old one, before it has told everything (his) and behind it.
    ada: String,
    dan: String,
    eve: String,
    _vendor: Vendor,
    _folder: Folder,
}

impl Beside {
    fn start() -> Self {
        let (vendor, idp, folder) = around("");
        let admin = format!("127.0.0.1:{}", free_port(0));
        let config = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
        folder.write(
            "valet.toml",
            &config.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{admin}\"")),
        );
        let start = || Program::start(valet(folder.path(), &["run", "--config", "valet.toml", "--upgrade"]));
        let (old, new) = Impostor::taken_over_by(&folder, start);
        let [ada, dan, eve] = ["ada", "dan", "eve"].map(|name| idp.token(name));
        // Of a configuration by which it would have been forgotten, though a token can live that long by the new one's.
        let dans_end = json!({ "revoked": { "i": idp.url, "s": "dan", "u": now(), "e": now() - 1 } }).to_string();
        old.says(Impostor::HELLO);
        for (word, next) in [("sockets", "ready"), ("everything", "open"), ("go", "serving")] {
            if word == "everything" {
                old.says(&dans_end);
            }
            old.says(&format!("\"{word}\""));
            old.until_it_hears(&format!("\"{next}\""));
        }
        Self { old, new, admin, idp, ada, dan, eve, _vendor: vendor, _folder: folder }
    }

    /// Signs somebody out at the new process; the message in which the old one hears of it.
    fn revoke(&self, subject: &str) -> String {
        revoke(&self.idp, &self.admin, subject);
        loop {
            let told = self.old.hears().expect("a revocation");
            if told.starts_with("{\"revoked\":") && told.contains(&format!("\"{subject}\"")) {
                return told;
            }
        }
    }
}

/// Each side hears of what was revoked at the other while the process before is slow to say that it accepts no more, and after it.
#[test]
fn revocations_are_told_before_the_old_process_has_stopped_accepting_and_after_it() {
    for too_late in [false, true] {
        let beside = Beside::start();
        let told = beside.revoke("bob");
        let mut told: Value = serde_json::from_str(&told).expect("JSON");
        (told["revoked"]["s"], told["revoked"]["e"]) = (json!("ada"), json!(now() - 1));
        beside.old.says(&told.to_string());
        let stops = || beside.old.says("\"stopped\"");
        if too_late {
            // The new one announces itself when it waits no longer.
            beside.new.line(Stream::Stderr, |line| line.contains("\"serving\"").then_some(()));
            stops();
        } else {
            stops();
        }
        beside.revoke("carol");
        let gateway = Gateway::serving(beside.new);
        for ended in [&beside.dan, &beside.ada] {
            assert_eq!(gateway.open(ended).problem(), "session-invalid", "too late: {too_late}");
        }
        assert_eq!(gateway.open(&beside.eve).status, 302);
    }
}

/// Each of the two may have much to tell while the other has, too: who waits until a message is taken still takes those of the other.
#[test]
fn a_process_that_can_not_tell_hears_all_the_same() {
    /// More than the socket between them holds.
    const MANY: usize = 3_000;
    let tell_many = |impostor: &Impostor, issuer: &str| {
        for n in 0..MANY {
            let gone = json!({ "i": issuer, "s": format!("user-{n}"), "u": now(), "e": now() + 3600 });
            // What the other one notes it tells: nobody hears it here yet.
            impostor.says(&json!({ "revoked": gone }).to_string());
        }
        let last = format!("\"user-{}\"", MANY - 1);
        while !impostor.hears().expect("it still tells").contains(&last) {}
    };
    let beside = Beside::start();
    tell_many(&beside.old, &beside.idp.url);
    beside.old.says("\"stopped\"");

    let stack = Upgradable::start(&app());
    let _open = socket(&stack, &stack.idp.token("eve"));
    let impostor = Impostor::connect(&stack);
    for (word, end) in
        [(Impostor::HELLO, "sockets"), ("\"ready\"", "everything"), ("\"open\"", "go"), ("\"serving\"", "stopped")]
    {
        impostor.says(word);
        impostor.until_it_hears(&format!("\"{end}\""));
    }
    tell_many(&impostor, &stack.idp.url);
}

/// The vendor is asked by each of the two at most once, and each person ends with one URL.
#[test]
fn a_mint_under_way_and_one_begun_meanwhile_are_two_at_most_and_leave_one_url() {
    for more in ["", FILE_STORE] {
        let mut stack = Upgradable::start(more);
        let ada = stack.idp.token("ada");
        let open = request("GET", "/plugins/face-scan", &[&bearer(&ada)], "");
        stack.vendor.faults(json!({ "fail": "hang", "on": "mint" }));
        let ask = |stack: &Upgradable| {
            let mut asked = Connection::open(&stack.gateway.address);
            assert!(asked.send(&open));
            asked
        };
        let mut in_old: Vec<_> = (0..3).map(|_| ask(&stack)).collect();
        until("the old one asks the vendor", || (stack.vendor.mint_calls() == 1).then_some(()));
        let before = taken_over(&mut stack);
        let mut in_new: Vec<_> = (0..3).map(|_| ask(&stack)).collect();
        until("the new one asks the vendor", || (stack.vendor.mint_calls() == 2).then_some(()));
        stack.vendor.faults(json!({}));
        let mut urls: Vec<String> = Vec::new();
        for asked in in_old.iter_mut().chain(&mut in_new) {
            let answer = asked.answer().expect("a whole answer");
            assert_eq!(answer.status, 302, "{answer:?}");
            urls.push(answer.location().to_owned());
        }
        before.program.end().assert_code(0);
        let now = stack.gateway.open(&ada).location().to_owned();
        assert!(urls.contains(&now), "what is held was handed out");
        for _ in 0..3 {
            assert_eq!(stack.gateway.open(&ada).location(), now, "one URL from here on");
        }
        assert_eq!(stack.vendor.mint_calls(), 2);
    }
}
