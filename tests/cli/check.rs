//! `valet check`: what it says about a configuration, without a network.

use std::sync::LazyLock;

use super::process::{Ended, end_of};
use super::stack::{Folder, issuer, vendor_and_plugin};

const EXAMPLE: &str = include_str!("../../src/config/tests/contract.toml");

static SMALL: LazyLock<String> = LazyLock::new(|| {
    let head = r#"[server]
public_url = "http://127.0.0.1:8080"
[[listener]]
address = "127.0.0.1:8080"
[session]
sources = ["header:authorization"]
"#;
    head.to_owned() + &issuer("https://idp.example.com") + &vendor_and_plugin("vendor.key")
});

/// Checks this text in a folder with these files.
pub(super) fn check(config: &str, files: &[(&str, &str)]) -> Ended {
    let folder = Folder::new();
    // Ports of nobody: that one is taken, by whatever else runs here, is a warning.
    let free =
        |config: String, port| config.replace(&format!("address = \"127.0.0.1:{port}\""), "address = \"127.0.0.1:0\"");
    folder.write("valet.toml", &free(free(config.to_owned(), 8080), 9090));
    for (name, text) in files {
        folder.write(name, text);
    }
    end_of(folder.path(), &["check", "--config", "valet.toml"])
}

fn example_files() -> [(&'static str, &'static str); 3] {
    let key = "a-value-of-at-least-thirty-two-bytes\n";
    [("secrets/log.key", key), ("secrets/intelliprove.key", key), ("secrets/acme.key", key)]
}

/// File, line, column, key and message of a fault.
fn parts(line: &str) -> (&str, usize, usize, &str, &str) {
    let (place, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no place: {line}"));
    let (key, message) = rest.split_once(": ").unwrap_or_else(|| panic!("no message: {line}"));
    let mut place = place.splitn(3, ':');
    let file = place.next().expect("a file");
    let mut number = || place.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no place: {line}"));
    (file, number(), number(), key, message)
}

#[test]
fn the_example_of_the_documentation_has_no_fault() {
    let ended = check(EXAMPLE, &example_files());
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
    assert!(ended.stdout.contains("no fault"), "{}", ended.stdout);
}

#[test]
fn the_file_can_be_named_from_another_folder_and_its_paths_are_relative_to_it() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let path = folder.write("valet.toml", EXAMPLE);
    for (name, text) in example_files() {
        folder.write(name, text);
    }
    end_of(elsewhere.path(), &["check", "--config", path.to_str().expect("UTF-8")]).assert_code(0);
}

#[test]
fn every_fault_is_one_line_with_file_line_column_and_key() {
    let config = SMALL
        .replace("[session]\n", "[session]\nclock_skew = \"10m\"\nmax_tokens = 1\n")
        .replace("algorithms = [\"ES256\"]", "algorithms = [\"none\"]")
        .replace("base_url = \"https://", "base_url = \"http://")
        .replace("mint = \"face-scan\"", "mint = \"nothing\"\nmin_remaining = 5\nmax_age = \"5 parsecs\"");
    let ended = check(&config, &[]);
    ended.assert_code(78);
    let faults: Vec<_> = ended.stderr.lines().map(parts).collect();
    let lines: Vec<&str> = config.lines().collect();
    for (file, line, column, key, message) in &faults {
        assert_eq!(*file, "valet.toml");
        let last = key.rsplit('.').next().expect("a key");
        assert!(lines[line - 1].contains(last), "line {line} has no {key}: {}", lines[line - 1]);
        assert!((1..=lines[line - 1].len() + 1).contains(column));
        assert!(!message.is_empty());
    }
    let keys: Vec<&str> = faults.iter().map(|fault| fault.3).collect();
    for key in [
        "session.clock_skew",
        "session.max_tokens",
        "session.issuer.algorithms",
        "provider.base_url",
        "provider.api_key",
        "plugin.mint",
        "plugin.min_remaining",
        "plugin.max_age",
    ] {
        assert!(keys.contains(&key), "{key} is missing in:\n{}", ended.stderr);
    }
    let mut places: Vec<_> = faults.iter().map(|fault| (fault.1, fault.2)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), keys.len(), "one mistake, one line:\n{}", ended.stderr);
}

#[test]
fn the_column_is_that_of_the_value() {
    let ended =
        check(&SMALL.replace("reuse = \"user\"", "reuse = \"user\"\nmin_remaining = 5"), &[("vendor.key", "k")]);
    ended.assert_code(78);
    let line = SMALL.lines().count() + 1;
    let expected = format!("valet.toml:{line}:17 plugin.min_remaining: expected a duration such as \"5m\"");
    assert!(ended.only_line().starts_with(&expected), "{}", ended.stderr);
}

#[test]
fn a_content_type_of_the_provider_that_contradicts_the_body_of_a_call_is_a_fault() {
    let with = |kind: &str| {
        let preset = "preset = \"intelliprove-v2\"\n";
        let config = SMALL.replace(preset, &format!("{preset}headers = {{ Content-Type = \"{kind}\" }}\n"));
        check(&config, &[("vendor.key", "k")])
    };
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/json{subject}"] {
        let ended = with(wrong);
        ended.assert_code(78);
        let (file, _, _, key, message) = parts(ended.only_line());
        assert_eq!((file, key), ("valet.toml", "provider.register.json"), "{wrong}");
        assert!(message.contains("contradicts the `content-type` in the provider's `headers`"), "{message}");
    }
    for good in ["application/json", "application/vnd.acme.v2+json; charset=utf-8"] {
        with(good).assert_code(0);
    }
}

#[test]
fn a_key_file_that_others_can_read_is_a_warning_and_no_fault() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("valet.toml", &SMALL.replace("address = \"127.0.0.1:8080\"", "address = \"127.0.0.1:0\""));
    let key = folder.write("vendor.key", "canary-api-key\n");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).expect("our file");
    let ended = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    ended.assert_code(0);
    let line = ended.only_line();
    assert!(line.starts_with("warning: ") && line.contains("vendor.key") && line.contains("chmod 600"), "{line}");
    assert!(!ended.all().contains("canary"));
}

#[test]
fn a_secret_that_cannot_be_had_is_one_line_that_names_it() {
    for (files, says) in [
        (&[][..], "vendor.key"),
        (&[("vendor.key", "")][..], "vendor.key is empty"),
        (&[("vendor.key", "\n")][..], "vendor.key is empty"),
        (&[("vendor.key/inside", "x")][..], "vendor.key is not a file"),
    ] {
        let ended = check(&SMALL, files);
        ended.assert_code(78);
        let line = ended.only_line();
        assert!(line.starts_with("valet.toml:16:11 provider.api_key: ") && line.contains(says), "{line}");
    }
    let unset = check(&SMALL.replace("file = \"vendor.key\"", "env = \"VALET_TEST_NOT_SET\""), &[]);
    unset.assert_code(78);
    assert!(unset.only_line().contains("VALET_TEST_NOT_SET is not set"), "{}", unset.stderr);
}

#[test]
fn a_key_that_no_header_can_carry_is_one_line_without_the_key() {
    for key in ["canary\u{1}key\n", "canary\r\nx-other: key\n", "canary\u{e9}key\n"] {
        let ended = check(&SMALL, &[("vendor.key", key)]);
        ended.assert_code(78);
        assert!(ended.only_line().contains("api_key"), "{}", ended.stderr);
        assert!(!ended.all().contains("canary"), "{}", ended.all());
    }
}

#[test]
fn bad_keys_of_an_issuer_are_one_line() {
    let with = |keys: &str| SMALL.replace("{ discovery = true }", keys);
    let (jwks, pem) = (with("{ jwks_file = \"idp.jwks\" }"), with("{ pem_file = \"idp.pem\" }"));
    let vendor_key = ("vendor.key", "k\n");
    let private = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n";
    for (config, file, text) in [
        (&jwks, "idp.jwks", None),
        (&jwks, "idp.jwks", Some("")),
        (&jwks, "idp.jwks", Some("canary: no JSON")),
        (&jwks, "idp.jwks", Some("{\"canary\": []}")),
        (&jwks, "idp.jwks", Some("{\"keys\": {}}")),
        (&jwks, "idp.jwks", Some("{\"keys\": []}")),
        (&jwks, "idp.jwks", Some("{\"keys\": [{\"kty\": \"canary\"}]}")),
        (&jwks, "idp.jwks", Some("{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": \"AA\", \"y\": \"AA\"}]}")),
        (&pem, "idp.pem", None),
        (&pem, "idp.pem", Some("canary: no PEM")),
        (&pem, "idp.pem", Some(private)),
        (&pem, "idp.pem", Some("-----BEGIN PUBLIC KEY-----\nY2FuYXJ5\n-----END PUBLIC KEY-----\n")),
        (&pem, "idp.pem", Some("-----BEGIN PUBLIC KEY-----\n")),
    ] {
        let files: Vec<_> = [vendor_key].into_iter().chain(text.map(|text| (file, text))).collect();
        let ended = check(config, &files);
        assert_eq!(ended.code, Some(78), "{file} {text:?}: {}", ended.all());
        ended.assert_code(78);
        let line = ended.only_line();
        assert!(line.contains(file), "{text:?}: {line}");
        assert!(!line.contains("canary") && !line.contains("Y2FuYXJ5"), "{text:?}: {line}");
    }
}

#[test]
fn an_algorithm_that_the_key_file_has_no_key_for_is_a_fault() {
    let pem = include_str!("../../src/session/tests/fixtures/rsa-public.pem");
    let config = SMALL.replace("{ discovery = true }", "{ pem_file = \"idp.pem\" }");
    let ended = check(&config, &[("vendor.key", "k\n"), ("idp.pem", pem)]);
    ended.assert_code(78);
    ended.only_line();
    check(&config.replace("ES256", "RS256"), &[("vendor.key", "k\n"), ("idp.pem", pem)]).assert_code(0);
}

#[test]
fn a_configuration_that_cannot_be_read_is_one_line_that_names_it() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("a-folder")).expect("a folder");
    folder.write("no-text.toml", "");
    std::fs::write(folder.path().join("no-text.toml"), b"\xff\xfe\x00").expect("a file");
    folder.write("no.toml", "[server\n");
    folder.write("twice.toml", "[log]\nlevel = \"info\"\nlevel = \"info\"\n");
    for name in ["is-not-there.toml", "a-folder", "no-text.toml", "no.toml", "twice.toml"] {
        let ended = end_of(folder.path(), &["check", "--config", name]);
        ended.assert_code(78);
        assert!(ended.only_line().starts_with(name), "{}", ended.stderr);
        end_of(folder.path(), &["run", "--config", name]).assert_code(78).only_line();
    }
}

#[test]
fn run_refuses_what_check_refuses_and_in_the_same_words() {
    let folder = Folder::new();
    folder.write("valet.toml", &SMALL.replace("reuse = \"user\"", "reuse = \"always\"\nlife = 1"));
    let checked = end_of(folder.path(), &["check", "--config", "valet.toml"]);
    let run = end_of(folder.path(), &["run", "--config", "valet.toml"]);
    checked.assert_code(78);
    run.assert_code(78);
    assert_eq!(run.stderr, checked.stderr);
}

#[test]
fn a_secret_written_in_the_wrong_place_is_not_repeated() {
    for config in [
        SMALL.replace("{ file = \"vendor.key\" }", "\"canary-api-key\""),
        SMALL.replace("{ file = \"vendor.key\" }", "{ value = \"canary-api-key\" }"),
        SMALL.replace("https://engine.example.com", "https://user:canary-api-key@engine.example.com"),
    ] {
        let ended = check(&config, &[("vendor.key", "k\n")]);
        ended.assert_code(78);
        assert!(!ended.all().contains("canary"), "{}", ended.all());
    }
}
