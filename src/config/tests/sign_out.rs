//! `[session.logout]`, `[session.events]`, and how long a revocation is remembered.

use super::*;

/// A transmitter without fault; what stands in place of a line, or behind the last one, is the test's.
const TRANSMITTER: &str = r#"[session.events]
[[session.events.transmitter]]
issuer = "https://signals.example.com"
audiences = ["https://app.example.com"]
keys = { jwks_url = "https://signals.example.com/jwks.json" }
subjects_of = "https://idp.example.com"
"#;

/// [`GOOD`] with these tables of `[session]` behind the line of its header, which is the fifth: the first of theirs is the sixth.
fn tables(text: &str) -> String {
    edited("[session]\n", &format!("[session]\n{text}"))
}

fn warnings(text: &str, key: &str) -> Vec<String> {
    parse(text).unwrap().warnings.into_iter().filter(|warning| warning.starts_with(key)).collect()
}

#[test]
fn each_wrong_path_is_named_with_its_place() {
    let own = "Valet has this path for something else";
    for (path, fault) in [
        ("/.valet/backchannel-logout", None),
        ("/.valet/logout/of/ours", None),
        ("/signed-out", None),
        ("/.valetx", None),
        ("logout", Some("expected a path that starts with `/`")),
        ("", Some("expected a path that starts with `/`")),
        ("/.valet", Some("paths below `/.valet/` are Valet's own")),
        ("/.valet//logout", Some("a path has no `//`")),
        ("/.valet/../logout", Some("a path has no `.` and `..` segments")),
        ("/logout?x=1", Some("a path has visible ASCII without `?`, `#` and `\\`; percent-encode the rest")),
        ("/.valet/jwks.json", Some(own)),
        ("/.valet/authorize", Some(own)),
        ("/.valet/authorize/logout", Some(own)),
        ("/.valet/doctor", Some(own)),
        ("/plugins/face-scan", Some("a plug-in has this path")),
    ] {
        let expected = |line: &str, key: &str| -> Vec<String> {
            fault.iter().map(|fault| format!("{line}:8 session.{key}.path: {fault}")).collect()
        };
        let written = format!("path = \"{path}\"\n");
        assert_eq!(lines(&tables(&format!("[session.logout]\n{written}"))), expected("7", "logout"), "{path}");
        let events = TRANSMITTER.replacen("[session.events]\n", &format!("[session.events]\n{written}"), 1);
        assert_eq!(lines(&tables(&events)), expected("7", "events"), "{path}");
    }
    let same = format!("[session.logout]\npath = \"/x\"\n{}", TRANSMITTER.replacen('\n', "\npath = \"/x\"\n", 1));
    assert_eq!(lines(&tables(&same)), ["9:8 session.events.path: this path is taken (line 7)"]);
    let by_default = TRANSMITTER.replacen('\n', "\npath = \"/.valet/backchannel-logout\"\n", 1);
    assert_eq!(faults(&tables(&format!("[session.logout]\n{by_default}"))).len(), 1, "the default is a path too");
}

#[test]
fn each_wrong_value_of_a_transmitter_is_named_with_its_place() {
    assert_eq!(lines(&tables(TRANSMITTER)), [""; 0]);
    for (line, instead, expected) in [
        (
            "issuer = \"https://signals.example.com\"",
            "issuer = \"\"",
            "8:10 session.events.transmitter.issuer: must not be empty",
        ),
        ("issuer = \"https://signals.example.com\"\n", "", "7:1 session.events.transmitter.issuer: is required"),
        (
            "[\"https://app.example.com\"]",
            "[]",
            "9:13 session.events.transmitter.audiences: expected at least one audience, none of them empty",
        ),
        (
            "[\"https://app.example.com\"]",
            "[\"a\", \"\"]",
            "9:13 session.events.transmitter.audiences: expected at least one audience, none of them empty",
        ),
        ("audiences = [\"https://app.example.com\"]\n", "", "7:1 session.events.transmitter.audiences: is required"),
        (
            "{ jwks_url = \"https://signals.example.com/jwks.json\" }",
            "{}",
            "10:8 session.events.transmitter.keys: expected exactly one of `discovery = true`, `jwks_url`, `jwks_file`, `pem_file`, `secret`",
        ),
        (
            "https://signals.example.com/jwks.json",
            "http://signals.example.com/jwks.json",
            "10:21 session.events.transmitter.keys.jwks_url: `http://` is allowed on loopback and `*.localhost` only; use `https://`",
        ),
        (
            "{ jwks_url = \"https://signals.example.com/jwks.json\" }",
            "{ jwks_file = \"nowhere.json\" }",
            "10:22 session.events.transmitter.keys.jwks_file: ",
        ),
        (
            "subjects_of = \"https://idp.example.com\"",
            "subjects_of = \"https://other.example.com\"",
            "11:15 session.events.transmitter.subjects_of: no [[session.issuer]] has this `issuer`",
        ),
        ("subjects_of = \"https://idp.example.com\"\n", "", "7:1 session.events.transmitter.subjects_of: is required"),
        (
            "[[session.events.transmitter]]\n",
            "[[session.events.transmitter]]\nalgorithms = []\n",
            "8:14 session.events.transmitter.algorithms: at least one algorithm is required",
        ),
        (
            "[[session.events.transmitter]]\n",
            "[[session.events.transmitter]]\nalgorithms = [\"HS256\"]\n",
            "8:15 session.events.transmitter.algorithms: this algorithm needs `keys = { secret = … }`",
        ),
        (
            "[[session.events.transmitter]]\n",
            "[[session.events.transmitter]]\naudience = \"a\"\n",
            "8:1 session.events.transmitter.audience: unknown key; did you mean \"audiences\"?",
        ),
    ] {
        assert!(TRANSMITTER.contains(line), "{line}");
        let found = lines(&tables(&TRANSMITTER.replacen(line, instead, 1)));
        assert!(matches!(found.as_slice(), [one] if one.starts_with(expected)), "{instead}: {found:#?}");
    }
    assert_eq!(
        lines(&tables("[session.events]\n")),
        ["6:1 session.events.transmitter: at least one [[session.events.transmitter]] is required"]
    );
    let (_, table) = TRANSMITTER.split_once('\n').unwrap();
    assert_eq!(
        lines(&tables(&format!("{TRANSMITTER}{table}"))),
        ["13:10 session.events.transmitter.issuer: this transmitter stands in the file already (line 8)"]
    );
}

#[test]
fn whom_logout_tokens_are_for_is_a_list_and_means_something_beside_the_table_only() {
    let message = "expected at least one audience, none of them empty; left out, `audiences` are meant";
    let audiences = |list: &str, table: &str| {
        with("[[session.issuer]]", &format!("logout_audiences = {list}")).replacen("[session]\n", table, 1)
    };
    let logout = "[session]\n[session.logout]\n";
    for list in ["[]", "[\"web\", \"\"]"] {
        assert_eq!(lines(&audiences(list, logout)), [format!("8:20 session.issuer.logout_audiences: {message}")]);
    }
    assert_eq!(faults(&audiences("\"web\"", logout)).len(), 1, "a list");
    assert_eq!(lines(&audiences("[\"web\"]", logout)), [""; 0]);
    assert_eq!(warnings(&audiences("[\"web\"]", logout), "session.issuer.logout_audiences"), [""; 0]);
    assert_eq!(warnings(&audiences("[\"web\"]", "[session]\n"), "session.issuer.logout_audiences").len(), 1);
}

#[test]
fn wrong_words_of_the_session_are_named_with_their_place() {
    for (keys, expected) in [
        ("revocation_life = \"59s\"", "6:19 session.revocation_life: expected \"1m\" to \"8784h\""),
        ("revocation_life = \"8785h\"", "6:19 session.revocation_life: expected \"1m\" to \"8784h\""),
        ("revocation_life = 24", "6:19 session.revocation_life: expected a duration such as \"5m\", found an integer"),
        ("revocations_unknown = \"guess\"", "6:23 session.revocations_unknown: expected one of \"serve\", \"refuse\""),
        (
            "revocations_unkown = \"serve\"",
            "6:1 session.revocations_unkown: unknown key; did you mean \"revocations_unknown\"?",
        ),
        ("logout = \"/x\"", "6:10 session.logout: expected a table, found a string"),
        ("events = true", "6:10 session.events: expected a table, found a boolean"),
    ] {
        assert_eq!(lines(&with("[session]", keys)), [expected]);
    }
    // Everything at once, in the order of the file.
    let text = TRANSMITTER.replacen("subjects_of = \"https://idp", "subjects_of = \"https://pdi", 1);
    let all = tables(&format!("revocation_life = \"1s\"\n[session.logout]\npath = \"x\"\n{text}"));
    let keys: Vec<_> = faults(&all).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(keys, ["session.revocation_life", "session.logout.path", "session.events.transmitter.subjects_of"]);
}

#[test]
fn what_tells_a_vendor_is_a_call_with_values_that_are_known_without_a_session() {
    for name in ["revoke", "forget"] {
        let table = |path: &str| {
            format!(
                "{GOOD}[[provider]]\nname = \"acme\"\nbase_url = \"https://api.acme.example\"\napi_key = {{ file = \"secrets/acme.key\" }}\nauth = {{ bearer = true }}\nredirect_hosts = [\"acme.example\"]\n[provider.{name}]\npath = \"{path}\"\n[provider.mint.embed]\npath = \"/embed\"\nurl = \"text\"\nexpires = \"fixed\"\n"
            )
        };
        let at = GOOD.lines().count() + 8;
        assert_eq!(lines(&table("/tokens/{subject}")), [""; 0]);
        for path in ["/tokens/{language}", "/tokens/{claim:org}", "tokens", "/tokens/{answer:/id}"] {
            let found = lines(&table(path));
            let places = [format!("{at}:8 provider.{name}.path: "), format!("{}:1 provider.{name}: ", at - 1)];
            let is_placed = |one: &String| places.iter().any(|place| one.starts_with(place));
            assert!(matches!(found.as_slice(), [one] if is_placed(one)), "{path}: {found:#?}");
        }
    }
}
