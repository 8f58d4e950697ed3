//! `valet check --live`: the identity provider and the vendor tried out.

use serde_json::json;
use valet_gateway::demo::fault::REDIRECT_TARGET;

use super::process::{Ended, NOBODY, end_of, jwt_in};
use super::stack::{Folder, Idp, Vendor};

const KEY: &str = "canary-api-key-of-the-live-check";

fn folder(vendor: &str, idp: &str, key: &str) -> Folder {
    let folder = Folder::new();
    folder.configure(vendor, idp, key, |config| config);
    folder
}

fn check_live(folder: &Folder) -> Ended {
    let ended = end_of(folder.path(), &["check", "--config", "valet.toml", "--live"]);
    for secret in ["canary-api-key", "action_token"] {
        assert!(!ended.all().contains(secret), "{secret} in:\n{}", ended.all());
    }
    assert_eq!(jwt_in(&ended.all()), None, "{}", ended.all());
    ended
}

/// 69, and one line that names whose fault it is and where to look.
fn assert_unavailable(ended: &Ended, names: &[&str]) {
    ended.assert_code(69);
    let line = ended.only_line();
    for name in names {
        assert!(line.contains(name), "no {name:?} in: {line}");
    }
}

#[test]
fn when_all_is_well_it_prints_the_remaining_life_and_no_secret() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let ended = check_live(&folder(&vendor.url, &idp.url, KEY));
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
    let line = ended.stdout.lines().find(|line| line.contains("face-scan")).expect("a line for the plug-in");
    assert!(line.contains("its URL is good for 6h"), "{line}");
    assert!(ended.stdout.lines().any(|line| line.contains(&idp.url)), "{}", ended.stdout);
    assert!(!ended.all().contains(&format!("{}/?", vendor.url)), "{}", ended.all());
    assert_eq!(vendor.mint_calls(), 1);
}

#[test]
fn a_life_that_max_age_ends_earlier_is_told() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let folder = folder(&vendor.url, &idp.url, KEY);
    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    folder.write("valet.toml", &text.replace("reuse = \"user\"", "reuse = \"user\"\nmax_age = \"1h\""));
    let ended = check_live(&folder);
    ended.assert_code(0);
    let line = "its URL is good for 6h, and is held for 1h at most (max_age)";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
}

#[test]
fn a_url_without_an_end_is_said_to_have_none() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    vendor.faults(json!({ "url": "no-exp" }));
    let ended = check_live(&folder(&vendor.url, &idp.url, KEY));
    ended.assert_code(0);
    assert!(ended.stdout.contains("says no end"), "{}", ended.stdout);
    assert!(ended.stdout.contains("programs are told no end"), "{}", ended.stdout);
}

#[test]
fn a_life_shorter_than_min_remaining_is_told() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    vendor.faults(json!({ "life": "200s" }));
    let ended = check_live(&folder(&vendor.url, &idp.url, KEY));
    ended.assert_code(0);
    assert!(ended.stdout.contains("not more than min_remaining"), "{}", ended.stdout);
}

#[test]
fn without_live_nobody_is_asked() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    end_of(folder(&vendor.url, &idp.url, KEY).path(), &["check", "--config", "valet.toml"]).assert_code(0);
    assert_eq!(vendor.mint_calls(), 0);
    // And nobody needs to be there.
    let nobody = "http://127.0.0.1:9";
    end_of(folder(nobody, nobody, KEY).path(), &["check", "--config", "valet.toml"]).assert_code(0);
}

#[test]
fn a_wrong_key_is_one_line_that_says_where_to_look() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let ended = check_live(&folder(&vendor.url, &idp.url, "canary-api-key-that-is-wrong"));
    assert_unavailable(&ended, &["face-scan", "api_key"]);
}

#[test]
fn a_vendor_that_is_down_is_one_line() {
    let idp = Idp::start();
    let folder = folder(&format!("http://{NOBODY}"), &idp.url, KEY);
    assert_unavailable(&check_live(&folder), &["face-scan", "unreachable"]);
}

#[test]
fn each_fault_of_the_vendor_is_one_line() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let folder = folder(&vendor.url, &idp.url, KEY);
    for (faults, says) in [
        (json!({ "url": "wrong-host" }), "redirect_hosts"),
        (json!({ "fail": "500" }), "5xx"),
        (json!({ "fail": "404" }), "refused"),
        (json!({ "fail": "429", "retry_after": 7 }), "7 s"),
        (json!({ "fail": "garbage", "on": "mint" }), "no usable URL"),
        (json!({ "fail": "empty", "on": "mint" }), "no usable URL"),
        (json!({ "fail": "oversize", "on": "mint" }), "no usable URL"),
        (json!({ "fail": "redirect", "on": "mint" }), "no usable URL"),
        (json!({ "url": "expired" }), "no usable URL"),
        (json!({ "url_text": "javascript:alert(1)" }), "no usable URL"),
    ] {
        vendor.faults(faults.clone());
        let ended = check_live(&folder);
        assert_eq!(ended.code, Some(69), "{faults}: {}", ended.all());
        assert_unavailable(&ended, &["face-scan", says]);
    }
}

/// The path of a plug-in URL may be its token.
#[test]
fn a_vendor_that_redirects_is_told_without_the_path_it_leads_to() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    vendor.faults(json!({ "fail": "redirect", "on": "mint" }));
    let ended = check_live(&folder(&vendor.url, &idp.url, KEY));
    assert_unavailable(&ended, &["the mint call was answered 302"]);
    assert!(!ended.all().contains(REDIRECT_TARGET), "{}", ended.all());
}

#[test]
fn a_vendor_that_hangs_is_one_line_at_the_time_out() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    vendor.faults(json!({ "fail": "hang" }));
    let folder = Folder::new();
    folder.configure(&vendor.url, &idp.url, KEY, |config| config.replace("timeout = \"20s\"", "timeout = \"300ms\""));
    assert_unavailable(&check_live(&folder), &["face-scan", "timeout"]);
}

#[test]
fn an_identity_provider_that_is_down_or_talks_nonsense_is_one_line() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let folder = folder(&vendor.url, &idp.url, KEY);
    for faults in [
        json!({ "fail": "500" }),
        json!({ "fail": "garbage" }),
        json!({ "fail": "garbage", "on": "keys" }),
        json!({ "fail": "oversize", "on": "keys" }),
        json!({ "fail": "redirect", "on": "discovery" }),
    ] {
        idp.faults(faults.clone());
        let ended = check_live(&folder);
        assert_eq!(ended.code, Some(69), "{faults}: {}", ended.all());
        assert_unavailable(&ended, &[&idp.url]);
    }
    // Where it would lead to.
    let line = check_live(&folder).only_line().to_owned();
    assert!(line.contains("answered 302, to ") && line.contains("discovery document"), "{line}");
    let nobody = format!("http://{NOBODY}");
    assert_unavailable(&check_live(&self::folder(&vendor.url, &nobody, KEY)), &[&nobody]);
}

#[test]
fn both_down_are_two_lines() {
    let folder = folder("http://127.0.0.1:9", "http://127.0.0.1:9", KEY);
    let ended = check_live(&folder);
    ended.assert_code(69);
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
}

#[test]
fn a_store_that_can_t_be_used_is_one_line_that_says_why() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let folder = folder(&vendor.url, &idp.url, KEY);
    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    folder.write("seal.key", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=");
    for (store, why) in [("store.invalid", "DNS"), (NOBODY, "connection refused")] {
        let leases = "[leases]\nstore = \"redis\"\nseal_keys = [{ file = \"seal.key\" }]\n[leases.redis]";
        folder.write("valet.toml", &format!("{text}\n{leases}\nurls = \"redis://{store}\"\ntimeout = \"10s\"\n"));
        assert_unavailable(&check_live(&folder), &["leases.redis", why]);
    }
}

#[test]
fn an_app_that_does_not_answer_is_a_warning_that_says_why() {
    let (vendor, idp) = (Vendor::start(KEY), Idp::start());
    let folder = folder(&vendor.url, &idp.url, KEY);
    let text = std::fs::read_to_string(folder.path().join("valet.toml")).expect("our file");
    let there = vendor.url.trim_start_matches("http://");
    let app = format!("[[app]]\nname = \"portal\"\nupstreams = [\"{NOBODY}\", \"app.invalid:1\", \"{there}\"]");
    folder.write("valet.toml", &format!("{text}\n{app}\n"));
    let ended = check_live(&folder);
    ended.assert_code(0);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("warning: app portal: {NOBODY}: nobody listens there")), "{lines:?}");
    assert!(lines[1].starts_with("warning: app portal: app.invalid:1: its name has no address (DNS)"), "{lines:?}");
    assert!(ended.stdout.contains(&format!("app portal: {there} answers")), "{}", ended.all());
}
