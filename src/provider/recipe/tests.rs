use super::super::needs::{claim_names_of, mint_names, uses_subject_hash};
use super::*;

const ACME: &str = r#"
name = "acme"
base_url = "https://api.acme.example/root/"
api_key = { env = "ACME_KEY" }
auth = { header = "x-api-key" }
redirect_hosts = ["embed.acme.example"]

[register]
method = "POST"
path = "/users"
json = { external_user_id = "{subject}" }
accept = [200, 201]
accept_if = [{ status = 400, body_contains = "already exists" }]

[mint.embed]
method = "GET"
path = "/embed"
query = { external_user_id = "{subject}", language = "{language}" }
url = "json:/url"
expires = "jwt:action_token"

[revoke]
method = "DELETE"
path = "/tokens/{subject}"
"#;

const PRESET: &str = r#"
name = "intelliprove"
preset = "intelliprove-v2"
base_url = "https://engine.intelliprove.com"
api_key = { env = "KEY" }
redirect_hosts = ["*.intelliprove.com"]
"#;

fn settings(toml: &str) -> ProviderSettings {
    toml::from_str(toml).unwrap()
}

fn recipe(toml: &str) -> Recipe {
    compile(&settings(toml)).unwrap()
}

fn fault_keys(toml: &str) -> Vec<String> {
    let mut keys: Vec<_> = compile(&settings(toml)).unwrap_err().into_iter().map(|fault| fault.path).collect();
    keys.sort();
    keys
}

/// `ACME` with one text in the place of another.
fn acme(from: &str, to: &str) -> String {
    assert!(ACME.contains(from), "{from}");
    ACME.replacen(from, to, 1)
}

#[test]
fn the_contracts_own_example_is_read() {
    let recipe = recipe(ACME);
    assert_eq!(recipe.parts.base.origin(), "https://api.acme.example");
    assert_eq!(recipe.parts.base.path, "/root");
    assert_eq!(mint_names(&settings(ACME)), ["embed"]);
    assert!(!uses_subject_hash(&settings(ACME)));
    let register = recipe.parts.register.unwrap();
    assert!(register.accepts(201, b""));
    assert!(register.accepts(400, b"{\"reason\":\"user already exists\"}"));
    assert!(register.accepts(400, b"User Already Exists") && !register.accepts(409, b"already exists"));
}

#[test]
fn presets_are_whole_recipes() {
    assert_eq!(mint_names(&settings(PRESET)), ["face-scan", "health-dashboard"]);
    assert!(recipe(PRESET).parts.register.is_some());
    let v1 = PRESET.replace("-v2", "-v1");
    assert_eq!(mint_names(&settings(&v1)), ["face-scan"]);
    assert!(recipe(&v1).parts.register.is_none());
    assert_eq!(fault_keys(&PRESET.replace("-v2", "-v9")), ["preset"]);
    assert!(mint_names(&settings(&PRESET.replace("-v2", "-v9"))).is_empty());
}

#[test]
fn single_keys_beside_a_preset_replace_its_own() {
    let own = settings(&format!(
        "{PRESET}auth = {{ bearer = true }}\n[mint.face-scan]\npath = '/v2/other'\n[register]\naccept = [204]\n[mint.extra]\npath = '/x'\nurl = 'text'\nexpires = 'fixed'"
    ));
    let (own, preset) = (compile(&own).unwrap().parts, recipe(PRESET).parts);
    assert_eq!(own.auth, Auth::Bearer);
    assert_eq!(
        own.mints.iter().map(|mint| mint.name.as_str()).collect::<Vec<_>>(),
        ["extra", "face-scan", "health-dashboard"]
    );
    let (scan, before) = (&own.mints[1], &preset.mints[0]);
    let call = |mint: &MintCall| match &mint.how {
        How::Call(call) => call.clone(),
        How::Sign(_) => panic!("a call"),
    };
    assert_ne!(call(scan).path, call(before).path);
    assert_eq!((&call(scan).query, &scan.url, &scan.expires), (&call(before).query, &before.url, &before.expires));
    let (register, before) = (own.register.unwrap(), preset.register.unwrap());
    assert_eq!(register.accept, [204]);
    assert_eq!((register.call, register.accept_if), (before.call, before.accept_if));
}

#[test]
fn every_fault_is_named_and_none_repeats_a_value() {
    let toml = r#"
name = "x"
base_url = "https://canary.example"
api_key = { env = "KEY" }
auth = { header = "x-api-key", bearer = true }
redirect_hosts = ["ok.example"]
[register]
path = "canary"
accept = [99]
accept_if = [{ status = 400, body_contains = "" }]
[mint.a]
method = "canary"
json = { x = "{canary}" }
url = "text"
expires = "json:/canary"
[mint.b]
path = "/"
[revoke]
path = "/{language}"
"#;
    let faults = compile(&settings(toml)).unwrap_err();
    assert!(!format!("{faults:?}").contains("canary"), "{faults:?}");
    let expected = [
        "auth",
        "mint.a.expires",
        "mint.a.json.x",
        "mint.a.method",
        "mint.a.path",
        "mint.b.expires",
        "mint.b.url",
        "register.accept",
        "register.accept_if",
        "register.path",
        "revoke.path",
    ];
    assert_eq!(fault_keys(toml), expected);
}

#[test]
fn the_key_goes_to_one_place() {
    for (auth, key) in [
        ("{}", "auth"),
        ("{ bearer = false }", "auth.bearer"),
        ("{ header = 'a b' }", "auth.header"),
        ("{ header = 'host' }", "auth.header"),
        ("{ query = '' }", "auth.query"),
        ("{ query = 'a', bearer = true }", "auth"),
        ("{ query = 'language' }", "mint.embed.query.language"),
    ] {
        assert_eq!(fault_keys(&acme("{ header = \"x-api-key\" }", auth)), [key]);
    }
    assert_eq!(fault_keys(&acme("auth = ", "#")), ["auth"]);
    assert_eq!(
        fault_keys(&acme("redirect_hosts = [\"embed.acme.example\"]", "redirect_hosts = []")),
        ["redirect_hosts"]
    );
}

#[test]
fn a_provider_without_a_mint_is_a_fault() {
    let without = ACME.split("[mint.embed]").next().unwrap();
    assert_eq!(fault_keys(without), ["mint"]);
    assert_eq!(
        fault_keys(&acme(
            "accept = [200, 201]\naccept_if = [{ status = 400, body_contains = \"already exists\" }]",
            "accept = []"
        )),
        ["register.accept"]
    );
}

#[test]
fn the_claims_that_calls_name_are_found_wherever_they_stand() {
    let toml = acme("query = {", "headers = { x-a = '{claim:b?}' }\nquery = { c = '{claim:a}{claim:b}', ")
        .replace("\"{subject}\" }\naccept", "\"{subject}\", n = { deep = ['{claim:c?}'] } }\naccept")
        .replace("/tokens/{subject}\"", "/tokens/{subject_hash}\"\nquery = { d = \"{claim:d?}\" }");
    let pairs = |names: Vec<(String, bool)>| {
        names.iter().map(|(name, optional)| format!("{name}:{optional}")).collect::<Vec<_>>()
    };
    assert_eq!(pairs(claim_names(&settings(&toml))), ["a:false", "b:false", "c:true", "d:true"]);
    assert_eq!(pairs(claim_names_of(&settings(&toml), "embed")), ["a:false", "b:false", "c:true"]);
    assert_eq!(pairs(claim_names_of(&settings(&toml), "other")), ["c:true"]);
    assert!(uses_subject_hash(&settings(&toml)));
    assert_eq!(recipe(&toml).claims, ["a", "b", "c", "d"]);
    assert_eq!(recipe(&toml).with_claims(&["z".into()]).claims, ["z"]);
}

#[test]
fn a_call_about_a_person_needs_no_session() {
    for call in ["revoke", "forget"] {
        for (value, fault) in
            [("{subject}", false), ("{subject_hash}", false), ("{now:epoch}", false), ("{claim:d}", true)]
        {
            let toml = format!(
                "{}\n[{call}]\npath = \"/x/{value}\"\n",
                acme("[revoke]", "[unused]").split("[unused]").next().unwrap()
            );
            let faults = compile(&settings(&toml)).err().unwrap_or_default();
            assert_eq!(
                faults.iter().map(|fault| &*fault.path).collect::<Vec<_>>(),
                vec![call; usize::from(fault)],
                "{value}"
            );
        }
    }
}

#[test]
fn whatever_decides_a_url_changes_the_fingerprint() {
    let changes = [
        ("https://api.acme.example/root/", "https://api.acme.example:8443/root/"),
        ("https://api.acme.example/root/", "https://api.acme.example/"),
        ("https://api.acme.example/root/", "http://localhost/root/"),
        ("auth = { header = \"x-api-key\" }", "auth = { header = \"x-key\" }"),
        ("auth = { header = \"x-api-key\" }", "auth = { query = \"x-api-key\" }"),
        ("auth = { header = \"x-api-key\" }", "auth = { bearer = true }"),
        ("embed.acme.example", "*.acme.example"),
        ("embed.acme.example", "embed.acme.example:444"),
        ("\"embed.acme.example\"", "\"embed.acme.example\", \"b.example\""),
        ("method = \"POST\"", "method = \"PUT\""),
        ("path = \"/users\"", "path = \"/user\""),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ id = \"{subject}\" }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = \"{subject_hash}\" }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = [\"{subject}\"] }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = 1 }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = \"{claim:a}\" }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = \"{claim:a?}\" }\naccept"),
        ("{ external_user_id = \"{subject}\" }\naccept", "{ external_user_id = \"{{subject}}\" }\naccept"),
        ("accept = [200, 201]", "accept = [200]"),
        ("status = 400", "status = 409"),
        ("already exists", "exists"),
        ("[mint.embed]", "[mint.other]"),
        ("method = \"GET\"", "method = \"POST\""),
        ("path = \"/embed\"", "path = \"/embed/\""),
        ("language = \"{language}\"", "lang = \"{language}\""),
        ("language = \"{language}\"", "language = \"en\""),
        ("url = \"json:/url\"", "url = \"json:/uri\""),
        ("url = \"json:/url\"", "url = \"text\""),
        ("url = \"json:/url\"", "headers = { x-a = \"1\" }\nurl = \"json:/url\""),
        ("jwt:action_token", "jwt:token"),
        ("jwt:action_token", "json:/action_token"),
        ("jwt:action_token", "fixed"),
    ];
    let mut seen = vec![recipe(ACME).fingerprint()];
    for (from, to) in changes {
        let changed = recipe(&acme(from, to)).fingerprint();
        assert!(!seen.contains(&changed), "{from} -> {to}");
        seen.push(changed);
    }
}

#[test]
fn what_decides_no_url_leaves_the_fingerprint_alone() {
    for (from, to) in [
        ("name = \"acme\"", "name = \"other\""),
        ("ACME_KEY", "OTHER_KEY"),
        ("redirect_hosts", "timeout = \"9s\"\nmax_in_flight = 3\nredirect_hosts"),
        ("\"embed.acme.example\"", "\"EMBED.acme.example\", \"embed.acme.example\""),
        ("/root/", "/root"),
        ("/tokens/", "/other/"),
    ] {
        assert_eq!(recipe(&acme(from, to)).fingerprint(), recipe(ACME).fingerprint(), "{from} -> {to}");
    }
}

#[test]
fn a_key_that_no_header_can_hold_is_told_before_it_is_used() {
    let recipe = recipe(ACME);
    assert_eq!(recipe.check_key(&Secret::new(b"good-key".to_vec())), Ok(()));
    for key in ["", "two\nlines", "sp ace", "é"] {
        assert!(recipe.check_key(&Secret::new(key.into())).is_err(), "{key:?}");
    }
}

#[test]
fn a_content_type_that_contradicts_the_json_body_is_a_fault() {
    let with = |kind: &str| {
        acme("path = \"/users\"", &format!("path = \"/users\"\nheaders = {{ Content-Type = \"{kind}\" }}"))
    };
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "{subject}"] {
        assert_eq!(fault_keys(&with(wrong)), ["register.headers.Content-Type"], "{wrong}");
    }
    for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.acme.v2+json"] {
        recipe(&with(good));
    }
    recipe(&acme("path = \"/embed\"", "path = \"/embed\"\nheaders = { content-type = \"text/plain\" }"));
}

/// Each preset with what its page names.
fn presets() -> [(&'static str, &'static str, &'static str); 8] {
    [
        ("intelliprove-widgets", "", "action-token"),
        ("metabase", "", "dashboard"),
        ("onfido", "", "workflow"),
        ("sumsub", "secret_headers = { x-app-token = { env = 'T' } }", "websdk-link"),
        ("stripe-portal", "", "portal"),
        ("jumio", "auth = { oauth2 = { token_url = 'https://auth.example/oauth2/token', client_id = 'c' } }", "web"),
        ("plaid", "headers = { plaid-client-id = 'c' }", "hosted-link"),
        ("superset", "", "guest-token"),
    ]
}

#[test]
fn each_preset_needs_no_more_than_its_page_names() {
    for (name, more, mint) in presets() {
        let toml = format!(
            "name = 'x'\npreset = '{name}'\nbase_url = 'https://api.example'\napi_key = {{ env = 'K' }}\nredirect_hosts = ['e.example']\n{more}"
        );
        assert_eq!(mint_names(&settings(&toml)), [mint]);
        let recipe = compile(&settings(&toml)).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(recipe.parts.mints[0].is_token, matches!(name, "superset" | "intelliprove-widgets"), "{name}");
    }
    let bare = "name = 'x'\npreset = 'jumio'\nbase_url = 'https://api.example'\napi_key = { env = 'K' }\nredirect_hosts = ['e.example']";
    assert_eq!(fault_keys(bare), ["auth"]);
}
