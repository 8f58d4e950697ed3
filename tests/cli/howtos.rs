//! The how-tos of docs/sessions.md: each block of configuration that they give passes `valet check` as it stands.

use super::process::Ended;
use super::stack::vendor_and_plugin;

const PAGE: &str = include_str!("../../docs/sessions.md");

/// The header of one issuer.
const ISSUER: &str = "[[session.issuer]]";

/// Long enough for each HMAC, and `user:password` for a proxy.
const SECRET: &str = "valet:a-secret-of-this-test-that-is-longer-than-sixty-four-bytes-of-text\n";

/// Heading and text of each block of TOML that configures an issuer.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let (mut heading, mut language) = ("", None);
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        match (language, line.strip_prefix("```")) {
            (None, Some(opened)) => language = Some(opened),
            (Some(closed), Some(_)) => {
                if closed == "toml" && lines.contains(&ISSUER) {
                    found.push((heading, lines.join("\n")));
                }
                language = None;
                lines.clear();
            }
            (Some(_), None) => lines.push(line),
            (None, None) if line.starts_with('#') => heading = line.trim_start_matches('#').trim(),
            (None, None) => {}
        }
    }
    assert_eq!(language, None, "a fence is left open");
    found
}

/// The block under the heading with this name.
fn block(name: &str) -> String {
    let found = blocks(PAGE).into_iter().find(|(heading, _)| names(heading, name));
    found.unwrap_or_else(|| panic!("{name} has no block")).1
}

fn names(heading: &str, name: &str) -> bool {
    heading.to_lowercase().contains(&name.to_lowercase())
}

/// The files that a configuration names, with something that is good at that place.
fn files(value: &toml::Value, found: &mut Vec<(String, &'static str)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table.iter() {
                match (good_file(key), value.as_str()) {
                    (Some(content), Some(name)) => found.push((name.to_owned(), content)),
                    _ => files(value, found),
                }
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|value| files(value, found)),
        _ => {}
    }
}

fn good_file(key: &str) -> Option<&'static str> {
    match key {
        "pem_file" => Some(include_str!("../../src/session/tests/fixtures/ec-public.pem")),
        "ca" => Some(include_str!("../../src/session/tests/fixtures/ca.pem")),
        "file" => Some(SECRET),
        _ => None,
    }
}

/// Checks a whole configuration with these issuers in it.
fn check(issuers: &str) -> Ended {
    let config = format!(
        r#"[server]
public_url = "https://app.example.com"

[[listener]]
address = "127.0.0.1:8080"

[admin]
address = "127.0.0.1:9090"

[session]
sources = ["header:authorization", "cookie:session"]

{issuers}

{}"#,
        vendor_and_plugin("vendor.key")
    );
    let table: toml::Table = toml::from_str(&config).unwrap_or_else(|fault| panic!("{fault}\n{config}"));
    let mut named = Vec::new();
    files(&toml::Value::Table(table), &mut named);
    let named: Vec<(&str, &str)> = named.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    super::check::check(&config, &named)
}

#[test]
fn each_block_has_no_fault_and_no_warning() {
    for (heading, block) in blocks(PAGE) {
        let own = block.matches(ISSUER).count() - block.matches("\nsubjects_of = ").count();
        assert_eq!(own, 1, "one issuer with subjects of its own, or each needs an external_id: {heading}");
        let ended = check(&block);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{heading}:\n{block}");
    }
}

#[test]
fn each_identity_provider_has_a_how_to_of_its_own() {
    let blocks = blocks(PAGE);
    let headings = ["Auth0", "Entra ID", "Keycloak", "Cognito", "Google", "home-made"].map(|name| {
        let found = blocks.iter().find(|(heading, _)| names(heading, name));
        found.unwrap_or_else(|| panic!("{name} has no block")).0
    });
    for (position, heading) in headings.iter().enumerate() {
        assert!(!headings[..position].contains(heading), "{heading} stands for two");
    }
}

#[test]
fn a_typing_error_in_a_block_is_a_fault() {
    for (heading, block) in blocks(PAGE) {
        let ended = check(&block.replace("audiences = ", "audience = "));
        ended.assert_code(78);
        assert!(ended.stderr.contains("session.issuer.audience: unknown key"), "{heading}:\n{}", ended.stderr);
    }
}

#[test]
fn two_blocks_in_one_file_need_an_external_id_each() {
    let (one, two) = (block("Google"), block("Keycloak"));
    let ended = check(&format!("{one}\n\n{two}"));
    ended.assert_code(78);
    assert_eq!(ended.stderr.matches("session.issuer.external_id: is required").count(), 2, "{}", ended.stderr);
    let different = format!("{one}\nexternal_id = \"google:{{sub}}\"\n\n{two}\nexternal_id = \"{{sub}}\"\n");
    check(&different).assert_code(0);
}

#[test]
fn only_blocks_of_toml_with_an_issuer_are_taken() {
    let page = "# One\n```toml\n[[session.issuer]]\na = 1\n```\n## Two\n```toml\ntypes = []\n```\n```sh\n[[session.issuer]]\n```\n";
    assert_eq!(blocks(page), [("One", "[[session.issuer]]\na = 1".to_owned())]);
}
