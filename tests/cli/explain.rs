//! `valet explain`: what an operator reads of a token, and what not.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use super::process::{Ended, keep, valet};
use super::stack::{CANARY_PERSON, Folder, Idp, Vendor};

const KEY: &str = "canary-api-key-of-explain";

struct Stand {
    _vendor: Vendor,
    idp: Idp,
    folder: Folder,
}

impl Stand {
    fn new() -> Self {
        let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
        folder.configure(&vendor.url, &idp.url, KEY, |config| config);
        Self { _vendor: vendor, idp, folder }
    }

    /// More tables at the end of the configuration.
    fn add(&self, tables: &str) {
        let file = self.folder.path().join("valet.toml");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + tables).unwrap();
    }

    /// `valet explain PATH` with this on stdin; whatever comes out, it is none of the secrets.
    fn explain(&self, path: &str, stdin: &str) -> Ended {
        let ended = explained(self.folder.path(), path, stdin);
        for secret in stdin.trim().split('.').filter(|part| part.len() > 20).chain([KEY, CANARY_PERSON]) {
            assert!(!ended.all().contains(secret), "{secret} in:\n{}", ended.all());
        }
        ended
    }
}

/// `valet explain PATH` in this folder, with this on stdin.
pub(super) fn explained(folder: &Path, path: &str, stdin: &str) -> Ended {
    let mut command = valet(folder, &["explain", "--config", "valet.toml", path]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    Ended::from(child.wait_with_output().unwrap())
}

#[test]
fn a_good_token_passes_every_step() {
    let stand = Stand::new();
    let token = stand.idp.token(CANARY_PERSON);
    for stdin in [token.clone(), format!("{token}\n"), format!("  Bearer {token}\r\n")] {
        let ended = stand.explain("/plugins/face-scan", &stdin);
        ended.assert_code(0);
        let (calls, steps): (Vec<_>, Vec<_>) = ended.stdout.lines().partition(|line| line.starts_with("call "));
        assert_eq!(steps.len(), 11, "{}", ended.stdout);
        assert!(steps.iter().all(|line| line.starts_with("ok ")), "{}", ended.stdout);
        // What would be sent, with the key by its name and nobody's name in it.
        assert!(calls.iter().any(|line| line.ends_with("/v2/users") && line.contains("POST http://")), "{calls:#?}");
        assert_eq!(calls.iter().filter(|line| line.ends_with("x-api-key: <api_key>")).count(), 2, "{calls:#?}");
        assert!(
            calls.iter().any(|line| line.ends_with("?external_user_id={subject}&language={language}")),
            "{calls:#?}"
        );
        assert!(ended.stdout.contains("/plugins/face-scan at") && ended.stdout.contains("is the plug-in face-scan"));
        assert!(ended.stdout.contains(&stand.idp.url), "{}", ended.stdout);
    }
}

#[test]
fn a_name_at_the_vendor_that_could_be_another_persons_is_told() {
    let stand = Stand::new();
    let file = stand.folder.path().join("valet.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let keys = "keys = { discovery = true }";
    assert!(text.contains(keys), "{text}");
    std::fs::write(&file, text.replace(keys, &format!("{keys}\nexternal_id = \"{{claim:org}}-{{sub}}\""))).unwrap();
    stand.explain("/plugins/face-scan", &stand.idp.token_with("ada", json!({ "org": "acme" }))).assert_code(0);
    let ended = stand.explain("/plugins/face-scan", &stand.idp.token_with("ada", json!({ "org": "a-b" })));
    ended.assert_code(1);
    let line = ended.only_line();
    assert!(line.contains("vendor's id") && line.contains("another person's") && line.contains("403"), "{line}");
}

#[test]
fn what_refuses_is_the_last_line_with_its_status() {
    let stand = Stand::new();
    let other = stand.idp.token_with(CANARY_PERSON, json!({ "audience": "another-app" }));
    let ended = stand.explain("/plugins/face-scan", &other);
    ended.assert_code(1);
    let line = ended.only_line();
    assert!(line.starts_with("REFUSED") && line.contains("claims") && line.contains("another-app"), "{line}");
    assert!(line.ends_with("(401 session-invalid)"), "{line}");
    let expired = stand.idp.token_with(CANARY_PERSON, json!({ "expires_in": -3600 }));
    assert!(
        stand.explain("/plugins/face-scan", &expired).assert_code(1).only_line().ends_with("(401 session-expired)")
    );
}

#[test]
fn a_path_that_leads_nowhere_is_said_before_the_token_is_asked_for() {
    let stand = Stand::new();
    for (path, why, end) in [
        ("/plugins/none", "no plug-in and no app", "(404 not-found)"),
        ("/plugins/%zz", "hex digits", "(400 bad-request)"),
        ("/plugins/%c3", "UTF-8", "(400 bad-request)"),
        ("/plugins/%252f", "hides another escape", "(400 bad-request)"),
        ("/plugins/%00", "control character", "(400 bad-request)"),
        ("/plugins/%2e%2e/x", "`..`", "(400 bad-request)"),
        ("/plugins\\x", "`\\`", "(400 bad-request)"),
        ("/plugins#x", "`#`", "(400 bad-request)"),
        ("plugins", "begins with no `/`", "(400 bad-request)"),
        ("/plugins%2fface-scan", "encoded_slash", "(400 bad-request)"),
    ] {
        let ended = stand.explain(path, "");
        ended.assert_code(1);
        let line = ended.only_line();
        assert!(line.ends_with(end) && line.contains(why), "{path}: {line}");
    }
}

#[test]
fn no_token_is_one_line() {
    let stand = Stand::new();
    let ended = stand.explain("/plugins/face-scan", " \n");
    assert_eq!(ended.assert_code(1).only_line(), "valet: no token on stdin");
}

#[test]
fn an_identity_provider_that_is_gone_is_said() {
    let stand = Stand::new();
    let token = stand.idp.token(CANARY_PERSON);
    let Stand { _vendor, idp, folder } = stand;
    let address = idp.url.trim_start_matches("http://").parse().unwrap();
    idp.program.terminate();
    let _kept = keep(address);
    let stand = Stand { _vendor, idp: Idp::start(), folder };
    let ended = stand.explain("/plugins/face-scan", &token);
    ended.assert_code(1);
    assert!(
        ended.stderr.contains("can't be reached") && ended.stderr.contains("(503 keys-unavailable)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_configuration_from_standard_input_is_refused_where_the_token_comes_from_there() {
    let folder = Folder::new();
    let mut command = valet(folder.path(), &["explain", "--config", "-", "/plugins/face-scan"]);
    let ended = Ended::from(command.stdin(Stdio::null()).output().unwrap());
    assert!(
        ended.assert_code(78).only_line().starts_with("valet: --config: explain reads the token"),
        "{}",
        ended.all()
    );
}

#[test]
fn what_becomes_of_each_claim_that_an_app_is_told_is_said_and_never_the_claim() {
    let stand = Stand::new();
    let file = stand.folder.path().join("valet.toml");
    let app = "[[app]]\nname = \"portal\"\nupstreams = [\"127.0.0.1:1\"]\n\
               claims = { x-auth-groups = \"groups\", x-auth-level = \"level\", x-auth-mail = \"email\" }\n";
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + app).unwrap();
    let claims = json!({ "groups": ["canary-one", "canary,two", "x"], "level": [1], "email": "canary@example.com" });
    let ended = stand.explain("/orders", &stand.idp.token_with("ada", claims));
    ended.assert_code(0);
    let fields: Vec<&str> =
        ended.stdout.lines().filter(|line| line.starts_with("ok       field")).map(|line| &line[22..]).collect();
    assert_eq!(
        fields,
        [
            "x-auth-groups is sent, 12 bytes; values left out, for they are empty or have a comma, control characters or white \
             space at their ends: 1",
            "x-auth-level is left out: the claim is no text, no number and no list of texts",
            "x-auth-mail is sent, 18 bytes",
        ]
    );
    assert!(!ended.all().contains("canary"), "{}", ended.all());
}

#[test]
fn an_expired_token_counts_as_none_at_an_app_that_takes_requests_without_one() {
    let stand = Stand::new();
    stand.add("[[app]]\nname = \"shop\"\nupstreams = [\"127.0.0.1:1\"]\nsession = \"optional\"\n");
    let expired = stand.idp.token_with(CANARY_PERSON, json!({ "expires_in": -3600 }));
    let ended = stand.explain("/shop", &expired);
    let last = ended.assert_code(0).stdout.lines().last().unwrap();
    assert!(last.starts_with("ok       session") && last.contains("without one"), "{}", ended.stdout);
    assert!(ended.stdout.contains("`exp` was"), "{}", ended.stdout);
    stand.explain("/shop", &stand.idp.token(CANARY_PERSON)).assert_code(0);
    let other = stand.idp.token_with(CANARY_PERSON, json!({ "audience": "another-app" }));
    assert!(stand.explain("/shop", &other).assert_code(1).only_line().ends_with("(401 session-invalid)"));
}

#[test]
fn a_subject_that_no_app_can_be_told_as_it_is_refuses() {
    let stand = Stand::new();
    stand.add("[[app]]\nname = \"portal\"\nupstreams = [\"127.0.0.1:1\"]\n");
    for (subject, code) in [("ada", 0), (" ada", 1), ("ada ", 1)] {
        stand.explain("/orders", &stand.idp.token_with(subject, json!({}))).assert_code(code);
    }
    let ended = stand.explain("/orders", &stand.idp.token_with(" ada", json!({})));
    let line = ended.only_line();
    assert!(line.starts_with("REFUSED  subject") && line.ends_with("(403 not-permitted)"), "{line}");
}

#[test]
fn the_hash_of_a_subject_is_told_only_where_it_is_that_of_the_log() {
    let stand = Stand::new();
    let token = stand.idp.token(CANARY_PERSON);
    let last = |ended: &Ended| ended.assert_code(0).stdout.lines().last().unwrap().to_owned();
    let without = last(&stand.explain("/plugins/face-scan", &token));
    assert!(without.contains("without log.subject_key"), "{without}");
    let file = stand.folder.path().join("valet.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[log]", "[log]\nsubject_key = { file = \"vendor.key\" }")).unwrap();
    let with = last(&stand.explain("/plugins/face-scan", &token));
    assert!(with.contains("in the access log its subject is "), "{with}");
}
