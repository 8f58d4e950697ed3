//! `valet recipe try`: a recipe's steps are told, and nothing secret.

use super::process::{end_of, jwt_in};
use super::stack::{Folder, Vendor};

const KEY: &str = "canary-api-key-of-recipe-try";

const WORDS: [&str; 8] =
    ["recipe", "try", "--config", "valet.toml", "--plugin", "face-scan", "--subject", "canary-subject"];

fn folder(vendor: &Vendor, key: &str) -> Folder {
    let folder = Folder::new();
    folder.configure(&vendor.url, "http://127.0.0.1:9", key, |config| config);
    folder
}

#[test]
fn each_step_is_told_and_no_secret_or_url() {
    let vendor = Vendor::start(KEY);
    let ended = end_of(folder(&vendor, KEY).path(), &WORDS);
    ended.assert_code(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    for (line, begins) in lines.iter().zip([
        "register: POST was answered 20",
        "mint: GET was answered 200",
        "url: the whole answer, ",
        "expires: `exp` of the JWT in `action_token` was read",
        "minted: its URL is good for 6h",
    ]) {
        assert!(line.starts_with(begins), "{begins:?} in:\n{}", ended.stdout);
    }
    assert_eq!(lines.len(), 5, "{}", ended.stdout);
    for secret in ["canary-api-key", "canary-subject", "action_token=", "http"] {
        assert!(!ended.all().contains(secret), "{secret} in:\n{}", ended.all());
    }
    assert_eq!(jwt_in(&ended.all()), None, "{}", ended.all());
    assert_eq!(vendor.mint_calls(), 1);
}

#[test]
fn where_no_url_comes_the_steps_until_then_are_told_and_why() {
    let vendor = Vendor::start(KEY);
    let ended = end_of(folder(&vendor, "canary-wrong-key").path(), &WORDS);
    ended.assert_code(69);
    assert!(ended.stdout.contains("register: POST was answered 403"), "{}", ended.stdout);
    assert!(ended.only_line().contains("refused"), "{}", ended.stderr);
    assert!(!ended.all().contains("canary"), "{}", ended.all());
}
