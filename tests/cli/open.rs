//! `valet open`: a plug-in URL is shown to a person at a terminal, and to nobody else.

use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{Ended, Program, VALET, end_of, jwt_in, there_is};
use super::stack::{Folder, Vendor};

const KEY: &str = "canary-api-key-of-open";

fn folder(vendor: &Vendor, key: &str) -> Folder {
    let folder = Folder::new();
    folder.configure(&vendor.url, "http://127.0.0.1:9", key, |config| config);
    folder
}

const WORDS: [&str; 7] = ["open", "--config", "valet.toml", "--plugin", "face-scan", "--subject", "canary-subject"];

/// The same at a terminal. What it shows is on stdout, with the terminal's line ends.
fn at_a_terminal(folder: &Path, words: &[&str]) -> Ended {
    let line: Vec<String> = [VALET].iter().chain(words).map(|word| format!("'{word}'")).collect();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    command.current_dir(folder).stdin(Stdio::null());
    Program::start(command).end()
}

#[test]
fn a_pipe_gets_nothing_and_the_vendor_is_not_asked() {
    let vendor = Vendor::start(KEY);
    let ended = end_of(folder(&vendor, KEY).path(), &WORDS);
    ended.assert_code(69);
    assert_eq!(ended.stdout, "");
    assert!(ended.only_line().contains("terminal"), "{}", ended.stderr);
    for secret in ["canary", "action_token", "http"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    assert_eq!(jwt_in(&ended.stderr), None, "{}", ended.stderr);
    assert_eq!(vendor.mint_calls(), 0);
}

#[test]
fn a_terminal_gets_the_url_and_nothing_else() {
    if !there_is("script") {
        return;
    }
    let vendor = Vendor::start(KEY);
    let ended = at_a_terminal(folder(&vendor, KEY).path(), &WORDS);
    ended.assert_code(0);
    let mut lines = ended.stdout.lines().filter(|line| !line.trim().is_empty());
    let url = lines.next().expect("a line");
    assert!(url.starts_with(&format!("{}/?action_token=eyJ", vendor.url)), "{url}");
    assert_eq!(lines.next(), None);
    assert!(!ended.all().contains("canary-api-key"));
    assert_eq!(vendor.mint_calls(), 1);
    // It opens.
    let address = vendor.url.trim_start_matches("http://");
    let path = url.trim_end().strip_prefix(&vendor.url).expect("a URL of the vendor");
    assert_eq!(super::client::once(address, "GET", path, &[], "").status, 200);
}

#[test]
fn what_goes_wrong_at_a_terminal_is_one_line() {
    if !there_is("script") {
        return;
    }
    let vendor = Vendor::start(KEY);
    let good = folder(&vendor, KEY);
    let wrong_key = folder(&vendor, "canary-api-key-that-is-wrong");
    let mut unknown = WORDS;
    unknown[4] = "nothing";
    let with_claim = [&WORDS[..], &["--claim", "nobodys=1"]].concat();
    for (folder, words, says) in [
        (&wrong_key, &WORDS[..], "api_key"),
        (&good, &unknown, "no plugin is named"),
        (&good, &with_claim, "no recipe asks for the claim"),
    ] {
        let ended = at_a_terminal(folder.path(), words);
        ended.assert_code(69);
        let lines: Vec<&str> = ended.stdout.lines().filter(|line| !line.trim().is_empty()).collect();
        assert!(lines.len() == 1 && lines[0].contains(says), "{}", ended.stdout);
        assert!(!ended.all().contains("canary-api-key"));
    }
}
