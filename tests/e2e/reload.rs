//! Another configuration while the gateway runs: what changes, and what is carried over.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use valet_gateway::demo::provider::Faults;

use crate::http2::{ask, http2_of};
use crate::kit::{App, FACE_SCAN, Setup, Stack, Wire, until};

/// Another plug-in of the same vendor.
const SECOND: &str = "[[plugin]]\nname = \"second\"\nprovider = \"intelliprove\"\nmint = \"face-scan\"\npath = \"/plugins/second\"\nreuse = \"user\"\n";

#[tokio::test]
async fn a_plug_in_that_is_added_answers_and_the_leases_of_the_others_stay() {
    let stack = Setup::new().start().await;
    let url = stack.url_of("ada").await;
    let registered = stack.vendor().calls().len();
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(404);
    let changed = stack.reload_with(&format!("{}{SECOND}", stack.config())).await;
    assert_eq!(changed, ["plugin.second"]);
    assert_eq!(stack.url_of("ada").await, url);
    assert_eq!(stack.mints("ok"), 1);
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(302);
    // One call more, which mints: the registration of before is remembered.
    assert_eq!(stack.vendor().calls().len(), registered + 1);
    // The token was verified once.
    let checks = |outcome| stack.count("valet_session_checks_total", &[("outcome", outcome)]);
    assert_eq!((checks("valid"), checks("cached")), (1, 2));
}

#[tokio::test]
async fn a_plug_in_that_is_taken_out_answers_no_more() {
    let stack = Setup::new().tables(SECOND).start().await;
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(302);
    assert_eq!(stack.reload_with(&stack.config().replace(SECOND, "")).await, ["plugin.second"]);
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(404);
}

#[tokio::test]
async fn a_connection_that_stands_sees_the_new_configuration_with_its_next_request() {
    let stack = Setup::new().start().await;
    let mut wire = stack.wire().await;
    let ask = stack.get("/plugins/second").as_user("ada").bytes();
    wire.write(&ask).await;
    wire.answer().await.assert_status(404);
    stack.reload_with(&format!("{}{SECOND}", stack.config())).await;
    wire.write(&ask).await;
    wire.answer().await.assert_status(302);
}

#[tokio::test]
async fn a_proxy_that_is_trusted_no_more_speaks_for_nobody_on_a_connection_that_stands() {
    let app = App::start().await;
    let client = "203.0.113.7";
    for http_2 in [false, true] {
        let setup = Setup::new().server("trusted_proxies = [\"127.0.0.1\"]").app(&app, "session = \"none\"");
        let (stack, mut send, mut wire) = if http_2 {
            let (stack, send, _) = http2_of(setup).await;
            (stack, Some(send), None)
        } else {
            let stack = setup.start().await;
            let wire = stack.wire().await;
            (stack, None, Some(wire))
        };
        for trusted in [true, false, true] {
            let list = if trusted { "[\"127.0.0.1\"]" } else { "[\"192.0.2.1\"]" };
            let (line, text) = ("trusted_proxies = ", stack.config());
            let rest = text.split_once(line).expect("a list").1.split_once('\n').expect("a line").0.to_owned();
            stack.reload_with(&text.replace(&format!("{line}{rest}"), &format!("{line}{list}"))).await;
            if let Some(send) = &mut send {
                assert_eq!(ask(send, "GET", "/x", &[("x-forwarded-for", client)], "").await.status, 200);
            }
            if let Some(wire) = &mut wire {
                wire.write(stack.get("/x").field("x-forwarded-for", client).bytes()).await;
                wire.answer().await.assert_status(200);
            }
            let told = app.last().field("x-forwarded-for").map(ToOwned::to_owned);
            let expected = if trusted { "203.0.113.7, 127.0.0.1" } else { "127.0.0.1" };
            assert_eq!(told.as_deref(), Some(expected), "HTTP/2: {http_2}");
        }
    }
}

#[tokio::test]
async fn a_file_that_says_the_same_changes_nothing_and_is_counted() {
    let stack = Setup::new().start().await;
    let none: [&str; 0] = [];
    assert_eq!(stack.reload_with(&stack.config()).await, none);
    assert_eq!(stack.reload_with(&format!("# a remark\n{}", stack.config())).await, none);
    assert_eq!(stack.count("valet_reloads_total", &[("outcome", "unchanged")]), 2);
    assert_eq!(stack.count("valet_reloads_total", &[("outcome", "applied")]), 0);
}

/// The samples that say which file is in force.
fn digests(stack: &Stack) -> Vec<String> {
    let text = stack.metrics.text();
    let lines = text.lines().filter(|line| line.starts_with("valet_config_info{") && line.ends_with(" 1"));
    lines.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_digest_is_that_of_the_file_also_where_a_remark_alone_has_changed() {
    let stack = Setup::new().start().await;
    let (first, text) = (digests(&stack), stack.config());
    assert!(stack.reload_with(&format!("# a remark\n{text}")).await.is_empty());
    let remarked = digests(&stack);
    assert_eq!((first.len(), remarked.len()), (1, 1));
    assert_ne!(first, remarked);
    // Of what is replaced behind it nothing is left.
    assert_eq!(stack.reload_with(&text.replace("[session]", "[session]\nclock_skew = \"10s\"")).await, ["session"]);
    assert_eq!(digests(&stack).len(), 1);
    stack.reload_with(&text).await;
    assert_eq!(digests(&stack), first);
}

#[tokio::test]
async fn what_changed_is_named_and_the_metrics_say_what_is_in_force() {
    let stack = Setup::new().start().await;
    let before = digests(&stack);
    let loaded = stack.count("valet_config_loaded_timestamp_seconds", &[]);
    stack.advance(Duration::from_secs(100));
    let text = stack.config().replace("[session]", "[session]\nclock_skew = \"10s\"");
    let text = text.replace("redirect_hosts = [\"127.0.0.1\"]", "redirect_hosts = [\"127.0.0.1\", \"embed.example\"]");
    let changed = stack.reload_with(&format!("{text}[limits]\nper_address = {{ rate = 1000, burst = 1000 }}\n")).await;
    assert_eq!(changed, ["limits", "provider.intelliprove", "session"]);
    assert_eq!(stack.count("valet_config_loaded_timestamp_seconds", &[]), loaded + 100);
    let after = digests(&stack);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    assert_eq!(stack.count("valet_reloads_total", &[("outcome", "applied")]), 1);
}

#[tokio::test]
async fn a_recipe_that_changes_gives_up_its_own_leases_alone() {
    let stack = Setup::new().start().await;
    let url = stack.url_of("ada").await;
    let changed =
        stack.config().replace("redirect_hosts = [\"127.0.0.1\"]", "redirect_hosts = [\"127.0.0.1\", \"x.example\"]");
    stack.reload_with(&changed).await;
    assert_ne!(stack.url_of("ada").await, url, "what decides where a URL may lead has changed");
    assert_eq!(stack.mints("ok"), 2);
}

#[tokio::test]
async fn a_request_ends_by_the_configuration_that_it_began_with() {
    let app = App::start().await;
    let stack = Stack::before(&app, "path = \"/portal/\"").await;
    let mut under_way = stack.get("/portal/later").as_user("ada").start().await;
    crate::kit::until("the app has it", || app.seen().len() == 1).await;
    let text = stack.config();
    let (without, _) = text.split_once("[[app]]").expect("an app");
    assert_eq!(stack.reload_with(without).await, ["app.portal"]);
    stack.get("/portal/later").as_user("ada").send().await.assert_status(404);
    app.go_on();
    under_way.answer().await.assert_status(200);
}

#[tokio::test]
async fn a_breaker_that_is_open_stays_open_and_a_limit_counts_on() {
    let breaker = "breaker = { failures = 1, within = \"10s\", pause = \"60s\" }";
    let limit = "[limits]\nper_subject = { rate = 1, burst = 3 }\n";
    let stack = Setup::new().provider(breaker).tables(limit).start().await;
    stack.vendor_does(Faults::status(500));
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(502);
    stack.vendor_does(Faults::default());
    stack.reload_with(&format!("{}{SECOND}", stack.config())).await;
    assert_eq!(stack.count("valet_degraded", &[("what", "provider:intelliprove")]), 1);
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(503);
    // What failed a moment ago is remembered, too.
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(502);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(429);
}

#[tokio::test]
async fn a_verified_token_ends_with_its_key() {
    let stack = Setup::new().start().await;
    let token = stack.token("ada");
    stack.url_of("ada").await;
    let issuer = stack.idp().issuer();
    let text = stack.config().replace("[session]\n", "[session]\nmax_token_bytes = 9000\n");
    assert_eq!(stack.reload_with(&text).await, ["session"]);
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
    // Another issuer in its place: its keys vouch for nothing any more.
    let text = stack.config().replace(&format!("issuer = \"{issuer}\""), "issuer = \"http://127.0.0.1:9\"");
    let mut names = [format!("issuer.{issuer}"), "issuer.http://127.0.0.1:9".to_owned()];
    names.sort_unstable();
    assert_eq!(stack.reload_with(&text).await, names);
    stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(401);
}

#[tokio::test]
async fn keys_that_were_fetched_are_carried_over_while_their_issuer_is_gone() {
    let stack = Setup::new().start().await;
    stack.url_of("ada").await;
    let bob = stack.token("bob");
    stack.idp().set_faults(valet_gateway::demo::idp::IdpFaults::failing(valet_gateway::demo::fault::Fail::Status(
        http::StatusCode::INTERNAL_SERVER_ERROR,
    )));
    stack.reload_with(&stack.config().replace("[session]\n", "[session]\nclock_skew = \"20s\"\n")).await;
    stack.get(FACE_SCAN).bearer(&bob).send().await.assert_status(302);
}

#[tokio::test]
async fn policies_are_read_again_and_hold_for_sessions_that_are_known() {
    let stack = Setup::new().policies(&[("all.cedar", "permit (principal, action, resource);")]).start().await;
    stack.url_of("ada").await;
    std::fs::write(stack.directory.path().join("policies/all.cedar"), "").unwrap();
    assert_eq!(stack.reload_with(&stack.config()).await, ["policies"]);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(403);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_used_from_the_reload_on() {
    let stack = Setup::new().start().await;
    stack.url_of("ada").await;
    let keys = stack.vendor().keys();
    std::fs::write(stack.directory.path().join("key-0"), "another-key-than-the-vendors").unwrap();
    assert_eq!(stack.reload_with(&stack.config()).await, ["provider.intelliprove"]);
    stack.get(FACE_SCAN).as_user("bob").send().await.assert_status(502);
    std::fs::write(stack.directory.path().join("key-0"), &keys[0]).unwrap();
    assert_eq!(stack.reload_with(&stack.config()).await, ["provider.intelliprove"]);
    stack.get(FACE_SCAN).as_user("carol").send().await.assert_status(302);
}

#[tokio::test]
async fn who_has_the_token_reloads_and_is_told_what_changed_or_why_nothing_did() {
    let stack = Setup::new().file("token", "the-token-of-this-test").start().await;
    let post = async |authorization: &str| {
        let mut wire = Wire::open(&stack.admin).await;
        let head = "POST /api/reload HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n";
        wire.write(format!("{head}{authorization}\r\n")).await;
        wire.answer_to("POST").await
    };
    let bearer = "Authorization: Bearer the-token-of-this-test\r\n";
    post(bearer).await.assert_status(404);
    stack.reload_with(&stack.config().replace("[admin]\n", "[admin]\ntoken = { file = \"token\" }\n")).await;
    post("").await.assert_status(401);
    assert_eq!(post(bearer).await.assert_status(200).json(), serde_json::json!({ "changed": [] }));
    let good = stack.config();
    stack.write_config(&format!("{good}{SECOND}"));
    assert_eq!(post(bearer).await.assert_status(200).json(), serde_json::json!({ "changed": ["plugin.second"] }));
    stack.write_config(&good.replace("reuse = \"user\"", "reuse = \"users\""));
    let answer = post(bearer).await;
    let faults = answer.assert_status(422).json()["faults"].clone();
    let first = faults[0].as_str().unwrap().to_owned();
    assert!(first.starts_with("valet.toml:") && first.contains("reuse"), "{faults}");
    // The one before is in force whole.
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(302);
}

#[tokio::test]
async fn who_was_signed_out_stays_signed_out_also_with_another_key_of_hashes() {
    let key = "0123456789abcdef0123456789abcdef";
    let setup = Setup::new().file("token", "the-token-of-this-test").file("hashes", key);
    let stack = setup.start().await;
    let issuer = stack.idp().issuer();
    stack.url_of("ada").await;
    let with = stack.config().replace("[admin]\n", "[admin]\ntoken = { file = \"token\" }\n");
    stack.reload_with(&with).await;
    let body = format!("{{\"issuer\":\"{issuer}\",\"subject\":\"ada\"}}");
    let mut wire = Wire::open(&stack.admin).await;
    let head = "POST /api/sessions/revoke HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer the-token-of-this-test\r\n";
    wire.write(format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())).await;
    wire.answer_to("POST").await.assert_status(204);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(401);
    stack.reload_with(&with.replace("[session]\n", "[session]\nclock_skew = \"20s\"\n")).await;
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(401);
    let hashes = with.replace("[session]\n", "[log]\nsubject_key = { file = \"hashes\" }\n[session]\n");
    assert_eq!(stack.reload_with(&hashes).await, ["log", "session"]);
    stack.get(FACE_SCAN).as_user("ada").send().await.assert_status(401);
    stack.get(FACE_SCAN).as_user("bob").send().await.assert_status(302);
}

/// Asks on kept and on new connections until it is told to stop; every answer must be the plug-in's. How many there were.
async fn ask_all_the_time(stack: &Stack, user: &str, stop: &AtomicBool) -> usize {
    let ask = stack.get(FACE_SCAN).as_user(user).bytes();
    let (mut wire, mut served) = (stack.wire().await, 0);
    while !stop.load(Ordering::Relaxed) {
        wire.write(&ask).await;
        wire.answer().await.assert_status(302);
        served += 1;
        if served % 20 == 0 {
            wire = stack.wire().await;
        }
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_one_configuration_follows_the_other() {
    let stack = Setup::new().start().await;
    let (one, stop) = (stack.config(), AtomicBool::new(false));
    let other = format!("{one}{SECOND}").replace("[session]\n", "[session]\nclock_skew = \"20s\"\n");
    for user in ["ada", "bob", "carol", "dan"] {
        stack.url_of(user).await;
    }
    let asking = ["ada", "bob", "carol", "dan"].map(|user| ask_all_the_time(&stack, user, &stop));
    let reloading = async {
        for round in 0..10 {
            let changed = stack.reload_with(if round % 2 == 0 { &other } else { &one }).await;
            assert_eq!(changed, ["plugin.second", "session"]);
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (served, ()) = tokio::join!(futures_util::future::join_all(asking), reloading);
    assert!(served.iter().all(|served| *served > 0), "{served:?}");
    assert_eq!((stack.mints("ok"), stack.count("valet_reloads_total", &[("outcome", "applied")])), (4, 10));
}

#[tokio::test]
async fn a_volume_whose_links_are_swapped_is_put_in_force_by_itself() {
    let stack = Setup::new().server("watch = true").start().await;
    let (folder, text) = (stack.directory.path(), stack.config());
    for (version, text) in [("one", text.clone()), ("two", format!("{text}{SECOND}"))] {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("valet.toml"), text).unwrap();
    }
    symlink("one", folder.join("..data")).unwrap();
    std::fs::remove_file(folder.join("valet.toml")).unwrap();
    symlink("..data/valet.toml", folder.join("valet.toml")).unwrap();
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(404);
    // As the kubelet does it.
    symlink("two", folder.join("..tmp")).unwrap();
    std::fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    crate::kit::until("it is in force", || stack.count("valet_reloads_total", &[("outcome", "applied")]) == 1).await;
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(302);
}

#[tokio::test]
async fn leases_of_a_recipe_that_has_changed_leave_the_memory() {
    let stack = Setup::new().tables(SECOND).start().await;
    stack.url_of("ada").await;
    stack.get("/plugins/second").as_user("ada").send().await.assert_status(302);
    assert_eq!(stack.count("valet_leases_held", &[]), 2);
    // A plug-in that is taken out takes its leases along, and only them.
    let config = stack.config();
    stack.reload_with(&config.replace(SECOND, "")).await;
    until("its lease is gone", || stack.count("valet_leases_held", &[]) == 1).await;
    let text = config.replace("redirect_hosts = [\"127.0.0.1\"]", "redirect_hosts = [\"127.0.0.1\", \"y.example\"]");
    stack.reload_with(&text).await;
    until("the other is gone", || stack.count("valet_leases_held", &[]) == 0).await;
}

#[tokio::test]
async fn what_is_held_follows_a_max_age_that_has_become_shorter() {
    let stack = Setup::new().plugin("max_age = \"6h\"").start().await;
    let ada = stack.url_of("ada").await;
    stack.advance(Duration::from_secs(1800));
    let bob = stack.url_of("bob").await;
    assert_eq!(stack.count("valet_leases_held", &[]), 2);
    stack.reload_with(&stack.config().replace("max_age = \"6h\"", "max_age = \"20m\"")).await;
    until("what is too old is gone", || stack.count("valet_leases_held", &[]) == 1).await;
    assert_ne!(stack.url_of("ada").await, ada);
    assert_eq!(stack.url_of("bob").await, bob);
}
