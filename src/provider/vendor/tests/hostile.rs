//! Hostile names, claims, languages and parameters in each place of each preset.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::script::{KEYS, Reply, Seen, Stage, person};
use super::*;

const HOSTILE: [&str; 7] = ["a&b=c", "\"}", "a\nb", "é", "{subject}", "../x?y#z", "%41+"];

/// A preset, what its page asks for beside, its mint, and how many places of its calls hold a value of the user.
struct Case {
    preset: &'static str,
    more: &'static str,
    mint: &'static str,
    places: usize,
}

const fn case(preset: &'static str, more: &'static str, mint: &'static str, places: usize) -> Case {
    Case { preset, more, mint, places }
}

const CASES: [Case; 11] = [
    case("intelliprove-v1", "", "face-scan", 2),
    case("intelliprove-v2", "", "face-scan", 3),
    case("intelliprove-v2", "", "health-dashboard", 3),
    case("intelliprove-widgets", "", "action-token", 0),
    case("jumio", "auth = { oauth2 = { token_url = 'BASE/oauth2/token', client_id = 'c' } }", "web", 2),
    case("metabase", "", "dashboard", 0),
    case("onfido", "", "workflow", 3),
    case("plaid", "headers = { plaid-client-id = 'c' }", "hosted-link", 1),
    case("stripe-portal", "", "portal", 1),
    case("sumsub", "secret_headers = { x-app-token = { file = '1' } }", "websdk-link", 2),
    case("superset", "", "guest-token", 2),
];

/// What is told apart of a user; each stands for itself, so that no value is taken for another.
struct Values([String; 5]);

impl Values {
    fn plain() -> Self {
        Self(["subject", "language", "claim-0", "claim-1", "parameter"].map(|name| format!("plain-{name}")))
    }

    /// The same hostile text in each, with a letter of its own at the end.
    fn hostile(text: &str) -> Self {
        Self(["s", "l", "c", "d", "p"].map(|letter| format!("{text}{letter}")))
    }

    fn input(&self, number: &str) -> MintInput {
        let [subject, language, first, second, parameter] =
            self.0.each_ref().map(|text| Box::<str>::from(text.as_str()));
        let parameters = [
            ("dashboard".into(), parameter.clone()),
            ("level".into(), parameter.clone()),
            ("number".into(), number.into()),
            ("workflow".into(), parameter),
        ];
        MintInput {
            language: Some(language),
            claims: [Some(first), Some(second)].into(),
            parameters: parameters.into(),
            ..person("https://idp.example", &subject)
        }
    }

    /// The values, and `{subject_hash}` computed here.
    fn all(&self) -> Vec<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEYS[0].as_bytes());
        let hash = hmac::sign(&key, format!("https://idp.example\0{}", self.0[0]).as_bytes());
        self.0.iter().cloned().chain([URL_SAFE_NO_PAD.encode(hash)]).collect()
    }
}

/// A call taken apart: what a server reads of it. Left out: what depends on the length of the body, and signatures.
fn read(call: &Seen) -> Json {
    let mut lines = call.head.trim_end().lines();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let target = url::Url::parse(&format!("http://vendor{}", target.split(' ').next().unwrap())).unwrap();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let path: Vec<_> = target.path_segments().unwrap().map(decoded).collect();
    let query: Vec<_> = target.query_pairs().into_owned().collect();
    let headers: BTreeMap<_, _> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let fixed = |name: &&&str| !matches!(**name, "content-length" | "x-app-access-sig");
    let headers: Vec<_> = headers.keys().filter(fixed).map(|name| (*name, headers[name])).collect();
    let is = |kind: &str| headers.iter().any(|(name, value)| *name == "content-type" && value.starts_with(kind));
    let body = match () {
        () if is("application/json") => serde_json::from_str(&call.body).unwrap(),
        () if is("application/x-www-form-urlencoded") => {
            json!(form_urlencoded::parse(call.body.as_bytes()).into_owned().collect::<Vec<_>>())
        }
        () => json!(call.body),
    };
    json!({ "method": method, "path": path, "query": query, "headers": headers, "body": body, "fragment": target.fragment() })
}

/// Puts other values into what was sent for plain ones, and counts the places.
fn put(sent: &mut Json, plain: &[String], others: &[String], places: &mut usize) {
    match sent {
        Json::String(text) => {
            if let Some(at) = plain.iter().position(|value| value == text) {
                others[at].clone_into(text);
                *places += 1;
            }
        }
        Json::Array(list) => list.iter_mut().for_each(|one| put(one, plain, others, places)),
        Json::Object(members) => members.values_mut().for_each(|one| put(one, plain, others, places)),
        _ => {}
    }
}

fn vendor_answers(call: &Seen, preset: &str) -> Reply {
    let url = "https://e.acme.example/";
    if preset.starts_with("intelliprove-v") && !call.is_registration() && !call.line().ends_with("/v2/users") {
        return Reply::Is(200, "", url.into());
    }
    let status = if call.line().ends_with("/applicants") { 201 } else { 200 };
    let all = json!({
        "id": "u1", "url": url, "hosted_link_url": url, "access_token": "t", "token": "canary", "expires_in": 3600,
        "token_type": "bearer", "web": { "href": url }, "link": { "url": url },
    });
    Reply::Is(status, "", all.to_string())
}

async fn stage(case: &Case) -> Stage {
    let preset = case.preset;
    Stage::with_recipe(&format!("preset = '{preset}'\n{}", case.more), KEYS, move |call| vendor_answers(call, preset))
        .await
}

/// Mints for these values at a vendor that knows nobody, and takes the calls apart.
async fn sent(case: &Case, values: &Values) -> Vec<Json> {
    let stage = stage(case).await;
    let mut input = values.input("42");
    if matches!(case.preset, "jumio" | "metabase") {
        // Theirs are numbers.
        input.parameters = [("dashboard".into(), "42".into()), ("workflow".into(), "42".into())].into();
    }
    let minted = stage.vendor.minter(case.mint).unwrap().mint(&input).await;
    minted.unwrap_or_else(|failure| panic!("{} for {:?}: {failure:?}", case.preset, values.0));
    let host = |call: &Seen| {
        let line = call.head.lines().find(|line| line.starts_with("host: ")).unwrap().to_owned();
        Seen { head: call.head.replace(&line, "host: vendor"), ..call.clone() }
    };
    stage.calls().iter().map(|call| read(&host(call))).collect()
}

#[tokio::test]
async fn hostile_values_reach_each_place_of_each_preset_exactly_and_add_nothing() {
    let long = "x".repeat(4096);
    for case in &CASES {
        let plain = sent(case, &Values::plain()).await;
        for text in HOSTILE.into_iter().chain([long.as_str()]) {
            let hostile = Values::hostile(text);
            let (mut expected, mut places) = (json!(plain), 0);
            put(&mut expected, &Values::plain().all(), &hostile.all(), &mut places);
            assert_eq!(places, case.places, "{}: {plain:#?}", case.preset);
            let sent = json!(sent(case, &hostile).await);
            assert!(sent == expected, "{} with {text:?}:\n{sent:#}\nis not\n{expected:#}", case.preset);
        }
    }
}

#[tokio::test]
async fn a_parameter_that_is_no_number_makes_no_call_where_a_preset_wants_one() {
    for case in CASES.iter().filter(|case| matches!(case.preset, "jumio" | "metabase")) {
        for text in HOSTILE.into_iter().chain(["042", "1e3", "0x1", " 1"]) {
            let stage = stage(case).await;
            let parameters = [("dashboard".into(), text.into()), ("workflow".into(), text.into())].into();
            let input = MintInput { parameters, ..person("https://idp.example", "ada") };
            let minted = stage.vendor.minter(case.mint).unwrap().mint(&input).await;
            assert_eq!(minted, Err(MintFailure::Refused), "{} with {text:?}", case.preset);
            assert!(stage.calls().is_empty(), "{} with {text:?}", case.preset);
        }
    }
}

#[tokio::test]
async fn what_metabase_is_shown_holds_the_number_and_nothing_of_the_user() {
    let case = CASES.iter().find(|case| case.preset == "metabase").unwrap();
    for text in HOSTILE {
        let stage = stage(case).await;
        let parameters = [("dashboard".into(), "42".into())].into();
        let input = MintInput { parameters, ..Values::hostile(text).input("42") };
        let minted = stage.vendor.minter(case.mint).unwrap().mint(&input).await.unwrap();
        let jwt = minted.url.expose().split('/').next_back().unwrap().split('#').next().unwrap().to_owned();
        let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
        let claims: Json = serde_json::from_slice(&claims).unwrap();
        let exp = super::script::START + 600;
        assert_eq!(claims, json!({ "resource": { "dashboard": 42 }, "params": {}, "exp": exp }));
        assert!(stage.calls().is_empty());
    }
}
