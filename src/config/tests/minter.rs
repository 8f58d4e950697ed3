//! The two roles: who holds the key, and who asks for URLs.

use super::tls::folder_with_site;
use super::*;

const MINTER: &str = r#"[minter]
address = "127.0.0.1:8444"
tls = { chain = "site.pem", key = "site.key", client_ca = "ca.pem" }
[[minter.edge]]
name = "edge-1.internal"
plugins = ["face-scan"]
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
"#;

const LINK: &str =
    r#"minter = { url = "https://minter.internal:8444", ca = "ca.pem", certificate = "site.pem", key = "site.key" }"#;

/// Faults and warnings; the folder is written `DIR`.
fn judge(text: &str) -> (Vec<String>, Vec<String>) {
    let folder = folder_with_site(&["minter.internal"], (2020, 2999));
    let shown = folder.path().display().to_string();
    match Config::parse(text, "valet.toml", folder.path()) {
        Ok(config) => {
            let warnings = config.warnings.iter().filter(|line| line.contains("minter"));
            (vec![], warnings.map(|line| line.replace(&shown, "DIR")).collect())
        }
        Err(faults) => {
            let lines = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message).replace(&shown, "DIR"));
            (lines.collect(), vec![])
        }
    }
}

#[track_caller]
fn assert_judged(text: &str, faults: &[&str]) {
    assert_eq!(judge(text).0, faults, "for:\n{text}");
}

fn minter(line: &str, instead: &str) -> String {
    assert!(MINTER.contains(line), "{line:?}");
    MINTER.replacen(line, instead, 1)
}

/// [`GOOD`] as the file of an edge.
fn edge(link: &str) -> String {
    let key = "api_key = { file = \"secrets/intelliprove.key\" }\n";
    let text = edited("preset = \"intelliprove-v2\"\nbase_url = \"https://engine.intelliprove.com\"\n", "");
    text.replacen(key, &format!("{link}\n"), 1)
}

#[test]
fn a_minter_needs_no_listener_and_an_edge_no_key() {
    assert_eq!(judge(MINTER), (vec![], vec![]));
    assert_eq!(judge(&edge(LINK)), (vec![], vec![]));
    let two = LINK.replace("\"https://minter.internal:8444\"", "[\"https://a.internal\", \"https://b.internal\"]");
    assert_eq!(judge(&edge(&two)), (vec![], vec![]));
}

#[test]
fn a_redirect_host_that_no_url_could_match_is_one_fault_of_an_edge_as_of_a_key_holder() {
    let hosts =
        |text: String| text.replace("[\"*.intelliprove.com\"]", "[\"*.vendor.localhost\", \"a.example.com:08443\"]");
    for text in [hosts(edge(LINK)), hosts(GOOD.to_owned())] {
        let folder = folder_with_site(&["minter.internal"], (2020, 2999));
        let faults = Config::parse(&text, "valet.toml", folder.path()).unwrap_err();
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let at = text.lines().position(|line| line.starts_with("redirect_hosts")).unwrap() + 1;
        assert_eq!(
            lines,
            [format!(
                "valet.toml:{at}:41 provider.redirect_hosts: a port is a number from 1 to 65535, without a zero at its beginning"
            )]
        );
    }
}

#[test]
fn an_edge_with_an_api_key_is_refused() {
    let key = "provider.api_key: an edge holds no API key: the minter has it; take one of the two out";
    assert_judged(&edge(&format!("{LINK}\napi_key = {{ file = \"secrets/intelliprove.key\" }}")), &[key]);
    for line in
        ["preset = \"intelliprove-v2\"", "base_url = \"https://engine.intelliprove.com\"", "auth = { bearer = true }"]
    {
        let key = line.split(' ').next().unwrap();
        let fault = format!("provider.{key}: is the minter's business: `minter` stands in its place");
        assert_judged(&edge(&format!("{LINK}\n{line}")), &[&fault]);
    }
}

#[test]
fn the_way_to_a_minter_is_tls_with_a_certificate_that_can_be_read() {
    let link = |from: &str, to: &str| edge(&LINK.replace(from, to));
    for (text, fault) in [
        (link("https://", "http://"), "provider.minter.url: `http://` is allowed on loopback"),
        (link("https://minter.internal", "http://localhost"), "provider.minter.url: a minter is asked over TLS"),
        (link("8444\"", "8444/v1\""), "provider.minter.url: expected an origin"),
        (link("\"https://minter.internal:8444\"", "[]"), "provider.minter.url: at least one minter is required"),
        (link("ca.pem", "none.pem"), "provider.minter.ca: DIR/none.pem: No such file"),
        (link("\"site.pem\"", "\"text.txt\""), "provider.minter.certificate: DIR/text.txt holds no certificate"),
        (link("site.key", "other.key"), "provider.minter.key: DIR/other.key does not belong"),
        (link("key = \"site.key\"", "key = \"site.key\", claims = [\"\"]"), "provider.minter.claims: "),
    ] {
        let (faults, _) = judge(&text);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(fault), "{faults:?} is not {fault:?}");
    }
}

#[test]
fn a_minter_knows_its_edges_and_what_each_may() {
    let named = |name: &str| minter("edge-1.internal", name);
    let plugins = |list: &str| minter("[\"face-scan\"]", list);
    for (text, fault) in [
        (named("edge 1"), "minter.edge.name: expected a name in the edge's certificate"),
        (named(""), "minter.edge.name: expected a name in the edge's certificate"),
        (plugins("[]"), "minter.edge.plugins: at least one plug-in is required"),
        (plugins("[\"face-scan\", \"face-scan\"]"), "minter.edge.plugins: this plug-in stands in the list already"),
        (
            plugins("[\"scan\"]"),
            "minter.edge.plugins: no plug-in and no mint has this name; there are: face-scan, health-dashboard",
        ),
        (
            minter("[[minter.edge]]\nname = \"edge-1.internal\"\nplugins = [\"face-scan\"]\n", ""),
            "minter.edge: at least one [[minter.edge]]",
        ),
        (minter("127.0.0.1:8444", "unix:/run/minter.sock"), "minter.address: expected an address such as"),
        (
            minter("client_ca = \"ca.pem\"", "client_ca = \"text.txt\""),
            "minter.tls.client_ca: DIR/text.txt holds no certificate",
        ),
        (minter("site.key", "other.key"), "minter.tls.key: DIR/other.key does not belong"),
        (
            minter("[[minter.edge]]", "per_edge = { rate = 0, burst = 1 }\n[[minter.edge]]"),
            "minter.per_edge.rate: expected a whole number from 1 to 1000000",
        ),
        (minter("[[session.issuer]]", "[session]\n[[sessions.issuer]]"), "sessions: unknown key"),
    ] {
        let (faults, _) = judge(&text);
        assert!(faults.iter().any(|line| line.starts_with(fault)), "{faults:?} has no {fault:?}");
    }
    assert_eq!(judge(&named("spiffe://example.com/edge")).0, [""; 0]);
}

#[test]
fn two_mints_of_one_name_need_plugins_with_names_of_their_own() {
    let other = MINTER.split("[[provider]]").nth(1).unwrap().replace("\"intelliprove\"", "\"other\"");
    let two = format!("{MINTER}[[provider]]{other}");
    let (faults, _) = judge(&two);
    assert!(faults[0].starts_with("minter.edge.plugins: two providers have a mint of this name"), "{faults:?}");
    let named = "[[plugin]]\nname = \"face-scan\"\nprovider = \"other\"\nmint = \"face-scan\"\npath = \"/x\"\nreuse = \"user\"\n";
    assert_judged(&format!("{two}{named}"), &[]);
}

#[test]
fn what_weakens_the_pair_is_a_warning() {
    let believing = minter("[[minter.edge]]", "verify_sessions = false\n[[minter.edge]]");
    assert_eq!(judge(&believing).1, ["minter.verify_sessions is off: an edge that is taken over mints for anybody"]);
    // Who believes needs no issuer.
    let issuer = MINTER.find("[[session.issuer]]").unwrap()..MINTER.find("[[provider]]").unwrap();
    let without = believing.replace(&MINTER[issuer.clone()], "");
    assert_eq!(judge(&without).0, [""; 0]);
    assert_judged(&MINTER.replace(&MINTER[issuer], ""), &["session: is required"]);

    let both = format!(
        "{MINTER}[server]\npublic_url = \"https://app.example.com\"\n[[listener]]\naddress = \"127.0.0.1:8080\"\n"
    );
    assert_eq!(judge(&both).1, ["[minter] beside [[listener]]: this process faces browsers and holds the API key"]);
    // What faces browsers must know its name.
    assert_judged(&format!("{MINTER}[[listener]]\naddress = \"127.0.0.1:8080\"\n"), &["server: is required"]);
}
