//! The simulated vendor over a real socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::*;
use crate::clock::{ClockControl, Timestamp};
use crate::demo::fault::{Fail, REDIRECT_TARGET};
use crate::demo::testing::{Answer, get, send, send_json};

const KEY: &str = "a-key-of-the-simulator";

struct Vendor {
    running: ServerHandle<ProviderSim>,
    clock_control: Arc<ClockControl>,
}

impl Vendor {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ProviderOptions)) -> Self {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(1_767_225_600));
        let mut options = ProviderOptions { api_keys: vec![KEY.to_owned()], clock, ..ProviderOptions::default() };
        change(&mut options);
        let running = spawn(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ProviderSim::new(options)).await.unwrap();
        Self { running, clock_control }
    }

    fn sim(&self) -> &ProviderSim {
        &self.running.sim
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.running.url())
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.at(path), &[("x-api-key", KEY)]).await
    }

    async fn register(&self, id: &str) -> Answer {
        send_json(Method::POST, &self.at("/v2/users"), &[("x-api-key", KEY)], json!({ "external_user_id": id })).await
    }

    async fn mint(&self) -> Answer {
        self.get("/v2/plugin/face-scan?external_user_id=ada").await
    }

    async fn minted_url(&self) -> String {
        let answer = self.mint().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().as_str().unwrap().to_owned()
    }
}

/// The claims of the action token in a URL.
fn claims(url: &str) -> serde_json::Value {
    let url = url::Url::parse(url).unwrap();
    let (_, token) = url.query_pairs().find(|(name, _)| name == "action_token").unwrap();
    jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token.as_bytes()).unwrap().claims
}

#[tokio::test]
async fn a_browser_that_asks_for_an_icon_beside_json_gets_no_404_and_is_no_call() {
    let vendor = Vendor::start().await;
    assert_eq!(vendor.get("/favicon.ico").await.status, 204);
    assert_eq!(vendor.sim().calls().len(), 0);
}

#[tokio::test]
async fn a_registered_user_gets_another_url_with_each_mint() {
    let vendor = Vendor::start().await;
    let registered = vendor.register("ada").await;
    assert_eq!((registered.status.as_u16(), &registered.json()["external_user_id"]), (201, &json!("ada")));
    let (first, second) = (vendor.minted_url().await, vendor.minted_url().await);
    assert_ne!(first, second);
    assert!(first.starts_with(&format!("{}/?action_token=ey", vendor.running.url())), "{first}");
    assert_eq!(claims(&first)["exp"], json!(1_767_225_600 + 6 * 3600));
    assert_eq!(claims(&first)["user"]["user_id"], registered.json()["user_id"]);
    assert_eq!((vendor.sim().mint_count(), vendor.sim().minted(), vendor.sim().registrations()), (2, 2, 1));
}

#[tokio::test]
async fn a_user_can_be_looked_up_and_minted_for_by_the_vendors_own_id() {
    let vendor = Vendor::start().await;
    let id = vendor.register("auth0|a b&x=1é\"}").await.json()["user_id"].as_str().unwrap().to_owned();
    let found = vendor.get("/v2/users?external_user_id=auth0%7Ca+b%26x%3D1%C3%A9%22%7D").await;
    assert_eq!(found.json()["user_id"], json!(id));
    assert_eq!(vendor.get(&format!("/v2/plugin/health-dashboard?user_id={id}")).await.status, 200);
    assert_eq!(vendor.get("/v2/users?external_user_id=eve").await.status, 404);
}

#[tokio::test]
async fn a_mint_for_a_user_who_is_unknown_or_deleted_says_so() {
    let vendor = Vendor::start().await;
    let unknown = vendor.mint().await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["reason"]), (404, &json!("user is unknown")));
    vendor.register("ada").await;
    assert_eq!(vendor.mint().await.status, 200);
    assert!(vendor.sim().forget_user("ada"));
    assert!(!vendor.sim().forget_user("ada"), "nobody is forgotten twice");
    assert_eq!(vendor.mint().await.status, 404);
}

#[tokio::test]
async fn a_second_registration_is_answered_as_the_deployment_does_it() {
    let vendor = Vendor::start().await;
    let first = vendor.register("ada").await;
    let again = vendor.register("ada").await;
    assert_eq!((again.status.as_u16(), again.json()), (200, first.json()));

    let vendor = Vendor::with(|options| options.existing_user = ExistingUser::AlreadyExists).await;
    vendor.register("ada").await;
    let again = vendor.register("ada").await;
    assert_eq!(again.status, 400);
    assert!(again.text().contains("already exists"), "{}", again.text());
}

#[tokio::test]
async fn a_call_that_says_too_little_or_nonsense_is_refused() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    assert_eq!(vendor.get("/v2/plugin/face-scan").await.status, 400);
    for language in ["", "e", "eng", "e1", "%C3%A9"] {
        let path = format!("/v2/plugin/face-scan?external_user_id=ada&language={language}");
        assert_eq!(vendor.get(&path).await.status, 400, "{language}");
    }
    assert_eq!(vendor.register("").await.status, 400);
    assert_eq!(send(Method::POST, &vendor.at("/v2/users"), &[("x-api-key", KEY)], "{").await.status, 400);
    let large = vec![b'x'; 64 * 1024 + 1];
    assert_eq!(send(Method::POST, &vendor.at("/v2/users"), &[("x-api-key", KEY)], large).await.status, 413);
    assert_eq!(vendor.get("/v3/else").await.status, 404);
}

#[tokio::test]
async fn v1_mints_for_anybody_and_answers_the_bare_url() {
    let vendor = Vendor::with(|options| options.url_as = UrlAs::Object).await;
    let path = format!("/v1/plugin/make?apikey={KEY}&language=nl&patient-ref=a%20b&performer-ref=p");
    let answer = get(&vendor.at(&path), &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("&patient=a+b"), "{}", answer.text());
    assert_eq!(claims(answer.text())["meta"]["language"], json!("nl"));
    let call = vendor.sim().calls().pop().unwrap();
    assert_eq!(call.key, SentKey::Good { place: KeyPlace::Query, masked: "a-ke…".to_owned() });
    assert_eq!(call.query, "apikey=***&language=nl&patient-ref=a%20b&performer-ref=p");
}

#[tokio::test]
async fn v2_writes_the_url_as_it_is_told_to() {
    for url_as in [UrlAs::String, UrlAs::Text, UrlAs::Object] {
        let vendor = Vendor::with(|options| {
            options.url_as = url_as;
            options.plugin_base = Some("http://plugin.localhost:7".to_owned());
        })
        .await;
        vendor.register("ada").await;
        let answer = vendor.mint().await;
        let url = match url_as {
            UrlAs::String => answer.json().as_str().unwrap().to_owned(),
            UrlAs::Text => answer.text().to_owned(),
            UrlAs::Object => answer.json()["url"].as_str().unwrap().to_owned(),
        };
        assert!(url.starts_with("http://plugin.localhost:7/?action_token="), "{url}");
    }
}

#[tokio::test]
async fn a_missing_or_wrong_key_gets_the_vendors_403_and_keys_can_change() {
    let vendor = Vendor::start().await;
    let refusal = json!({ "status": 403, "reason": "missing or invalid authentication credentials" });
    for fields in [&[][..], &[("x-api-key", "a-wrong-key-that-is-long")]] {
        let answer = get(&vendor.at("/v1/auth/me"), fields).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (403, refusal.clone()));
    }
    assert_eq!(vendor.get("/v1/auth/me").await.status, 200);
    vendor.sim().set_keys(vec!["the-next-key".to_owned()]);
    assert_eq!(vendor.get("/v1/auth/me").await.status, 403);
    assert_eq!(get(&vendor.at("/v1/auth/me"), &[("x-api-key", "the-next-key")]).await.status, 200);
    let keys: Vec<SentKey> = vendor.sim().calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys[0], SentKey::Missing);
    assert_eq!(keys[1], SentKey::Bad { place: KeyPlace::Header, masked: "a-wr…".to_owned() });
}

#[tokio::test]
async fn calls_are_shown_as_they_came_without_any_secret() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let url = vendor.minted_url().await;
    vendor.get("/v2/plugin/face-scan?external_user_id=%61da&language=en").await;
    get(&url, &[("referer", "https://app.example/")]).await;
    let calls = vendor.sim().calls();
    let kinds: Vec<CallKind> = calls.iter().map(|call| call.kind).collect();
    assert_eq!(kinds, [CallKind::Register, CallKind::Mint, CallKind::Mint, CallKind::Page]);
    assert_eq!(calls[0].json().unwrap(), json!({ "external_user_id": "ada" }));
    assert_eq!(calls[2].query, "external_user_id=%61da&language=en");
    assert_eq!(calls[2].parameter("external_user_id").as_deref(), Some("ada"));
    assert_eq!((calls[0].status, calls[1].status), (Some(201), Some(200)));
    let token = url.split("action_token=").nth(1).unwrap().split('&').next().unwrap();
    let shown = format!("{calls:?}{}", get(&vendor.at("/_sim/calls"), &[]).await.text());
    assert!(shown.contains("action_token=***"));
    assert!(!shown.contains(KEY) && !shown.contains(token), "{shown}");
}

#[tokio::test]
async fn failures_hit_the_calls_they_are_set_for_and_as_often() {
    let vendor = Vendor::start().await;
    vendor.sim().set_faults(Faults { retry_after: Some(7), ..Faults::status(429).on(On::Register).times(1) });
    let refused = vendor.register("ada").await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("7")));
    assert_eq!(vendor.register("ada").await.status, 201);

    vendor.sim().set_faults(Faults::status(503).on(On::Mint));
    assert_eq!(vendor.register("ada").await.status, 200);
    for _ in 0..3 {
        let answer = vendor.mint().await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, None));
    }
    assert_eq!((vendor.sim().mint_count(), vendor.sim().minted()), (3, 0));
}

#[tokio::test]
async fn answers_that_are_no_use_are_what_they_say() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let under = async |fail| {
        vendor.sim().set_faults(Faults::failing(fail));
        vendor.mint().await
    };
    let garbage = under(Fail::Garbage).await;
    assert!(garbage.status == 200 && std::str::from_utf8(&garbage.body).is_err());
    let empty = under(Fail::Empty).await;
    assert!(empty.status == 200 && empty.body.is_empty());
    assert!(under(Fail::Oversize).await.body.len() > 1024 * 1024);
    let elsewhere = under(Fail::Redirect).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.header("location")), (302, Some(REDIRECT_TARGET)));
    assert_eq!(under(Fail::RejectKeys).await.status, 403);
    assert_eq!(under(Fail::UnknownUser).await.status, 404);
}

#[tokio::test]
async fn a_minted_url_can_have_every_fault() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let now = 1_767_225_600;
    let exp = async |faults| {
        vendor.sim().set_faults(faults);
        claims(&vendor.minted_url().await)["exp"].clone()
    };
    assert_eq!(exp(Faults::url(UrlFault::Expired)).await, json!(now - 60));
    assert_eq!(exp(Faults::url(UrlFault::NoExp)).await, json!(null));
    assert_eq!(exp(Faults::url(UrlFault::Short)).await, json!(now + 60));
    assert_eq!(exp(Faults::life(Duration::from_secs(3))).await, json!(now + 3));
    assert!(exp(Faults::url(UrlFault::Years)).await.as_i64().unwrap() > now + 300_000_000);
    vendor.sim().set_faults(Faults::url(UrlFault::WrongHost));
    assert!(vendor.minted_url().await.starts_with("https://plugin.foreign.example/?action_token="));
    vendor.sim().set_faults(Faults::url_text("javascript:alert(1)"));
    assert_eq!(vendor.minted_url().await, "javascript:alert(1)");
}

#[tokio::test]
async fn a_call_that_hangs_is_counted_and_answered_when_the_faults_change() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    vendor.sim().set_faults(Faults::hang().on(On::Mint));
    let (answer, ()) = tokio::join!(vendor.mint(), async {
        vendor.sim().until_mints(1).await;
        assert_eq!(vendor.sim().calls().pop().unwrap().status, None);
        vendor.sim().set_faults(Faults::default());
    });
    assert_eq!(answer.status, 200);
    assert_eq!(vendor.sim().mint_count(), 1);
}

#[tokio::test]
async fn a_slow_answer_comes_after_its_delay() {
    let vendor = Vendor::start().await;
    let delay = Duration::from_millis(30);
    vendor.sim().set_faults(Faults::slow(delay).times(1));
    let began = std::time::Instant::now();
    assert_eq!(vendor.get("/v1/auth/me").await.status, 200);
    assert!(began.elapsed() >= delay);
}

#[tokio::test]
async fn stopping_ends_calls_that_hang_and_frees_the_port() {
    let vendor = Vendor::start().await;
    vendor.sim().set_faults(Faults::hang());
    let (sim, address) = (vendor.sim().clone(), vendor.running.address());
    let url = vendor.at("/v2/plugin/face-scan?external_user_id=ada");
    let hanging = tokio::spawn(async move { get(&url, &[("x-api-key", KEY)]).await });
    sim.until_mints(1).await;
    vendor.running.stop().await;
    assert_eq!(hanging.await.unwrap().status, 503);
    sim.set_faults(Faults::default());
    let again = spawn(address, sim).await.unwrap();
    assert_eq!(get(&format!("{}/v1/auth/me", again.url()), &[("x-api-key", KEY)]).await.status, 200);
}

#[tokio::test]
async fn the_switches_are_turned_over_http() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let faults = vendor.at("/_sim/faults");
    let set =
        send_json(Method::PUT, &faults, &[], json!({ "fail": 502, "on": "mint", "times": 2, "delay": "1ms" })).await;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(vendor.mint().await.status, 502);
    let left = get(&faults, &[]).await.json();
    assert_eq!((&left["times"], &left["fail"], &left["delay"]), (&json!(1), &json!("502"), &json!("1ms")));
    let wrong = send_json(Method::PUT, &faults, &[], json!({ "fial": 502 })).await;
    assert!(wrong.status == 400 && wrong.text().contains("fial"), "{}", wrong.text());

    let keys = send_json(Method::PUT, &vendor.at("/_sim/keys"), &[], json!({ "keys": ["another"] })).await;
    assert_eq!((keys.status.as_u16(), vendor.sim().keys()), (204, vec!["another".to_owned()]));
    let forget = vendor.at("/_sim/forget?user=ada");
    assert_eq!(send(Method::POST, &forget, &[], "").await.status, 204);
    assert_eq!(send(Method::POST, &forget, &[], "").await.status, 404);

    assert_eq!(get(&vendor.at("/_sim/calls"), &[]).await.json()["mint_calls"], json!(1));
    assert_eq!(send(Method::POST, &vendor.at("/_sim/reset"), &[], "").await.status, 204);
    let report = get(&vendor.at("/_sim/calls"), &[]).await.json();
    assert_eq!(report, json!({ "mint_calls": 0, "minted": 0, "register_calls": 0, "users": 0, "calls": [] }));
    assert_eq!((vendor.sim().faults(), vendor.sim().keys()), (Faults::default(), vec![KEY.to_owned()]));
}

#[tokio::test]
async fn another_site_turns_no_switch() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    for fields in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        for (method, path) in [
            (Method::PUT, "/_sim/faults"),
            (Method::GET, "/_sim/faults"),
            (Method::GET, "/_sim/calls"),
            (Method::PUT, "/_sim/keys"),
            (Method::POST, "/_sim/forget"),
            (Method::POST, "/_sim/reset"),
        ] {
            let answer = send(method, &vendor.at(path), &[fields], r#"{"fail":"500"}"#).await;
            assert_eq!(answer.status, 403, "{path} {fields:?}");
        }
    }
    assert_eq!((vendor.sim().faults(), vendor.sim().users()), (Faults::default(), vec!["ada".to_owned()]));
}

#[tokio::test]
async fn the_page_opens_until_the_url_ends() {
    let vendor = Vendor::start().await;
    vendor.register("<ada>").await;
    let url = vendor.get("/v2/plugin/face-scan?external_user_id=%3Cada%3E").await.json().as_str().unwrap().to_owned();
    let page = get(&url, &[]).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("&lt;ada&gt;") && page.text().contains("No Referer arrived"));
    vendor.clock_control.advance(Duration::from_secs(6 * 3600 - 1));
    assert_eq!(get(&url, &[]).await.status, 200, "the same URL may be used until its end");
    vendor.clock_control.advance(Duration::from_secs(1));
    let ended = get(&url, &[]).await;
    assert_eq!(ended.status, 410);
    assert!(ended.text().contains("This link has expired"));
    let wrong = get(&vendor.at("/?action_token=ey.x.y"), &[]).await;
    assert_eq!((wrong.status.as_u16(), wrong.text().contains("This link is not valid")), (403, true));
    assert_eq!(get(&vendor.at("/"), &[]).await.status, 403);
}

#[tokio::test]
async fn each_mint_opens_its_own_page_and_a_referer_is_noticed() {
    let vendor = Vendor::with(|options| options.scan_time = Duration::from_millis(250)).await;
    vendor.register("ada").await;
    let scan = get(&vendor.minted_url().await, &[]).await;
    assert!(scan.text().contains("data-scan-ms=\"250\"") && scan.text().contains("<h1>Face scan</h1>"));
    let url = vendor.get("/v2/plugin/health-dashboard?external_user_id=ada").await.json();
    let dashboard = get(url.as_str().unwrap(), &[("referer", "https://app.example/")]).await;
    assert!(dashboard.text().contains("every figure is made up"));
    assert!(dashboard.text().contains("A Referer arrived"));
    let pages = vendor.sim().calls_of(CallKind::Page);
    assert_eq!(pages.iter().map(|call| call.referer).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_page_runs_only_its_own_script_and_sends_no_referer() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let url = vendor.minted_url().await;
    let (first, second) = (get(&url, &[]).await, get(&url, &[]).await);
    let nonce = |page: &Answer| {
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned()
    };
    assert_ne!(nonce(&first), nonce(&second));
    assert!(first.text().contains(&format!("<script nonce=\"{}\">", nonce(&first))));
    assert!(
        first.header("content-security-policy").unwrap().contains("img-src data:;"),
        "or its empty icon is an error"
    );
    assert_eq!(first.header("referrer-policy"), Some("same-origin"));
    assert_eq!(first.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_page_posts_its_messages_in_the_documented_order() {
    let vendor = Vendor::start().await;
    vendor.register("ada").await;
    let page = get(&vendor.minted_url().await, &[]).await;
    let script = page.text().split("<script").nth(1).unwrap();
    assert!(script.contains(r#"postMessage(JSON.stringify({ stage }), "*")"#));
    assert!(script.contains(r#"["FaceScanSuccessful", "Dismiss"]"#), "continue");
    assert!(script.contains(r#"close(["Dismiss"]"#), "quit");
}

#[tokio::test]
async fn a_key_is_made_where_none_is_given() {
    let (one, other) = (ProviderSim::new(ProviderOptions::default()), ProviderSim::new(ProviderOptions::default()));
    assert_eq!(one.keys().len(), 1);
    assert_ne!(one.keys(), other.keys());
}
