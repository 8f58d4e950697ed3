//! The small language of these tests: a good file, an edit of it, the lines that `valet check` prints.

mod broken;
mod contract;
mod hints;
mod leases;
mod limits;
mod login;
mod many;
mod minter;
mod page;
mod policies;
mod properties;
mod proxies;
mod recipes;
mod rules;
mod sections;
mod shape;
mod sign_out;
mod tls;

use super::*;

/// A folder with every file that [`GOOD`] names.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for name in ["log.key", "intelliprove.key", "acme.key", "next.key"] {
        write(&format!("secrets/{name}"), "a-key-of-visible-ascii\n");
    }
    for bytes in [31, 32, 47, 48, 63, 64] {
        write(&format!("secrets/{bytes}.key"), &"x".repeat(bytes));
    }
    write("secrets/proxy.key", "valet:password\n");
    write("ca.pem", include_str!("../../session/tests/fixtures/ca.pem"));
    write("secrets/spaced.key", "two words\n");
    write("secrets/empty.key", "\n");
    let key = r#"{"kty":"EC","crv":"P-256","x":"udtChIzNXbzsXniZqltHa3VPyjwzm8mNfjrP_m6R1u4","y":"0tMMxLolJ4Cev73PkdbfciINS1ni6UsdVTLIhrv-Oag"}"#;
    write("keys.json", &format!(r#"{{"keys":[{key}]}}"#));
    write("nokeys.json", r#"{"key":[]}"#);
    write("text.txt", "plain text");
    write("key.pem", include_str!("../../session/tests/fixtures/ec-public.pem"));
    write("private.pem", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n");
    folder
}

/// Each table once, only what is required; no fault.
pub(super) const GOOD: &str = r#"[server]
public_url = "https://app.example.com"
[[listener]]
address = "127.0.0.1:8080"
[session]
[[session.issuer]]
issuer = "https://idp.example.com"
audiences = ["my-app"]
algorithms = ["ES256"]
keys = { discovery = true }
[[provider]]
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "https://engine.intelliprove.com"
api_key = { file = "secrets/intelliprove.key" }
redirect_hosts = ["*.intelliprove.com"]
[[plugin]]
name = "face-scan"
provider = "intelliprove"
mint = "face-scan"
path = "/plugins/face-scan"
reuse = "user"
"#;

pub(super) fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    Config::parse(text, "valet.toml", folder().path())
}

/// The faults as printed, without the file's name.
pub(super) fn lines(text: &str) -> Vec<String> {
    let faults = parse(text).err().unwrap_or_default();
    faults.iter().map(|fault| fault.to_string().strip_prefix("valet.toml:").unwrap().to_owned()).collect()
}

/// The faults as printed, from the key on; the test's folder is written `DIR`.
pub(super) fn faults(text: &str) -> Vec<String> {
    let folder = folder();
    let faults = Config::parse(text, "valet.toml", folder.path()).err().unwrap_or_default();
    let shown = folder.path().display().to_string();
    faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message).replace(&shown, "DIR")).collect()
}

/// [`GOOD`] with one line replaced (or followed by more) by what stands after `->`.
pub(super) fn edited(line: &str, instead: &str) -> String {
    assert!(GOOD.contains(line), "the good file has no {line:?}");
    GOOD.replacen(line, instead, 1)
}

/// [`GOOD`] with keys added to a table.
pub(super) fn with(table: &str, keys: &str) -> String {
    edited(&format!("{table}\n"), &format!("{table}\n{keys}\n"))
}

#[track_caller]
pub(super) fn assert_faults(text: &str, expected: &[&str]) {
    assert_eq!(faults(text), expected, "for:\n{text}");
}
