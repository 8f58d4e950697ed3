//! The certificates of listeners.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// The good file's folder with `site.pem`, `site.key` and another key.
pub(super) fn folder_with_site(names: &[&str], years: (i32, i32)) -> tempfile::TempDir {
    let folder = folder();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let write = |name: &str, text: String| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("site.pem", params.self_signed(&key).unwrap().pem());
    write("site.key", key.serialize_pem());
    write("other.key", KeyPair::generate().unwrap().serialize_pem());
    folder
}

/// Faults with their lines, and warnings; the folder is written `DIR`.
fn judge(folder: &tempfile::TempDir, address: &str, tls: &str) -> (Vec<String>, Vec<String>) {
    let text = edited("address = \"127.0.0.1:8080\"", &format!("address = \"{address}\"\ntls = {tls}"));
    let shown = folder.path().display().to_string();
    let bare = |lines: Vec<String>| lines.into_iter().map(|line| line.replace(&shown, "DIR")).collect();
    match Config::parse(&text, "valet.toml", folder.path()) {
        Ok(config) => (Vec::new(), bare(config.warnings.into_iter().filter(|line| line.contains("site")).collect())),
        Err(faults) => (bare(faults.iter().map(ToString::to_string).collect()), Vec::new()),
    }
}

const SITE: &str = "[{ chain = \"site.pem\", key = \"site.key\" }]";

#[test]
fn a_certificate_with_its_key_is_no_fault_on_any_kind_of_address() {
    let folder = folder_with_site(&["a.example"], (2020, 2999));
    for address in ["127.0.0.1:8443", "[::1]:8443", "unix:/run/valet.sock"] {
        assert_eq!(judge(&folder, address, SITE), (vec![], vec![]), "{address}");
    }
}

#[test]
fn a_wrong_certificate_is_a_fault_with_its_line() {
    let folder = folder_with_site(&["a.example"], (2020, 2999));
    for (tls, faults) in [
        (
            "[]",
            vec![
                "valet.toml:5:7 listener.tls: expected at least one certificate; without any the listener would speak plain HTTP",
            ],
        ),
        ("[{ chain = \"site.pem\" }]", vec!["valet.toml:5:8 listener.tls.key: is required"]),
        (
            "[{ chain = \"site.pem\", key = \"other.key\" }]",
            vec![
                "valet.toml:5:36 listener.tls.key: DIR/other.key does not belong to the first certificate of DIR/site.pem",
            ],
        ),
        (
            "[{ chain = \"text.txt\", key = \"text.txt\" }]",
            vec![
                "valet.toml:5:18 listener.tls.chain: DIR/text.txt holds no certificate in PEM",
                "valet.toml:5:36 listener.tls.key: DIR/text.txt holds no private key in PEM",
            ],
        ),
        (
            "[{ chain = \"site.pem\", key = \"site.key\" }, { chain = \"none.pem\", key = \"site.key\" }]",
            vec!["valet.toml:5:60 listener.tls.chain: DIR/none.pem: No such file or directory (os error 2)"],
        ),
    ] {
        assert_eq!(
            judge(&folder, "127.0.0.1:8443", tls),
            (faults.into_iter().map(str::to_owned).collect(), vec![]),
            "{tls}"
        );
    }
}

#[test]
fn dates_names_and_open_keys_are_warnings() {
    let ended = folder_with_site(&["a.example"], (2020, 2021));
    let warning = "DIR/site.pem: this certificate ended at 2021-01-01T00:00:00.000Z";
    assert_eq!(judge(&ended, "127.0.0.1:8443", SITE).1, [warning]);
    let early = folder_with_site(&["a.example"], (2998, 2999));
    let warning = "DIR/site.pem: this certificate begins at 2998-01-01T00:00:00.000Z";
    assert_eq!(judge(&early, "127.0.0.1:8443", SITE).1, [warning]);
    let nameless = folder_with_site(&[], (2020, 2999));
    let warning = "DIR/site.pem: this certificate has no name (subjectAltName); browsers refuse it";
    assert_eq!(judge(&nameless, "127.0.0.1:8443", SITE).1, [warning]);
    let open = folder_with_site(&["a.example"], (2020, 2999));
    std::fs::set_permissions(open.path().join("site.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let warning = "DIR/site.key: this secret can be read by its group or by everyone; chmod 600 it";
    assert_eq!(judge(&open, "127.0.0.1:8443", SITE).1, [warning]);
}

/// Faults of a listener with these lines; the folder is written `DIR`.
fn faults(folder: &tempfile::TempDir, public_url: &str, lines: &str) -> Vec<String> {
    let text = edited("address = \"127.0.0.1:8080\"", &format!("address = \"127.0.0.1:8080\"\n{lines}"));
    let text = text.replace("https://app.example.com", public_url);
    let shown = folder.path().display().to_string();
    let faults = Config::parse(&text, "valet.toml", folder.path()).err().unwrap_or_default();
    faults.iter().map(|fault| fault.to_string().replace(&shown, "DIR")).collect()
}

#[test]
fn what_is_said_of_tls_where_there_is_none_is_a_fault() {
    let folder = folder_with_site(&["a.example"], (2020, 2999));
    let uncalled = "belongs to a listener with `tls`: this one speaks plain HTTP";
    for (lines, expected) in [
        ("min_tls = \"1.3\"", vec![format!("valet.toml:5:11 listener.min_tls: {uncalled}")]),
        ("hsts = \"365d\"", vec![format!("valet.toml:5:8 listener.hsts: {uncalled}")]),
        (
            "client_ca = \"site.pem\"\nclient_certificate = \"optional\"",
            vec![format!("valet.toml:5:13 listener.client_ca: {uncalled}")],
        ),
        (
            "client_certificate = \"optional\"",
            vec![
                "valet.toml:5:22 listener.client_certificate: says whether a client must show a certificate of `client_ca`, which is not there".into(),
            ],
        ),
        ("redirect = \"https\"", vec![]),
    ] {
        assert_eq!(faults(&folder, "https://app.example.com", lines), expected, "{lines}");
    }
}

#[test]
fn a_redirect_needs_somewhere_to_lead_and_authorities_are_read() {
    let folder = folder_with_site(&["a.example"], (2020, 2999));
    let tls = format!("tls = {SITE}");
    for (public_url, lines, expected) in [
        (
            "https://app.example.com",
            format!("{tls}\nmin_tls = \"1.3\"\nhsts = \"365d\"\nclient_ca = \"site.pem\""),
            vec![],
        ),
        (
            "http://app.localhost",
            "redirect = \"https\"".into(),
            vec!["valet.toml:5:12 listener.redirect: server.public_url, where it would lead, is not https://"],
        ),
        (
            "https://app.example.com",
            format!("{tls}\nredirect = \"https\""),
            vec![
                "valet.toml:6:12 listener.redirect: a listener that redirects to https speaks plain HTTP: it has no `tls`",
            ],
        ),
        (
            "https://app.example.com",
            format!("{tls}\nclient_ca = \"site.key\""),
            vec![
                "valet.toml:6:13 listener.client_ca: DIR/site.key holds no certificate in PEM: it holds a private key",
            ],
        ),
        (
            "https://app.example.com",
            format!("{tls}\nmin_tls = \"1.1\"\nredirect = \"http\"\nhsts = \"a year\"\nclient_certificate = \"maybe\""),
            vec![
                "valet.toml:6:11 listener.min_tls: expected one of \"1.2\", \"1.3\"; did you mean \"1.2\"?",
                "valet.toml:7:12 listener.redirect: expected \"https\"",
                "valet.toml:8:8 listener.hsts: expected a duration such as \"5m\"",
                "valet.toml:9:22 listener.client_certificate: expected one of \"required\", \"optional\"",
            ],
        ),
    ] {
        assert_eq!(faults(&folder, public_url, &lines), expected, "{lines}");
    }
}
