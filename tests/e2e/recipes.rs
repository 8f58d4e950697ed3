//! Plug-ins that are tokens, and plug-ins with parameters, as browsers see them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use valet_gateway::demo::idp::TokenRequest;

use crate::kit::setup::START;
use crate::kit::{Answer, Setup, Stack};

const PROVIDER: &str = r#"
[[provider]]
name = "signed"
api_key = { file = "key-0" }
redirect_hosts = ["embed.acme.example"]
[provider.mint.token]
jwt = { algorithm = "HS256", claims = { sub = "{subject}", board = "{param:board}", exp = "{now+10m:epoch#}" } }
token = "jwt"
[provider.mint.page]
jwt = { algorithm = "HS256", claims = { sub = "{subject}", board = "{param:board}", exp = "{now+10m:epoch#}" } }
url = "https://embed.acme.example/{jwt}"
[[plugin]]
name = "token"
provider = "signed"
mint = "token"
path = "/plugins/token"
reuse = "user"
allowed_origins = ["https://spa.example.com"]
parameters = { board = ["sales", "care"] }
[[plugin]]
name = "page"
provider = "signed"
mint = "page"
path = "/plugins/page"
reuse = "user"
parameters = { board = { values = ["sales", "care"], default = "care" } }
"#;

async fn stack() -> Stack {
    Setup::new().tables(PROVIDER).start().await
}

fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn a_token_goes_into_json_alone() {
    let stack = stack().await;
    let target = "/plugins/token?board=sales";
    // Whatever it accepts, as long as nobody looks at it.
    for accept in ["application/json", "*/*", "text/plain"] {
        let answer = stack.get(target).as_user("ada").field("Accept", accept).send().await;
        answer.assert_status(200).assert_field("content-type", "application/json").assert_no_field("location");
        answer.assert_field("cache-control", "no-store").assert_field("cross-origin-resource-policy", "same-origin");
        let json = answer.json();
        let mut keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["expires_at", "expires_in", "plugin", "token"]);
        assert_eq!((&json["plugin"], &json["expires_in"]), (&"token".into(), &600.into()));
        assert_eq!(json["expires_at"], "2027-01-15T08:10:00.000Z");
        let claims = claims(json["token"].as_str().expect("a text"));
        assert_eq!(claims, serde_json::json!({ "sub": "ada", "board": "sales", "exp": START + 600 }));
    }
    stack.post(target).as_user("ada").send().await.assert_status(200).assert_no_field("location");
    assert_eq!(stack.count("valet_leases_total", &[("plugin", "token"), ("source", "hit")]), 2);
}

#[tokio::test]
async fn nobody_navigates_to_a_token() {
    let stack = stack().await;
    for method in ["GET", "POST"] {
        let answer = stack.ask(method, "/plugins/token?board=sales").as_user("ada").as_navigation().send().await;
        answer.assert_status(406).assert_no_field("location");
        assert!(!answer.text().contains("eyJ"));
    }
    let old =
        stack.get("/plugins/token?board=sales").as_user("ada").field("Accept", "text/html,*/*;q=0.8").send().await;
    old.assert_status(406);
    stack.get("/plugins/token?board=sales").in_frame_of("same-origin").as_user("ada").send().await.assert_status(406);
    assert_eq!(stack.answered("not_acceptable"), 4);
    assert_eq!(stack.count("valet_mints_total", &[("provider", "signed")]), 0, "nothing was minted for them");
}

#[tokio::test]
async fn a_token_is_as_closed_to_other_sites_as_a_url() {
    let stack = stack().await;
    let from = |origin: &str, site: &str| {
        let ask = stack.get("/plugins/token?board=sales").cookie(stack.token("ada"));
        ask.field("Origin", origin)
            .field("Sec-Fetch-Site", site)
            .field("Sec-Fetch-Mode", "cors")
            .field("Sec-Fetch-Dest", "empty")
    };
    from("https://evil.example", "cross-site").send().await.assert_problem(403, "cross-site");
    from("https://other.example.com", "same-site").send().await.assert_problem(403, "cross-site");
    let ours = from("https://spa.example.com", "same-site").send().await;
    ours.assert_status(200).assert_field("access-control-allow-origin", "https://spa.example.com");
}

#[tokio::test]
async fn a_parameter_is_one_of_the_list_and_belongs_to_the_lease() {
    let stack = stack().await;
    for wrong in ["", "?board=x", "?board=", "?board=sales&board=sales", "?board=sales&board=care", "?Board=sales"] {
        let answer = stack.get(&format!("/plugins/token{wrong}")).as_user("ada").for_json().send().await;
        answer.assert_problem(400, "bad-request");
    }
    assert_eq!(stack.mints("ok"), 0);
    stack.get("/plugins/token").for_json().send().await.assert_problem(401, "session-required");
    let board = async |query: &str| {
        let answer = stack.get(&format!("/plugins/page{query}")).as_user("ada").send().await;
        answer.assert_status(302);
        let url = answer.location().to_owned();
        claims(url.strip_prefix("https://embed.acme.example/").expect("the host"))["board"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    assert_eq!(board("").await, "care");
    assert_eq!(board("?board=sales").await, "sales");
    assert_eq!(board("?board=care&x=y").await, "care");
    assert_eq!(board("?b%6Fard=sales").await, "sales");
    assert_eq!(stack.mints("ok"), 2);
}

#[tokio::test]
async fn a_claim_keeps_its_type_where_the_recipe_says_so() {
    let claims = "{ text = \"{claim:id#}\", part = \"{claim:name?}\", exp = \"{now+10m:epoch#}\" }";
    let tables =
        PROVIDER.replace("{ sub = \"{subject}\", board = \"{param:board}\", exp = \"{now+10m:epoch#}\" }", claims);
    let tables: String =
        tables.lines().filter(|line| !line.starts_with("parameters")).map(|line| format!("{line}\n")).collect();
    let stack = Setup::new().tables(&tables).start().await;
    let minted = async |request: &TokenRequest| {
        let answer = stack.get("/plugins/token").bearer(stack.idp().token(request)).for_json().send().await;
        answer.assert_status(200);
        claims_of(&answer)
    };
    let ada = || TokenRequest::user("ada");
    for value in [json!(42), json!("42"), json!(true), json!("a\"}\n")] {
        let claims = minted(&ada().claim("id", value.clone()).claim("name", 7)).await;
        assert_eq!((&claims["text"], claims.get("part")), (&value, None), "a number is no text");
    }
    assert_eq!(stack.mints("ok"), 4, "each is a lease of its own");
    for refused in [ada(), ada().claim("id", json!([1])), ada().claim("id", json!(null)), ada().claim("id", -1)] {
        let answer = stack.get("/plugins/token").bearer(stack.idp().token(&refused)).for_json().send().await;
        answer.assert_problem(403, "not-permitted");
    }
}

fn claims_of(answer: &Answer) -> Value {
    claims(answer.json()["token"].as_str().expect("a text"))
}
