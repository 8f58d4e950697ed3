use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::kit::{ISSUER, Signer, World, good, issuer, try_world, with};
use crate::session::settings::{JwksUrl, SessionSettings};
use crate::session::{ExternalIdTemplate, Reason, SessionFault};

const KEYS: &str = "{ jwks_url = \"https://idp.example/keys\" }";
const OLD: &str = "https://old.example";

async fn world(toml: &str, signer: &Signer) -> World {
    let world = try_world(toml, &[], &[signer.named("k1")]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    world
}

/// An issuer for each of these tenants.
fn tenants(tenants: &str, more: &str) -> String {
    issuer("\"ES256\"", "{ jwks_url = \"https://login.example/{tenant}/keys\" }")
        .replace(ISSUER, "https://login.example/{tenant}/v2.0")
        + &format!("tenants = [{tenants}]\n{more}\n")
}

fn of_tenant(tenant: &str, tid: Option<Value>) -> Value {
    let mut claims = with("tid", tid);
    claims["iss"] = json!(format!("https://login.example/{tenant}/v2.0"));
    claims
}

#[test]
fn each_tenant_has_an_issuer_and_a_key_set_of_its_own() {
    let more = "subjects_of = \"https://sts.example/{tenant}/\"\nexternal_id = \"{tenant}-{sub}\"";
    let settings: SessionSettings = toml::from_str(&tenants("\"red\", \"blue\"", more)).unwrap();
    let expanded = settings.expanded();
    let told: Vec<_> = expanded
        .iter()
        .map(|one| {
            let keys = &one.keys.as_slice()[0];
            let url = keys.jwks_url.as_ref().and_then(JwksUrl::url).map(url::Url::as_str);
            let id = one.external_id.as_ref().map(ExternalIdTemplate::as_str);
            (one.issuer.as_str(), url, one.subjects_of.as_deref(), id)
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "https://login.example/red/v2.0",
                Some("https://login.example/red/keys"),
                Some("https://sts.example/red/"),
                Some("red-{sub}")
            ),
            (
                "https://login.example/blue/v2.0",
                Some("https://login.example/blue/keys"),
                Some("https://sts.example/blue/"),
                Some("blue-{sub}")
            ),
        ]
    );
}

#[tokio::test]
async fn a_tenants_token_is_its_own_and_no_other_tenants() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world(&tenants("\"red\", \"blue\"", "external_id = \"{claim:tid}:{sub}\""), &signer).await;
    let open =
        async |tenant: &str, tid: Option<Value>| world.verify(&signer.token("k1", &of_tenant(tenant, tid))).await;
    let red = open("red", Some(json!("red"))).await.ok().unwrap();
    let blue = open("blue", Some(json!("blue"))).await.ok().unwrap();
    assert_eq!((red.issuer(), red.external_id()), ("https://login.example/red/v2.0", "red:ada"));
    assert_eq!((blue.issuer(), blue.external_id()), ("https://login.example/blue/v2.0", "blue:ada"));
    assert_ne!(red.log_id(), blue.log_id());
    assert_eq!(world.checks("https://login.example/red/v2.0", "valid"), 1);

    for tid in [json!("blue"), json!("RED"), json!("green"), json!(""), json!(7), Value::Null, json!(["red"])] {
        let fault = open("red", Some(tid.clone())).await.err();
        assert_eq!(fault, Some(SessionFault::Invalid(Reason::Tenant)), "{tid}");
    }
    assert_eq!(open("red", None).await.err(), Some(SessionFault::Invalid(Reason::ExternalId)));
    assert_eq!(open("green", None).await.err(), Some(SessionFault::Invalid(Reason::UnknownIssuer)));
    assert_eq!(open("{tenant}", None).await.err(), Some(SessionFault::Invalid(Reason::UnknownIssuer)));
}

#[tokio::test]
async fn without_tenants_a_tid_says_nothing() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world(&issuer("\"ES256\"", KEYS), &signer).await;
    assert!(world.open(&signer.token("k1", &with("tid", Some(json!("blue"))))).await.is_ok());
}

#[tokio::test]
async fn explain_tells_another_tenants_token() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world(&tenants("\"red\"", ""), &signer).await;
    let token = signer.token("k1", &of_tenant("red", Some(json!("blue"))));
    let end = world.sessions.explain(token.as_bytes(), world.clock.now()).await.end;
    let refused = end.err().unwrap();
    assert_eq!(refused.step, "claims");
    assert!(refused.why.contains("`tid` names another tenant than its `iss`"), "{}", refused.why);
}

/// A provider under a second name: its subjects are those of the first.
fn moved(more: &str) -> String {
    issuer("\"ES256\"", KEYS).replace(ISSUER, OLD)
        + "external_id = \"{claim:org}:{sub}\"\n"
        + &issuer("\"ES256\"", KEYS)
        + more
}

#[tokio::test]
async fn subjects_of_another_issuer_are_its_persons() {
    let signer = Signer::new(Algorithm::ES256);
    let world = world(&moved(&format!("subjects_of = \"{OLD}\"\n")), &signer).await;
    let mut claims = with("org", Some(json!("acme")));
    let new = world.verify(&signer.token("k1", &claims)).await.ok().unwrap();
    claims["iss"] = json!(OLD);
    let old = world.verify(&signer.token("k1", &claims)).await.ok().unwrap();
    assert_eq!((new.issuer(), old.issuer()), (ISSUER, OLD));
    assert_eq!((new.namespace(), old.namespace()), (OLD, OLD));
    assert_eq!((new.external_id(), old.external_id()), ("acme:ada", "acme:ada"));
    assert_eq!(new.log_id(), old.log_id());
    assert_eq!(world.sessions.namespace_of(ISSUER), Some(OLD));
    assert_eq!(world.sessions.namespace_of("https://other.example"), None);

    // The rule for the name is that of the other issuer too.
    let mut claims = with("org", Some(json!("a:b")));
    assert!(world.verify(&signer.token("k1", &claims)).await.ok().unwrap().name_fault().is_some());
    claims = good();
    let fault = world.open(&signer.token("k1", &claims)).await;
    assert_eq!(fault, Err(SessionFault::Invalid(Reason::ExternalId)));
}

#[test]
fn subjects_of_an_issuer_that_has_none_of_its_own_is_a_fault() {
    let chain = moved(&format!("subjects_of = \"{OLD}\"\n"))
        + &issuer("\"ES256\"", KEYS).replace(ISSUER, "https://third.example")
        + &format!("subjects_of = \"{ISSUER}\"\n");
    for toml in
        [moved("subjects_of = \"https://other.example\"\n"), moved(&format!("subjects_of = \"{ISSUER}\"\n")), chain]
    {
        let faults = try_world(&toml, &[], &[]).err().unwrap();
        assert!(faults.len() == 1 && faults[0].contains("subjects_of: no issuer"), "{faults:?}");
    }
}
