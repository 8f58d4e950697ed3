//! Faults of shape: what is no TOML, unknown, missing, or of the wrong type.

use super::*;

#[test]
fn the_good_file_has_no_fault() {
    assert_faults(GOOD, &[]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("audiences = [\"my-app\"]", "audiences = []")
        .replace(
            "reuse = \"user\"",
            "reuse = \"user\"\nmin_remaining = \"five\"\nmax_agee = \"1h\"\nlanguages = [\"en\", 3]",
        )
        .replace("name = \"intelliprove\"\n", "")
        .replace("path = \"/plugins", "path = \"//plugins");
    assert_eq!(
        lines(&text),
        [
            r#"8:13 session.issuer.audiences: at least one audience is required"#,
            r#"11:1 provider.name: is required"#,
            r#"20:8 plugin.path: a path has no `//`"#,
            r#"22:17 plugin.min_remaining: expected a duration such as "5m""#,
            r#"23:1 plugin.max_agee: unknown key; did you mean "max_age"?"#,
            r#"24:20 plugin.languages: expected a string, found an integer"#,
        ]
    );
}

#[test]
fn what_is_no_toml_is_one_fault_with_its_place() {
    assert_eq!(lines("[server]\nx = \n"), ["2:5: not TOML: string values must be quoted, expected literal string"]);
    assert_eq!(lines("a = 1\na = 2\n"), ["2:1: not TOML: duplicate key, it stands in line 1 already"]);
}

#[test]
fn an_empty_file_lacks_what_has_no_default() {
    assert_eq!(
        lines(""),
        ["1:1 listener: at least one [[listener]] is required", "1:1 server: is required", "1:1 session: is required",]
    );
}

#[test]
fn each_missing_key_of_a_table_is_named_at_its_header() {
    assert_eq!(
        lines(&edited("name = \"face-scan\"\nprovider = \"intelliprove\"\nmint = \"face-scan\"\n", "")),
        ["17:1 plugin.mint: is required", "17:1 plugin.name: is required", "17:1 plugin.provider: is required"]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_both_types() {
    for (table, keys, fault) in [
        ("[server]", "threads = \"two\"", "server.threads: expected an integer, found a string"),
        ("[server]", "threads = -1", "server.threads: expected an integer that is not negative"),
        ("[server]", "threads = 99999999999999999999", "server.threads: expected an integer that is not negative"),
        ("[server]", "drain = 30", "server.drain: expected a duration such as \"5m\", found an integer"),
        ("[server]", "drain = \"-30s\"", "server.drain: a duration can't be negative"),
        (
            "[session]",
            "sources = \"header:authorization\"",
            "session.sources: expected a list, found a string: put it in brackets, sources = [\"…\"]",
        ),
        ("[session]", "sources = [true]", "session.sources: expected a string, found a boolean"),
        ("[session]", "login_url = 1979-05-27", "session.login_url: expected a string, found a date"),
        ("[session]", "cache = 1.5", "session.cache: expected an integer, found a float"),
        ("[[plugin]]", "mints_per_subject = 30", "plugin.mints_per_subject: expected a table, found an integer"),
        (
            "[[plugin]]",
            "mints_per_subject = { count = 4294967296, within = \"1h\" }",
            "plugin.mints_per_subject.count: expected an integer from 0 to 4294967295",
        ),
        ("[server]", "drain = {}", "server.drain: expected a duration such as \"5m\", found a table"),
        ("[server]", "drain = \"soon\"", "server.drain: expected a duration such as \"5m\""),
    ] {
        assert_faults(&with(table, keys), &[fault]);
    }
}

#[test]
fn an_unknown_choice_lists_the_choices() {
    let reuse = "plugin.reuse: expected one of \"user\", \"session\", \"never\"";
    assert_faults(&edited("reuse = \"user\"", "reuse = \"always\""), &[reuse]);
    assert_faults(&edited("reuse = \"user\"", "reuse = 1"), &["plugin.reuse: expected a string, found an integer"]);
    let level = "log.level: expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"";
    assert_faults(&format!("{GOOD}[log]\nlevel = \"loud\""), &[level]);
    let store = "leases.store: expected one of \"memory\", \"file\", \"redis\"";
    assert_faults(&format!("{GOOD}[leases]\nstore = \"disk\""), &[store]);
    let none = faults(&edited("\"ES256\"", "\"none\""));
    assert_eq!(none.len(), 1);
    assert!(none[0].starts_with("session.issuer.algorithms: expected one of \"RS256\", "), "{none:?}");
}

#[test]
fn keys_of_parts_that_do_not_exist_are_refused() {
    for (text, key) in [
        (with("[server]", "proxies = []"), "server.proxies"),
        (with("[[listener]]", "cert = \"a\""), "listener.cert"),
        (with("[[session.issuer]]", "logout_audience = \"web\""), "session.issuer.logout_audience"),
        (edited("discovery = true", "discovery = true, proxy = \"x\""), "session.issuer.keys.proxy"),
        (format!("{GOOD}[policies]\ndirectory = \".\"\nreport = true"), "policies.report"),
        (format!("{GOOD}[limits]\nper_minute = 3\n"), "limits.per_minute"),
        (format!("{GOOD}directory = \"/\""), "plugin.directory"),
        (format!("warnings = []\n{GOOD}"), "warnings"),
    ] {
        let found = faults(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{key}: unknown key")), "{found:?}");
    }
}

#[test]
fn a_misspelled_required_key_is_one_fault_and_not_two() {
    assert_faults(&edited("mint =", "mnit ="), &["plugin.mnit: unknown key; did you mean \"mint\"?"]);
}

#[test]
fn a_faulty_provider_leaves_no_fault_at_what_refers_to_it() {
    assert_faults(
        &edited("name = \"intelliprove\"", "name = 3"),
        &["provider.name: expected a string, found an integer"],
    );
    assert_faults(&edited("\"intelliprove-v2\"", "[]"), &["provider.preset: expected a string, found a list"]);
}

#[test]
fn a_secret_in_the_place_of_its_source_is_never_repeated() {
    let source = r#"provider.api_key: expected { file = "…" } or { env = "NAME" }, or a list of two, found"#;
    for (written, kind) in
        [("\"sk_canary\"", "a string"), ("true", "a boolean"), ("3", "an integer"), ("1.5", "a float")]
    {
        let fault = format!("{source} {kind}");
        assert_faults(&edited("{ file = \"secrets/intelliprove.key\" }", written), &[fault.as_str()]);
    }
    for (written, fault) in [
        ("{ file = \"a\", env = \"B\" }", "provider.api_key: expected exactly one of `file` and `env`"),
        ("{}", "provider.api_key: expected exactly one of `file` and `env`"),
        ("{ flie = \"a\" }", "provider.api_key.flie: unknown key; did you mean \"file\"?"),
        ("[{ file = 3 }]", "provider.api_key.file: expected a path, found an integer"),
        ("[\"sk_canary\"]", "provider.api_key: expected a table, found a string"),
    ] {
        assert_faults(&edited("{ file = \"secrets/intelliprove.key\" }", written), &[fault]);
    }
}

#[test]
fn an_unknown_key_of_odd_letters_stays_one_readable_line() {
    let found = lines(&with("[server]", "\"a\\nb c\" = 1"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("2:1 server.\"a\\nb c\": unknown key"), "{found:?}");
}

#[test]
fn a_file_with_a_thousand_faults_is_given_up_after_some() {
    let text: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    assert_eq!(lines(&text).len(), 200);
}

#[test]
fn a_file_that_can_not_be_read_is_one_fault() {
    let folder = folder();
    let told = |name: &str| {
        let faults = load(&folder.path().join(name)).unwrap_err();
        assert_eq!(faults.len(), 1);
        faults[0].to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    assert!(told("absent.toml").starts_with("DIR/absent.toml: can't be read: "), "{}", told("absent.toml"));
    assert_eq!(told("secrets"), "DIR/secrets: is a folder, not a file");
    std::fs::write(folder.path().join("bytes.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(told("bytes.toml"), "DIR/bytes.toml: is not UTF-8, but looks like UTF-16: save it as UTF-8");
    std::fs::write(folder.path().join("large.toml"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert_eq!(told("large.toml"), "DIR/large.toml: is larger than 1 MiB; that is no configuration");
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let folder = folder();
    let path = folder.path().join("valet.toml");
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(load(&path).unwrap().directory, folder.path());
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let key = folder.path().join("secrets/intelliprove.key");
    let warnings = |mode: u32| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::parse(GOOD, "valet.toml", folder.path()).unwrap().warnings
    };
    assert_eq!(warnings(0o600), Vec::<String>::new());
    let expected = format!("{}: this secret can be read by its group or by everyone; chmod 600 it", key.display());
    for mode in [0o640, 0o604] {
        assert_eq!(warnings(mode), std::slice::from_ref(&expected));
    }
}
