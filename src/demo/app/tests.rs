//! The app in the whole demo, as a browser would use it.

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::demo::provider::CallKind;
use crate::demo::testing::{Answer, get, send, send_json};
use crate::demo::whole::{self, Whole};
use crate::logging::LineSink;
use crate::telemetry::Metrics;

/// A demo, and a browser with one cookie.
struct Visit {
    whole: Whole,
    session: String,
}

impl Visit {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Metrics::new("test", "test").unwrap();
        let feed = Feed::default();
        let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
        let lines = LineSink::new(feed.tee(std::io::sink()), lost).unwrap();
        let whole = whole::start(0, metrics, Some(lines), feed).await.unwrap();
        whole.provider.sim.set_faults(crate::demo::provider::Faults::default());
        Self { whole, session: String::new() }
    }

    async fn signed_in() -> Self {
        let mut visit = Self::start().await;
        visit.sign_in("ada").await;
        visit
    }

    fn places(&self) -> &Places {
        self.whole.app.sim.places()
    }

    fn host(&self) -> String {
        self.places().app.replace("http://", "")
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.whole.app.url())
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        get(&self.at(path), &[("host", &self.host()), ("cookie", cookie)]).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let cookie = format!("session={}", self.session);
        send_json(Method::POST, &self.at(path), &[("host", &self.host()), ("cookie", &cookie)], body).await
    }

    /// To the identity provider: its address, and the cookie that ties the way back.
    async fn leave(&self, path: &str) -> (String, String) {
        let answer = self.get(path, "").await;
        let place = answer.header("location").unwrap().to_owned();
        assert!(place.starts_with(&self.places().idp), "{place}");
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Lax; Path=/callback"), "{cookie}");
        (place.replace(&self.places().idp, &self.places().idp_here), cookie.split(';').next().unwrap().to_owned())
    }

    /// What the identity provider's form does: the way back to the app.
    async fn choose(&self, place: &str, user: &str) -> String {
        let (form, question) = place.split_once('?').unwrap();
        let answer = send(
            Method::POST,
            form,
            &[("content-type", "application/x-www-form-urlencoded")],
            format!("{question}&user={user}"),
        )
        .await;
        let back = answer.header("location").unwrap();
        back.strip_prefix(&self.places().app).expect("back to the app").to_owned()
    }

    async fn sign_in(&mut self, user: &str) {
        let (place, cookie) = self.leave("/login").await;
        let back = self.get(&self.choose(&place, user).await, &cookie).await;
        assert_eq!(back.header("location"), Some("/"), "{}", back.text());
        let fields: Vec<&str> =
            back.headers.get_all("set-cookie").iter().map(|field| field.to_str().unwrap()).collect();
        let session = fields.iter().find_map(|field| field.strip_prefix("session=")).unwrap();
        let (token, attributes) = session.split_once("; ").unwrap();
        assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/");
        self.session = token.to_owned();
    }

    async fn name(&self) -> Value {
        self.get("/me", &format!("session={}", self.session)).await.json()["name"].clone()
    }

    /// Through the gateway.
    async fn scan(&self, method: Method) -> Answer {
        let url = format!("{}/plugins/face-scan", self.places().gateway_here);
        send(method, &url, &[("cookie", &format!("session={}", self.session))], "").await
    }

    async fn feed(&self, seen: &str) -> (String, Value) {
        let answer = self.get(&format!("/feed?seen={seen}"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.header("x-version").unwrap().to_owned(), answer.json())
    }

    fn mints(&self) -> u64 {
        self.whole.provider.sim.mint_count()
    }
}

#[tokio::test]
async fn who_signs_in_has_a_session_that_the_gateway_takes() {
    let mut visit = Visit::start().await;
    assert_eq!(visit.name().await, Value::Null);
    assert_eq!(visit.scan(Method::GET).await.status, 401);
    for (user, name) in [("ada", "Ada"), ("grace", "Grace")] {
        visit.sign_in(user).await;
        assert_eq!(visit.name().await, json!(name));
        assert_eq!(visit.scan(Method::GET).await.status, 302);
    }
    let answer = visit.post("/logout", json!({})).await;
    assert!(answer.header("set-cookie").unwrap().starts_with("session=; "), "{:?}", answer.headers);
    visit.whole.stop().await;
}

#[tokio::test]
async fn a_sign_in_ends_where_it_began_and_once() {
    let visit = Visit::start().await;
    let (place, cookie) = visit.leave("/login").await;
    let back = visit.choose(&place, "ada").await;
    for (path, cookie, fault) in [
        (back.as_str(), "", "another browser"),
        (back.as_str(), "sign_in=0", "another sign-in"),
        ("/callback?code=x", cookie.as_str(), "no state"),
        ("/callback", "", "nothing at all"),
    ] {
        let answer = visit.get(path, cookie).await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (400, None), "{fault}");
    }
    assert_eq!(visit.get(&back, &cookie).await.status, 303);
    assert_eq!(visit.get(&back, &cookie).await.status, 400, "the second time");
    visit.whole.stop().await;
}

#[tokio::test]
async fn after_signing_in_one_goes_to_the_app_or_the_gateway_and_nowhere_else() {
    let visit = Visit::start().await;
    let gateway = visit.places().gateway.clone();
    let here = format!("{gateway}/plugins/face-scan");
    for (wanted, place) in [
        ("/somewhere?x=1", "/somewhere?x=1"),
        (here.as_str(), here.as_str()),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        (&format!("{gateway}.evil.example/"), "/"),
        (&format!("{gateway}@evil.example/"), "/"),
        ("", "/"),
    ] {
        let question = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", wanted).finish();
        let (leave, cookie) = visit.leave(&format!("/login?{question}")).await;
        let back = visit.get(&visit.choose(&leave, "ada").await, &cookie).await;
        assert_eq!(back.header("location"), Some(place), "{wanted}");
    }
    visit.whole.stop().await;
}

#[tokio::test]
async fn the_page_is_served_under_its_own_name_alone() {
    let visit = Visit::start().await;
    let port = visit.whole.app.address().port();
    let page = visit.get("/", "").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!page.text().contains("{{"), "a marker without a value");
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 303),
        (format!("localhost:{port}"), 303),
        (format!("app.localhost.evil.example:{port}"), 421),
        ("evil.example".to_owned(), 421),
    ] {
        let answer = get(&visit.at("/"), &[("host", &host)]).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
        assert!(answer.header("location").is_none_or(|place| place == visit.places().app), "{host}");
        assert_eq!(get(&visit.at("/feed"), &[("host", &host)]).await.status, 421, "{host}");
    }
    assert_eq!(visit.get("/nothing", "").await.status, 404);
    visit.whole.stop().await;
}

#[tokio::test]
async fn another_site_may_turn_no_switch() {
    let visit = Visit::start().await;
    for path in ["/logout", "/trouble", "/clock", "/keys", "/tabs"] {
        for field in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "null")] {
            let (url, host) = (visit.at(path), visit.host());
            let answer = send_json(Method::POST, &url, &[("host", &host), field], json!({ "trouble": "slow" })).await;
            assert_eq!(answer.status, 403, "{path} {field:?}");
        }
    }
    assert_eq!(visit.whole.app.sim.stage().trouble(), Trouble::None);
    let wrong = visit.post("/trouble", json!({ "trouble": "none", "more": 1 })).await;
    assert_eq!(wrong.status, 422);
    visit.whole.stop().await;
}

#[tokio::test]
async fn each_trouble_shows_and_ends_and_a_held_link_goes_on() {
    let mut visit = Visit::start().await;
    for (trouble, status) in [("unreachable", 502), ("foreign", 502), ("busy", 503), ("slow", 504)] {
        assert_eq!(visit.post("/trouble", json!({ "trouble": "none" })).await.status, 204);
        // By the clock a pause and a failure that is remembered end.
        visit.post("/clock", json!({})).await;
        visit.sign_in("ada").await;
        assert_eq!(visit.scan(Method::GET).await.status, 302, "before {trouble}");
        assert_eq!(visit.post("/trouble", json!({ "trouble": trouble })).await.status, 204);
        assert_eq!(visit.feed("").await.1["trouble"], trouble);
        assert_eq!(visit.scan(Method::GET).await.status, 302, "held under {trouble}");
        assert_eq!(visit.scan(Method::POST).await.status, status, "{trouble}");
    }
    visit.whole.stop().await;
}

#[tokio::test]
async fn six_hours_end_a_link_and_four_times_that_a_session() {
    let visit = Visit::signed_in().await;
    visit.scan(Method::GET).await;
    visit.scan(Method::GET).await;
    assert_eq!(visit.mints(), 1, "held");
    visit.post("/clock", json!({})).await;
    assert_eq!(visit.feed("").await.1["ahead_s"], 6 * 3600);
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    assert_eq!(visit.mints(), 2, "ended");
    for _ in 0..3 {
        visit.post("/clock", json!({})).await;
    }
    assert_eq!(visit.name().await, Value::Null);
    assert_eq!(visit.scan(Method::GET).await.status, 401);
    visit.whole.stop().await;
}

#[tokio::test]
async fn a_new_key_of_the_identity_provider_is_taken_and_the_old_one_stays_good() {
    let mut visit = Visit::signed_in().await;
    let before = visit.feed("").await.1["key"].clone();
    assert_eq!(visit.post("/keys", json!({})).await.status, 204);
    // A gateway that asked for keys a moment ago asks again after its cool-down.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_ne!(visit.feed("").await.1["key"], before);
    assert_eq!(visit.scan(Method::GET).await.status, 302, "the old key");
    visit.sign_in("grace").await;
    assert_eq!(visit.scan(Method::GET).await.status, 302, "the new key");
    visit.whole.stop().await;
}

#[tokio::test]
async fn twenty_tabs_are_one_mint() {
    let visit = Visit::signed_in().await;
    let result = visit.post("/tabs", json!({})).await.json();
    assert_eq!(result, json!({ "tabs": 20, "opened": 20, "links": 1, "asked": 1 }));
    assert_eq!(visit.mints(), 1);
    let nobody = Visit { session: String::new(), ..visit };
    assert_eq!(nobody.post("/tabs", json!({})).await.status, 401);
    nobody.whole.stop().await;
}

#[tokio::test]
async fn the_feed_tells_what_happened_as_soon_as_it_has_and_no_secret() {
    let visit = Visit::signed_in().await;
    let (version, empty) = visit.feed("").await;
    assert_eq!((&empty["requests"], &empty["calls"]), (&json!([]), &json!([])));
    let (waited, link) = tokio::join!(visit.feed(&version), visit.scan(Method::GET));
    assert_ne!(waited.0, version);
    let mut view = waited.1;
    while view["requests"] == json!([]) {
        view = visit.feed("").await.1;
    }
    let line = &view["requests"][0];
    assert_eq!((&line["n"], &line["session_check"], &line["source"]), (&json!(1), &json!("valid"), &json!("minted")));
    let kinds: Vec<&Value> = view["calls"].as_array().unwrap().iter().map(|call| &call["kind"]).collect();
    assert_eq!(kinds, ["mint", "register"]);
    for (counter, value) in
        [("opened", 1), ("minted", 1), ("hit", 0), ("asked", 1), ("held", 1), ("verified", 1), ("refused", 0)]
    {
        assert_eq!(view["counters"][counter], value, "{counter}");
    }
    let text = view.to_string();
    let action_token = link.header("location").unwrap().split("action_token=").nth(1).unwrap();
    for secret in [&*visit.whole.provider.sim.keys()[0], &visit.session, action_token.split('&').next().unwrap()] {
        assert!(!secret.is_empty() && !text.contains(secret), "a secret in the feed");
    }
    // A browser opens the link: no call of the gateway, and not in its list.
    let name = visit.places().plugin.clone();
    assert_eq!(
        get(&link.header("location").unwrap().replace(&name, &visit.whole.provider.url()), &[]).await.status,
        200
    );
    assert_eq!(visit.whole.provider.sim.calls_of(CallKind::Page).len(), 1);
    assert_eq!(visit.feed("").await.1["calls"].as_array().unwrap().len(), 2);
    visit.whole.stop().await;
}
