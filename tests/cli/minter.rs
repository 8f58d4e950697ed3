//! The key never reaches the edge: two roles, two processes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Connection, once, request};
use super::memory::occurrences;
use super::pair::{Authority, EDGE, Minter, Pair, Stranger};
use super::process::{Stream, free_port, until};
use super::stack::{CANARY_PERSON, KEY, bearer};
use super::stopwatch::Stopwatch;

/// An ask that the minter grants, for a token's subject.
fn good(pair: &Pair, subject: &str) -> Value {
    ask(&pair.idp.url, subject, &pair.idp.token(subject))
}

fn ask(issuer: &str, subject: &str, credential: &str) -> Value {
    json!({
        "plugin": "face-scan", "issuer": issuer, "subject": subject, "external_id": subject, "share": "user",
        "reason": "miss", "life_s": 300, "max_age_s": 21600, "deadline_ms": 5000, "credential": credential,
    })
}

fn with(mut ask: Value, key: &str, value: impl Into<Value>) -> Value {
    ask[key] = value.into();
    ask
}

#[track_caller]
fn assert_refused(answer: Option<(u16, Value)>, status: u16, refusal: &str) {
    let (got, body) = answer.expect("an answer");
    assert_eq!((got, &body["refusal"]), (status, &json!(refusal)), "{body}");
    assert!(body.get("url").is_none(), "{body}");
}

/// What proves nothing must not look like a proof, unless somebody has said that it may.
fn left_out(why: &str) {
    assert!(
        std::env::var_os("VALET_TESTS_WITHOUT_ROOT").is_some(),
        "{why}; VALET_TESTS_WITHOUT_ROOT=1 leaves this test out"
    );
    eprintln!("left out: {why}");
}

/// 10,000 redirects and 1,000 mints leave no byte of the key in the edge; the same look finds it in the minter.
#[test]
fn the_key_is_in_the_minters_memory_and_not_in_the_edges() {
    let key = format!("canary-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let pair = Pair::start(&key);
    let tokens: Vec<String> = (0..1000).map(|user| pair.idp.token(&format!("user-{user}"))).collect();
    let mut connection = Connection::open(&pair.edge.address);
    let mut urls = BTreeSet::new();
    for _ in 0..10 {
        for token in &tokens {
            let answer = connection.ask(&request("GET", "/plugins/face-scan", &[&bearer(token)], ""));
            assert_eq!(answer.status, 302, "{answer:?}");
            urls.insert(answer.location().to_owned());
        }
    }
    assert_eq!((urls.len(), pair.vendor.mint_calls()), (1000, 1000));
    assert_eq!(pair.edge.metric("valet_requests_total{outcome=\"redirect\",route=\"face-scan\"}"), 10_000);

    let minter = pair.minters[0].program.id();
    let Some((in_minter, _)) = occurrences(minter, key.as_bytes()) else {
        return left_out("this user may not read the memory of another process");
    };
    assert!(in_minter > 0, "the look finds nothing where the key must be");
    let (in_edge, read) = occurrences(pair.edge.program.id(), key.as_bytes()).expect("as root");
    assert!(read > 10 << 20, "only {read} bytes of the edge could be read");
    assert_eq!(in_edge, 0);
    // The look finds what an edge does hold.
    let (urls_in_edge, _) = occurrences(pair.edge.program.id(), urls.first().unwrap().as_bytes()).expect("as root");
    assert!(urls_in_edge > 0);

    let (edge, minter) = (pair.edge.terminate(), pair.minters.into_iter().next().unwrap().program.terminate());
    for ended in [edge, minter] {
        assert!(!ended.assert_code(0).all().contains(&key));
    }
}

#[test]
fn several_edges_get_one_url_for_one_user() {
    let pair = Pair::start(KEY);
    let edges = [pair.another_edge(), pair.another_edge()];
    for user in 0..20 {
        let token = pair.idp.token(&format!("user-{user}"));
        let urls: BTreeSet<String> =
            edges.iter().chain([&pair.edge]).map(|edge| edge.open(&token).location().to_owned()).collect();
        assert_eq!(urls.len(), 1);
    }
    assert_eq!(pair.vendor.mint_calls(), 20);
    let lines =
        until("all are in the audit log", || Some(pair.minters[0].audit_log()).filter(|lines| lines.len() == 60));
    let sources: Vec<Value> = lines.iter().map(|line| line["source"].clone()).collect();
    assert_eq!(sources.iter().filter(|source| *source == "minted").count(), 20);
    assert_eq!(sources.iter().filter(|source| *source == "hit").count(), 40);
}

#[test]
fn a_minter_with_a_store_mints_for_an_edge_that_wants_a_fresher_url_than_the_held_one() {
    let seal_key = ("seal.key", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let leases = "\n[leases]\nstore = \"file\"\npath = \"leases.redb\"\nseal_keys = [{ file = \"seal.key\" }]\n";
    let pair = Pair::with_files(KEY, &[seal_key], 1, |minter| minter + leases, |edge| edge);
    let edge = pair.stranger("edge");
    let url = |ask: &Value| {
        let (status, granted) = edge.mint(ask).expect("an answer");
        assert_eq!(status, 200, "{granted}");
        granted["url"].as_str().expect("a URL").to_owned()
    };
    let held = good(&pair, "ada");
    let mut urls = BTreeSet::from([url(&held)]);
    assert_eq!(url(&held), *urls.first().expect("one"), "what is held is fresh enough");
    // No URL that was minted before has as much life.
    let fresher = with(held, "life_s", 21600);
    for reason in ["miss", "ahead"] {
        assert!(urls.insert(url(&with(fresher.clone(), "reason", reason))), "{reason}");
    }
    assert_eq!(pair.vendor.mint_calls(), 3);
}

#[test]
fn a_users_second_scan_is_a_second_mint_and_the_audit_log_says_why() {
    let pair = Pair::start(KEY);
    let token = pair.idp.token(CANARY_PERSON);
    let first = pair.edge.open(&token).location().to_owned();
    let again = once(&pair.edge.address, "POST", "/plugins/face-scan", &[&bearer(&token)], "");
    assert_eq!(again.status, 303);
    assert_ne!(again.location(), first);
    let lines =
        until("both are in the audit log", || Some(pair.minters[0].audit_log()).filter(|lines| lines.len() == 2));
    let told: Vec<_> = lines.iter().map(|line| (&line["reason"], &line["outcome"], &line["edge"])).collect();
    let (granted, edge) = (json!("granted"), json!(EDGE));
    assert_eq!(told, [(&json!("miss"), &granted, &edge), (&json!("again"), &granted, &edge)]);
    assert_eq!(lines[0]["request_id"].as_str().map(str::len), Some(36));
    // One trace at both.
    let edge = until("the edge's lines are there", || {
        let lines = pair.edge.program.so_far(Stream::Stdout);
        Some(lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>())
            .filter(|lines| lines.len() == 2)
    });
    for (edge, minter) in edge.iter().zip(&lines) {
        assert_eq!((&edge["request_id"], &edge["trace_id"]), (&minter["request_id"], &minter["trace_id"]));
        assert_eq!(edge["trace_id"].as_str().map(str::len), Some(32));
    }
    let text = pair.minters[0].program.so_far(Stream::Stdout);
    for secret in [KEY, &token, &first, CANARY_PERSON] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// An edge that was taken over has a good certificate, and nothing else.
#[test]
fn an_edge_mints_for_nobody_who_is_not_there() {
    let pair = Pair::start(KEY);
    let edge = pair.stranger("edge");
    let (status, granted) = edge.mint(&good(&pair, "ada")).unwrap();
    assert_eq!(status, 200, "{granted}");
    assert!(granted["url"].as_str().unwrap().contains("action_token="));
    let mints = pair.vendor.mint_calls();

    let other = super::stack::Idp::start();
    let (issuer, ada) = (&pair.idp.url, pair.idp.token("ada"));
    let mut forged = ada.clone().into_bytes();
    let place = forged.len() - 20;
    forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for (why, ask) in [
        ("a forged signature", ask(issuer, "ada", &forged)),
        ("a token of another identity provider", ask(issuer, "ada", &other.token("ada"))),
        ("another identity provider's, and it says so", ask(&other.url, "ada", &other.token("ada"))),
        ("somebody else's token", ask(issuer, "bob", &ada)),
        ("somebody else's issuer", ask(&other.url, "ada", &ada)),
        ("no token", with(good(&pair, "ada"), "credential", Value::Null)),
        ("nonsense", ask(issuer, "ada", "x")),
        ("another audience", ask(issuer, "ada", &pair.idp.token_with("ada", json!({ "aud": "other" })))),
    ] {
        let (status, body) = edge.mint(&ask).unwrap();
        assert_eq!((status, &body["refusal"]), (401, &json!("session-invalid")), "{why}: {body}");
    }
    let expired = pair.idp.token_with("ada", json!({ "expires_in": -60 }));
    assert_refused(edge.mint(&ask(issuer, "ada", &expired)), 401, "session-expired");
    assert_refused(edge.mint(&with(good(&pair, "ada"), "plugin", "health-dashboard")), 403, "not-permitted");
    assert_refused(edge.mint(&with(good(&pair, "ada"), "plugin", "none")), 403, "not-permitted");
    assert_refused(edge.mint(&with(good(&pair, "ada"), "language", "en&x=y")), 400, "bad-request");
    assert_refused(edge.mint(&with(good(&pair, "ada"), "sudo", true)), 400, "bad-request");
    assert_refused(edge.ask("POST", "/v1/mint", "{"), 400, "bad-request");
    assert_refused(edge.ask("POST", "/v1/mint", &"x".repeat(70_000)), 400, "bad-request");
    assert_refused(edge.ask("GET", "/v1/mint", ""), 404, "not-found");
    assert_refused(edge.ask("POST", "/v2/mint", ""), 404, "not-found");
    assert_eq!(pair.vendor.mint_calls(), mints, "no refused ask reaches the vendor");
}

#[test]
fn who_is_no_edge_gets_nowhere() {
    let pair = Pair::start(KEY);
    let (folder, minter) = (&pair.folder, &pair.minters[0]);
    pair.authority.sign(folder, "unnamed", "edge-2.internal");
    Authority::new(folder, "other-ca").sign(folder, "foreign", EDGE);
    let stranger = pair.stranger("unnamed");
    assert_refused(stranger.mint(&good(&pair, "ada")), 403, "no-edge");
    assert_refused(stranger.ask("GET", "/v1/health", ""), 403, "no-edge");
    assert_eq!(pair.stranger("foreign").mint(&good(&pair, "ada")), None, "another authority's edge");
    assert_eq!(Stranger::nobody(folder, minter).mint(&good(&pair, "ada")), None, "no certificate");
    // And an edge believes no minter of another authority.
    assert_eq!(Stranger::new(folder, "edge", "other-ca.pem", minter).mint(&good(&pair, "ada")), None);
    assert_eq!(pair.vendor.mint_calls(), 0);
    assert_eq!(pair.stranger("edge").ask("GET", "/v1/health", "").unwrap().1, json!({ "plugins": ["face-scan"] }));
}

#[test]
fn an_edge_does_not_follow_a_minter_to_another_host() {
    let pair = Pair::with(KEY, 1, |minter| minter, |edge| edge.replace("[\"127.0.0.1\"]", "[\"plugin.example\"]"));
    let answer = pair.edge.open(&pair.idp.token("ada"));
    assert_eq!((answer.status, answer.problem().as_str()), (502, "provider-unavailable"));
    assert_eq!(pair.edge.metric("valet_mints_total{outcome=\"forbidden_host\",provider=\"simulated\"}"), 1);
}

#[test]
fn a_minter_that_believes_edges_says_so() {
    let believing = |minter: String| minter.replace("[[minter.edge]]", "verify_sessions = false\n\n[[minter.edge]]");
    let pair = Pair::with(KEY, 1, believing, |edge| edge);
    let (status, _) = pair.stranger("edge").mint(&ask("urn:anyone", "bob", "not a token")).unwrap();
    assert_eq!(status, 200);
    assert_eq!(pair.minters[0].ready()["degraded"], json!(["minter.verify_sessions"]));
    assert!(pair.minters[0].program.so_far(Stream::Stderr).contains("verify_sessions is off"));
}

#[test]
fn an_edge_that_asks_too_often_is_told_to_wait() {
    let slow = |minter: String| {
        minter.replace("per_edge = { rate = 100000, burst = 100000 }", "per_edge = { rate = 1, burst = 3 }")
    };
    let pair = Pair::with(KEY, 1, slow, |edge| edge);
    let edge = pair.stranger("edge");
    for _ in 0..3 {
        assert_eq!(edge.mint(&good(&pair, "ada")).unwrap().0, 200);
    }
    assert_refused(edge.mint(&good(&pair, "ada")), 503, "provider-busy");
}

#[test]
fn an_ask_beyond_the_minters_max_requests_is_told_to_wait_and_counted() {
    let bounded = |minter: String| format!("[server]\nmax_requests = 1\n\n{minter}");
    let pair = Pair::with(KEY, 1, bounded, |edge| edge);
    assert_eq!(pair.stranger("edge").mint(&good(&pair, "held")).unwrap().0, 200);
    pair.vendor.faults(json!({ "on": "mint", "fail": "hang" }));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pair.stranger("edge").mint(&good(&pair, "ada")));
        until("the vendor is asked", || (pair.vendor.mint_calls() == 2).then_some(()));
        assert_refused(pair.stranger("edge").mint(&good(&pair, "bob")), 503, "provider-busy");
        let metric = format!("valet_minter_requests_total{{edge=\"{EDGE}\",outcome=\"overloaded\"}}");
        let text = once(&pair.minters[0].admin, "GET", "/metrics", &[], "").body;
        assert!(text.lines().any(|line| line == format!("{metric} 1")), "{text}");
        assert_refused(waits.join().unwrap(), 504, "provider-timeout");
    });
}

/// Loads the edge with first visits of ever new users until told to stop: how many, and what was not a redirect.
fn first_visits(pair: &Pair, stop: &AtomicBool, number: &AtomicUsize) -> (usize, Vec<u16>) {
    let (mut visits, mut failed) = (0, Vec::new());
    let mut connection = Connection::open(&pair.edge.address);
    while !stop.load(Ordering::Relaxed) {
        let token = pair.idp.token(&format!("user-{}", number.fetch_add(1, Ordering::Relaxed)));
        let answer = connection.ask(&request("GET", "/plugins/face-scan", &[&bearer(&token)], ""));
        visits += 1;
        if answer.status != 302 {
            failed.push(answer.status);
        }
    }
    (visits, failed)
}

/// Runs `act` under first visits from four connections; none of them may fail.
fn while_users_come(pair: &Pair, act: impl FnOnce()) -> usize {
    let (stop, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    let visits = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| first_visits(pair, &stop, &number))).collect();
        let before = number.load(Ordering::Relaxed);
        act();
        until("users came meanwhile", || (number.load(Ordering::Relaxed) > before + 20).then_some(()));
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let failed: Vec<u16> = visits.iter().flat_map(|(_, failed)| failed.clone()).collect();
    let all = visits.iter().map(|(visits, _)| visits).sum();
    assert!(
        failed.is_empty(),
        "{} of {all} failed, the first ones with {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    all
}

/// The new key beside the old one, then at the vendor, then alone: nobody notices.
#[test]
fn the_key_is_rotated_under_load_and_no_redirect_fails() {
    const OLD: &str = "old-key-of-this-test";
    const NEW: &str = "new-key-of-this-test";
    let two = |minter: String| {
        minter.replace("{ file = \"vendor.key\" }", "[{ file = \"vendor.key\" }, { file = \"next.key\" }]")
    };
    let pair = Pair::with_files(OLD, &[("next.key", OLD)], 1, two, |edge| edge);
    let visits = while_users_come(&pair, || {
        pair.folder.replace("next.key", &format!("{NEW}\n"));
        pair.minters[0].program.line(Stream::Stderr, |line| line.contains("it has changed").then_some(()));
        pair.vendor.accept_only(NEW);
        // Pause: users come under the old key.
        std::thread::sleep(Duration::from_millis(300));
        pair.folder.replace("vendor.key", &format!("{NEW}\n"));
        // Pause: users come under the new key, longer than anything is remembered.
        std::thread::sleep(Duration::from_millis(2500));
    });
    assert!(visits > 50, "{visits}");
    assert!(pair.vendor.mint_calls() >= visits as u64);
}

#[test]
fn a_minter_that_is_killed_is_replaced_by_the_other_and_no_redirect_fails() {
    let mut pair = Pair::with(KEY, 2, |minter| minter, |edge| edge);
    let first = pair.minters.remove(0);
    let visits = while_users_come(&pair, || {
        // Pause: users come to the first minter.
        std::thread::sleep(Duration::from_millis(300));
        first.program.signal("KILL");
        // Pause: users come while it is gone.
        std::thread::sleep(Duration::from_secs(2));
    });
    assert!(visits > 50, "{visits}");
    let gone = format!("valet_minter_up{{minter=\"https://localhost:{}\",provider=\"simulated\"}}", first.port());
    assert_eq!(pair.edge.metric(&gone), 0);
    assert!(pair.edge.admin("/metrics").body.contains(&gone), "{}", pair.edge.admin("/metrics").body);
    assert!(!pair.minters[0].audit_log().is_empty());
    assert_eq!(pair.edge.admin("/readyz").json()["degraded"], json!([]));
}

#[test]
fn a_minter_that_hangs_is_left_within_the_time_of_one_mint() {
    let pair = Pair::with(KEY, 2, |minter| minter, |edge| edge);
    let visits = while_users_come(&pair, || {
        // Pause: users come to the first minter.
        std::thread::sleep(Duration::from_millis(300));
        pair.minters[0].program.signal("STOP");
        // Pause: it hangs longer than one mint may take.
        std::thread::sleep(Duration::from_secs(4));
        pair.minters[0].program.signal("CONT");
        // Pause: users come when it is back.
        std::thread::sleep(Duration::from_secs(2));
    });
    assert!(visits > 50, "{visits}");
    assert!(pair.edge.program.so_far(Stream::Stderr).contains("minter is back"));
}

#[test]
fn a_minter_that_drains_lets_its_mints_end_and_edges_go_elsewhere() {
    let mut pair = Pair::with(KEY, 2, |minter| minter, |edge| edge);
    let first = pair.minters.remove(0);
    pair.vendor.faults(json!({ "on": "mint", "delay": "3s" }));
    let tokens: Vec<String> = (0..40).map(|user| pair.idp.token(&format!("user-{user}"))).collect();
    let ended = std::thread::scope(|scope| {
        let visits: Vec<_> = tokens.iter().map(|token| scope.spawn(|| pair.edge.open(token).status)).collect();
        until("all are under way", || (pair.vendor.mint_calls() == 40).then_some(()));
        let ended = first.program.terminate();
        assert!(visits.into_iter().all(|visit| visit.join().expect("no panic") == 302));
        ended
    });
    ended.assert_code(0);
    let drained = ended.stdout.lines().filter(|line| line.contains("\"outcome\":\"granted\"")).count();
    assert!((1..40).contains(&drained), "{drained} of 40 were this minter's");
    assert_eq!(pair.vendor.mint_calls(), 40, "nothing was minted twice");
    pair.vendor.faults(json!({}));
    assert_eq!(pair.edge.open(&pair.idp.token("bob")).status, 302);
}

/// The edge knows one issuer and sees no clash; the minter knows two.
#[test]
fn a_minter_mints_for_no_name_that_reads_as_another_issuers() {
    // It is there: without its keys the minter would be ready after 30 s, as the test gives up.
    let corp = super::stack::Idp::start();
    let two = |minter: String| {
        let second = format!(
            "[[session.issuer]]\nissuer = \"{}\"\naudiences = [\"my-app\"]\nalgorithms = [\"ES256\"]\n\
             keys = {{ discovery = true }}\nexternal_id = \"corp-{{sub}}\"\n",
            corp.url
        );
        minter.replace("keys = { discovery = true }", "keys = { discovery = true }\nexternal_id = \"{sub}\"") + &second
    };
    let pair = Pair::with(KEY, 1, two, |edge| edge);
    assert_eq!(pair.edge.open(&pair.idp.token("corp-ada")).status, 403);
    assert_eq!(pair.vendor.mint_calls(), 0);
    assert_eq!(pair.edge.open(&pair.idp.token("ada")).status, 302);
}

/// A provider under a second name, known to edge and minter alike.
#[test]
fn an_edge_and_a_minter_agree_whose_subjects_a_moved_issuer_has() {
    let new = super::stack::Idp::start();
    let moved = |file: String| {
        let old = file.split("issuer = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("an issuer");
        let second = format!(
            "[[session.issuer]]\nissuer = \"{}\"\naudiences = [\"my-app\"]\nsubjects_of = \"{old}\"\n\
             keys = [{{ discovery = true, algorithms = [\"ES256\"] }}]\n",
            new.url
        );
        file + &second
    };
    let pair = Pair::with(KEY, 1, moved, moved);
    let url = pair.edge.open(&pair.idp.token("ada")).location().to_owned();
    assert_eq!(pair.edge.open(&new.token("ada")).location(), url);
    let scan_again = once(&pair.edge.address, "POST", "/plugins/face-scan", &[&bearer(&new.token("ada"))], "");
    assert_eq!(scan_again.status, 303);
    assert_eq!(pair.edge.open(&pair.idp.token("ada")).location(), scan_again.location());
    assert_eq!(pair.vendor.mint_calls(), 2);
    let lines =
        until("both are in the audit log", || Some(pair.minters[0].audit_log()).filter(|lines| lines.len() == 2));
    assert_eq!(lines[0]["subject"], lines[1]["subject"]);

    // A minter that does not know of the move takes the new token for another person's.
    let apart = |minter: String| {
        let own =
            minter.replace("keys = { discovery = true }\n", "keys = { discovery = true }\nexternal_id = \"{sub}\"\n");
        moved(own).replace("subjects_of", "external_id = \"new-{sub}\"\n#")
    };
    let pair = Pair::with(KEY, 1, apart, moved);
    assert_eq!(pair.edge.open(&new.token("ada")).status, 401);
    assert_eq!(pair.vendor.mint_calls(), 0);
}

/// What edge and minter call a person, and who shares a URL, must not differ: else one person gets another's.
#[test]
fn an_edge_and_a_minter_that_differ_share_nothing_too_much() {
    let tenant = |minter: String| {
        minter.replace(
            "keys = { discovery = true }",
            "keys = { discovery = true }\nexternal_id = \"{claim:tenant}-{sub}\"",
        )
    };
    let pair = Pair::with(KEY, 1, tenant, |edge| edge);
    for tenant in ["red", "blue"] {
        let token = pair.idp.token_with("ada", json!({ "tenant": tenant }));
        assert_eq!(pair.edge.open(&token).status, 502);
    }
    assert_eq!(pair.vendor.mint_calls(), 0);
    assert!(pair.minters[0].program.so_far(Stream::Stderr).contains("differ in the issuer's `external_id`"));

    let plugin = "[[plugin]]\nname = \"face-scan\"\nprovider = \"simulated\"\nmint = \"face-scan\"\npath = \"/x\"\nreuse = \"user\"\n";
    for (reuse, urls) in [("never", 4), ("session", 2), ("user", 1)] {
        let edge = |edge: String| edge.replace("reuse = \"user\"", &format!("reuse = \"{reuse}\""));
        let pair = Pair::with(KEY, 1, |minter| minter + plugin, edge);
        let tokens = ["one", "two"].map(|session| pair.idp.token_with("ada", json!({ "sid": session })));
        let got: BTreeSet<String> =
            tokens.iter().chain(&tokens).map(|token| pair.edge.open(token).location().to_owned()).collect();
        assert_eq!(got.len(), urls, "{reuse}");
    }
}

#[test]
fn what_the_minter_has_against_a_session_the_browser_hears() {
    // Half a minute of tolerance at the edge, none at the minter.
    let strict = |minter: String| {
        format!("{minter}\n").replace("[[session.issuer]]", "[session]\nclock_skew = \"0s\"\n\n[[session.issuer]]")
    };
    let pair = Pair::with(KEY, 1, strict, |edge| edge);
    let answer = pair.edge.open(&pair.idp.token_with("ada", json!({ "expires_in": -5 })));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "session-expired"));
    // Not remembered against the person.
    assert_eq!(pair.edge.open(&pair.idp.token("ada")).status, 302);
}

#[test]
fn an_edge_that_breaks_off_stands_in_the_audit_log_all_the_same() {
    let pair = Pair::start(KEY);
    pair.vendor.faults(json!({ "on": "mint", "delay": "2s" }));
    let ask = with(good(&pair, "ada"), "deadline_ms", 20_000).to_string();
    pair.stranger("edge")
        .break_off(&ask, || until("the vendor has been asked", || (pair.vendor.mint_calls() == 1).then_some(())));
    let lines = until("the line is there", || Some(pair.minters[0].audit_log()).filter(|lines| !lines.is_empty()));
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &json!("granted")));
    assert_eq!(pair.vendor.mint_calls(), 1);
}

#[test]
fn without_a_minter_held_leases_go_on_and_others_get_the_tables_answer() {
    // Of its own for the while that the minter is gone.
    let port = free_port(0);
    let mut pair =
        Pair::with(KEY, 1, |minter| minter.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1), |edge| edge);
    let (ada, bob) = (pair.idp.token("ada"), pair.idp.token("bob"));
    let held = pair.edge.open(&ada).location().to_owned();
    let minter = pair.minters.remove(0);
    minter.program.terminate().assert_code(0);
    assert_eq!(pair.edge.open(&ada).location(), held);
    let answer = pair.edge.open(&bob);
    assert_eq!((answer.status, answer.problem().as_str()), (502, "provider-unavailable"));
    until("it is degraded", || {
        (pair.edge.admin("/readyz").json()["degraded"] == json!(["provider:simulated"])).then_some(())
    });
    // Back on the same port: no restart of the edge.
    let _minter = Minter::start(pair.folder.path(), "minter.toml");
    until("it mints again", || (pair.edge.open(&bob).status == 302).then_some(()));
}

#[test]
fn a_vendor_in_trouble_looks_through_a_minter_as_without_one() {
    let slow = |minter: String| minter.replace("[\"127.0.0.1\"]", "[\"127.0.0.1\"]\ntimeout = \"1s\"");
    let pair = Pair::with(KEY, 1, slow, |edge| edge);
    for (fault, status, problem) in [
        (json!({ "on": "mint", "fail": 500 }), 502, "provider-unavailable"),
        (json!({ "on": "mint", "fail": 403 }), 502, "provider-unavailable"),
        (json!({ "on": "mint", "url": "wrong-host" }), 502, "provider-unavailable"),
        (json!({ "on": "mint", "fail": "hang" }), 504, "provider-timeout"),
        (json!({ "on": "mint", "fail": 429, "retry_after": 1 }), 503, "provider-busy"),
    ] {
        pair.vendor.faults(fault.clone());
        let answer = pair.edge.open(&pair.idp.token(&format!("user-{fault}")));
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{fault}: {answer:?}");
    }
}

#[test]
fn check_live_of_an_edge_asks_its_minters_and_mints_nothing() {
    let pair = Pair::start(KEY);
    let check = || super::process::end_of(pair.folder.path(), &["check", "--config", "valet.toml", "--live"]);
    let ended = check();
    ended.assert_code(0);
    assert!(ended.stdout.contains("there; this edge may mint face-scan"), "{}", ended.stdout);
    assert_eq!(pair.vendor.mint_calls(), 0);

    let file = std::fs::read_to_string(pair.folder.path().join("valet.toml")).unwrap();
    pair.folder.write("valet.toml", &file.replace("mint = \"face-scan\"", "mint = \"health-dashboard\""));
    let ended = check();
    ended.assert_code(69);
    assert!(ended.only_line().contains("has no \"health-dashboard\" for this edge"), "{}", ended.stderr);

    pair.authority.sign(&pair.folder, "edge", "edge-9.internal");
    assert!(check().assert_code(69).stderr.contains("refuses this edge (no-edge)"));
    pair.minters[0].program.signal("KILL");
    assert!(check().assert_code(69).stderr.contains("can't be reached"));
}

#[test]
fn new_certificates_are_taken_without_a_restart() {
    let pair = Pair::start(KEY);
    // A new authority for edges, and a new certificate of the edge by it: both sides look at their files.
    let next = Authority::new(&pair.folder, "next-ca");
    let both = ["ca.pem", "next-ca.pem"].map(|name| std::fs::read_to_string(pair.folder.path().join(name)).unwrap());
    pair.folder.replace("ca.pem", &both.concat());
    next.sign(&pair.folder, "edge", EDGE);
    let began = Stopwatch::start();
    until("the minter believes the new authority", || {
        pair.stranger("edge").ask("GET", "/v1/health", "").filter(|(status, _)| *status == 200)
    });
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(pair.edge.open(&pair.idp.token("ada")).status, 302);
}

/// Another process of the same user neither reads its memory nor its environment, and it leaves no core file.
#[test]
fn a_running_valet_is_closed_to_its_own_user() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let stack = super::stack::Stack::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", stack.gateway.program.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);

    let closed = |pid: u32| {
        let cat = std::process::Command::new("cat").arg(format!("/proc/{pid}/environ")).uid(NOBODY).output();
        cat.map(|done| !done.status.success())
    };
    let spawn = |words: &[&str]| {
        let mut command = super::process::valet(stack.folder.path(), words);
        command.uid(NOBODY);
        super::process::Program::start(command)
    };
    let open_to_all = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(stack.folder.path(), open_to_all.clone()).unwrap();
    for file in ["valet.toml", "vendor.key"] {
        std::fs::set_permissions(stack.folder.path().join(file), open_to_all.clone()).unwrap();
    }
    let plain = std::process::Command::new("sleep").arg("30").uid(NOBODY).spawn();
    let Ok(mut plain) = plain else { return left_out("only root becomes another user") };
    let plain_is_open = !closed(plain.id()).unwrap();
    let _ = plain.kill();
    let _ = plain.wait();
    assert!(plain_is_open, "the look finds a closed door where none is");
    let gateway = super::stack::Gateway::serving(spawn(&["run", "--config", "valet.toml"]));
    assert!(closed(gateway.program.id()).unwrap());
}

#[test]
fn tokens_and_parameters_pass_between_edge_and_minter() {
    let of_minter = |text: String| {
        let text = text.replace("plugins = [\"face-scan\"]", "plugins = [\"face-scan\", \"board\"]");
        format!(
            "{text}\n[[provider]]\nname = \"signed\"\napi_key = {{ file = \"vendor.key\" }}\n[provider.mint.token]\ntoken = \"jwt\"\n\
             jwt = {{ algorithm = \"HS256\", claims = {{ sub = \"{{subject}}\", board = \"{{param:board}}\", exp = \"{{now+10m:epoch#}}\" }} }}\n\
             [[plugin]]\nname = \"board\"\nprovider = \"signed\"\nmint = \"token\"\npath = \"/board\"\nreuse = \"user\"\nparameters = {{ board = [\"sales\", \"care\"] }}\n"
        )
    };
    let of_edge = |text: String| {
        let link = text.lines().find(|line| line.starts_with("minter = ")).expect("the way to the minter").to_owned();
        format!(
            "{text}\n[[provider]]\nname = \"signed\"\n{link}\nredirect_hosts = [\"embed.acme.example\"]\n\
             [[plugin]]\nname = \"board\"\nprovider = \"signed\"\nmint = \"board\"\npath = \"/plugins/board\"\nreuse = \"user\"\n\
             parameters = {{ board = [\"sales\", \"care\", \"secret\"] }}\n"
        )
    };
    let pair = Pair::with(KEY, 1, of_minter, of_edge);
    let token = pair.idp.token("ada");
    let get = |query: &str, accept: &str| {
        let fields = [bearer(&token), format!("Accept: {accept}")];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        Connection::open(&pair.edge.address).ask(&request("GET", &format!("/plugins/board{query}"), &fields, ""))
    };
    let of = |board: &str| {
        let answer = get(&format!("?board={board}"), "application/json");
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        assert!(json.get("url").is_none() && json["expires_in"].as_u64().is_some_and(|left| left <= 600), "{json}");
        json["token"].as_str().expect("a token").to_owned()
    };
    let (sales, care) = (of("sales"), of("care"));
    assert!(sales != care && of("sales") == sales, "each is held for its own parameter");
    assert_eq!(get("?board=sales", "text/html").status, 406);
    assert_eq!(get("?board=other", "application/json").status, 400);
    // The edge lists it, the minter does not.
    assert_eq!(get("?board=secret", "application/json").status, 502);

    let stranger = pair.stranger("edge");
    let ask = with(good(&pair, "ada"), "plugin", "board");
    assert_refused(stranger.mint(&ask), 400, "bad-request");
    assert_refused(
        stranger.mint(&with(ask.clone(), "parameters", json!({ "board": "sales", "x": "y" }))),
        400,
        "bad-request",
    );
    let (status, granted) = stranger.mint(&with(ask, "parameters", json!({ "board": "sales" }))).expect("an answer");
    assert_eq!((status, granted.get("url"), &granted["token"]), (200, None, &json!(sales)));
}
