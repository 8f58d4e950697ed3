//! The app in the whole demo, as a browser would use it.

use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::*;
use crate::demo::provider::{CallKind, ProviderSim};
use crate::demo::serve::ServerHandle;
use crate::demo::stack::{self, Behind, Stack};
use crate::demo::testing::{Answer, get, send, send_json};
use crate::demo::vendor_control::Trouble;
use crate::logging::LineSink;
use crate::telemetry::Metrics;

/// In one process.
fn vendor(stack: &Stack) -> &ServerHandle<ProviderSim> {
    let Behind::Here { pages, .. } = &stack.behind else { panic!("another process") };
    pages
}

/// A demo, and a browser with one cookie.
struct Visit {
    stack: Stack,
    session: String,
}

impl Visit {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Metrics::new("test", "test").unwrap();
        let feed = Feed::default();
        let lost = metrics.log_lines_lost.with_label_values(&["stdout"]);
        let lines = LineSink::new(feed.tee(std::io::sink()), lost).unwrap();
        let stack = stack::start(0, metrics, Some(lines), feed, None).await.unwrap();
        vendor(&stack).sim.set_faults(crate::demo::provider::Faults::default());
        Self { stack, session: String::new() }
    }

    async fn signed_in() -> Self {
        let mut visit = Self::start().await;
        visit.sign_in("ada").await;
        visit
    }

    fn places(&self) -> &Places {
        self.stack.app.sim.places()
    }

    fn host(&self) -> String {
        self.places().app.replace("http://", "")
    }

    /// Through the gateway, as a browser asks.
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.places().gateway_here)
    }

    fn cookie(&self) -> String {
        format!("session={}", self.session)
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        get(&self.at(path), &[("host", &self.host()), ("cookie", cookie)]).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        send_json(Method::POST, &self.at(path), &[("host", &self.host()), ("cookie", &self.cookie())], body).await
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
        self.get("/me", &self.cookie()).await.json()["name"].clone()
    }

    async fn scan(&self, method: Method) -> Answer {
        send(method, &self.at("/plugins/face-scan"), &[("cookie", &self.cookie())], "").await
    }

    async fn follow(&self) -> Following {
        Following::start(&self.at("/demo/feed"), &self.host()).await
    }

    /// What there is to see now.
    async fn view(&self) -> Value {
        self.follow().await.next().await.expect("an event")
    }

    fn mints(&self) -> u64 {
        vendor(&self.stack).sim.mint_count()
    }
}

/// The feed, read as it comes.
struct Following {
    body: Incoming,
    read: String,
}

impl Following {
    async fn start(url: &str, host: &str) -> Self {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(url).header("host", host).body(Full::default()).unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), read: String::new() }
    }

    /// The next event; `None` at the end, which is a whole one.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let view = event.strip_prefix("data: ").map(|text| serde_json::from_str(text).unwrap());
                self.read = rest.to_owned();
                match view {
                    Some(view) => return Some(view),
                    None => continue,
                }
            }
            let piece = self.body.frame().await?.expect("the feed is not cut").into_data().unwrap();
            self.read.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// The next view of which this is true.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let view = self.next().await.expect("an event");
            if wanted(&view) {
                return view;
            }
        }
    }
}

#[tokio::test]
async fn a_browser_that_asks_for_an_icon_beside_json_gets_no_404() {
    let visit = Visit::start().await;
    assert_eq!(visit.get("/favicon.ico", "").await.status, 204);
    visit.stack.stop().await;
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
    visit.stack.stop().await;
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
    visit.stack.stop().await;
}

#[tokio::test]
async fn after_signing_in_one_goes_to_a_path_behind_the_gateway_and_nowhere_else() {
    let visit = Visit::start().await;
    let home = visit.places().app.clone();
    for (wanted, place) in [
        ("/somewhere?x=1", "/somewhere?x=1"),
        ("/plugins/face-scan", "/plugins/face-scan"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        (&format!("{home}.evil.example/"), "/"),
        (&format!("{home}@evil.example/"), "/"),
        ("", "/"),
    ] {
        let question = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", wanted).finish();
        let (leave, cookie) = visit.leave(&format!("/login?{question}")).await;
        let back = visit.get(&visit.choose(&leave, "ada").await, &cookie).await;
        assert_eq!(back.header("location"), Some(place), "{wanted}");
    }
    visit.stack.stop().await;
}

#[tokio::test]
async fn without_a_session_a_navigation_to_the_plug_in_leads_to_the_apps_sign_in_and_back() {
    let mut visit = Visit::start().await;
    let navigation = [("host", &*visit.host()), ("sec-fetch-mode", "navigate")];
    let answer = get(&visit.at("/plugins/face-scan"), &navigation).await;
    assert_eq!(answer.header("location"), Some("/login?return_to=%2Fplugins%2Fface-scan"));
    let (place, cookie) = visit.leave(answer.header("location").unwrap()).await;
    let back = visit.get(&visit.choose(&place, "ada").await, &cookie).await;
    assert_eq!(back.header("location"), Some("/plugins/face-scan"));
    // A session that is no good, as of a demo that has ended: one is not sent away, and can sign in anew.
    visit.session = "x.y.z".to_owned();
    assert_eq!(visit.get("/me", &visit.cookie()).await.status, 401);
    assert_eq!(visit.get("/", &visit.cookie()).await.status, 200);
    assert_eq!(visit.get("/login", &visit.cookie()).await.status, 303);
    visit.stack.stop().await;
}

#[tokio::test]
async fn the_app_learns_who_it_is_and_never_the_credential() {
    let mut visit = Visit::start().await;
    assert_eq!(visit.get("/me", "").await.json(), json!({ "name": null, "received": {}, "credential": false }));
    visit.sign_in("ada").await;
    let (host, cookie) = (visit.host(), format!("a=1; {}; b=2", visit.cookie()));
    let bearer = format!("Bearer {}", visit.session);
    let known = json!({
        "name": "Ada",
        "received": { "x-auth-issuer": visit.places().idp, "x-auth-name": "Ada", "x-auth-subject": "ada" },
        "credential": false,
    });
    for credentials in
        [&[("cookie", &*cookie)][..], &[("authorization", &bearer)], &[("authorization", &bearer), ("cookie", &cookie)]]
    {
        let own = [("host", &*host), ("x-auth-subject", "grace"), ("X-Auth_Name", "Grace"), ("x-auth.issuer", "me")];
        let fields: Vec<(&str, &str)> = own.iter().chain(credentials).copied().collect();
        assert_eq!(get(&visit.at("/me"), &fields).await.json(), known, "{}", credentials.len());
    }
    // The app notices, if the gateway did not cut it out.
    let straight = get(&format!("{}/me", visit.stack.app.url()), &[("host", &host), ("cookie", &cookie)]).await;
    assert_eq!(straight.json(), json!({ "name": null, "received": {}, "credential": true }));
    visit.stack.stop().await;
}

#[tokio::test]
async fn the_page_is_served_under_its_own_name_alone() {
    let visit = Visit::start().await;
    let port = visit.host().split_once(':').unwrap().1.to_owned();
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
        assert_eq!(get(&visit.at("/demo/feed"), &[("host", &host)]).await.status, 421, "{host}");
    }
    // Past the gateway there is nothing to open.
    let past = get(&visit.stack.app.url(), &[]).await;
    assert!(past.status == 421 && past.text().contains(&visit.places().app), "{}", past.text());
    assert_eq!(visit.get("/nothing", "").await.status, 404);
    visit.stack.stop().await;
}

#[tokio::test]
async fn another_site_may_turn_no_switch() {
    let visit = Visit::signed_in().await;
    for path in [
        "/logout",
        "/sign-out",
        "/api/sign-out",
        "/api/tabs",
        "/demo/trouble",
        "/demo/clock",
        "/demo/clock/right",
        "/demo/keys",
    ] {
        for field in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "null")] {
            let (url, host, cookie) = (visit.at(path), visit.host(), visit.cookie());
            let fields = [("host", &*host), ("cookie", &cookie), field];
            let answer = send_json(Method::POST, &url, &fields, json!({ "trouble": "slow" })).await;
            assert_eq!(answer.status, 403, "{path} {field:?}");
        }
    }
    assert_eq!(visit.stack.app.sim.controls().trouble(), Trouble::None);
    let wrong = visit.post("/demo/trouble", json!({ "trouble": "none", "more": 1 })).await;
    assert_eq!(wrong.status, 422);
    visit.stack.stop().await;
}

#[tokio::test]
async fn each_trouble_shows_and_ends_and_a_held_link_goes_on() {
    let mut visit = Visit::start().await;
    for (trouble, status) in [("unreachable", 502), ("foreign", 502), ("busy", 503), ("slow", 504)] {
        assert_eq!(visit.post("/demo/trouble", json!({ "trouble": "none" })).await.status, 204);
        // By the clock a pause and a failure that is remembered end.
        visit.post("/demo/clock", json!({})).await;
        visit.sign_in("ada").await;
        assert_eq!(visit.scan(Method::GET).await.status, 302, "before {trouble}");
        assert_eq!(visit.post("/demo/trouble", json!({ "trouble": trouble })).await.status, 204);
        assert_eq!(visit.view().await["trouble"], trouble);
        assert_eq!(visit.scan(Method::GET).await.status, 302, "held under {trouble}");
        assert_eq!(visit.scan(Method::POST).await.status, status, "{trouble}");
    }
    visit.stack.stop().await;
}

#[tokio::test]
async fn six_hours_end_a_link_and_four_times_that_a_session() {
    let visit = Visit::signed_in().await;
    visit.scan(Method::GET).await;
    visit.scan(Method::GET).await;
    assert_eq!(visit.mints(), 1, "held");
    visit.post("/demo/clock", json!({})).await;
    assert_eq!(visit.view().await["ahead_s"], 6 * 3600);
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    assert_eq!(visit.mints(), 2, "ended");
    for _ in 0..3 {
        visit.post("/demo/clock", json!({})).await;
    }
    assert_eq!(visit.name().await, Value::Null);
    assert_eq!(visit.scan(Method::GET).await.status, 401);
    visit.stack.stop().await;
}

#[tokio::test]
async fn the_wall_clock_goes_back_and_who_signs_in_then_gets_a_link() {
    let mut visit = Visit::signed_in().await;
    for _ in 0..4 {
        visit.post("/demo/clock", json!({})).await;
    }
    assert_eq!(visit.name().await, Value::Null, "her session has ended");
    visit.sign_in("ada").await;
    assert_eq!(visit.scan(Method::GET).await.status, 302, "in the time ahead");
    assert_eq!(visit.post("/demo/clock/right", json!({})).await.status, 204);
    assert_eq!(visit.view().await["ahead_s"], 0);
    visit.sign_in("ada").await;
    assert_eq!(visit.name().await, "Ada");
    assert_eq!(visit.scan(Method::GET).await.status, 302, "in the right time");
    // And forth again.
    visit.post("/demo/clock", json!({})).await;
    assert_eq!(visit.view().await["ahead_s"], 6 * 3600);
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    visit.stack.stop().await;
}

#[tokio::test]
async fn a_new_key_of_the_identity_provider_is_taken_and_the_old_one_stays_good() {
    let mut visit = Visit::signed_in().await;
    let before = visit.view().await["key"].clone();
    assert_eq!(visit.post("/demo/keys", json!({})).await.status, 204);
    // Pause: a gateway that asked for keys a moment ago asks again after its cool-down.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_ne!(visit.view().await["key"], before);
    assert_eq!(visit.scan(Method::GET).await.status, 302, "the old key");
    visit.sign_in("grace").await;
    assert_eq!(visit.scan(Method::GET).await.status, 302, "the new key");
    visit.stack.stop().await;
}

#[tokio::test]
async fn a_visitor_may_scan_and_not_see_the_dashboard_and_the_page_can_say_which_policy_forbids_it() {
    let mut visit = Visit::start().await;
    visit.sign_in("sam").await;
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    let mints = visit.mints();
    let dashboard = visit.get("/plugins/health-dashboard", &visit.cookie()).await;
    assert_eq!((dashboard.status.as_u16(), visit.mints()), (403, mints));
    let denied = |view: &Value| view["requests"][0]["path"] == "/plugins/health-dashboard";
    let view = visit.follow().await.until(denied).await;
    let line = &view["requests"][0];
    assert_eq!((&line["outcome"], &line["policy"]), (&json!("forbidden"), &json!("dashboard-for-clinicians")));
    for clinician in ["ada", "grace"] {
        visit.sign_in(clinician).await;
        assert_eq!(visit.get("/plugins/health-dashboard", &visit.cookie()).await.status, 302, "{clinician}");
    }
    visit.stack.stop().await;
}

#[tokio::test]
async fn who_signs_out_everywhere_has_no_link_any_more_though_the_token_is_good_for_hours() {
    let mut visit = Visit::signed_in().await;
    let ada = visit.cookie();
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    visit.sign_in("grace").await;
    assert_eq!(visit.scan(Method::GET).await.status, 302);
    visit.session = ada.trim_start_matches("session=").to_owned();
    assert_eq!(
        visit.post("/sign-out", json!({ "order": visit.session })).await.status,
        502,
        "no order of the sign-in's"
    );
    let order = visit.post("/api/sign-out", json!({})).await.json();
    let answer = visit.post("/sign-out", order).await;
    assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (204, None), "{}", answer.text());
    assert_eq!(visit.view().await["counters"]["held"], 1, "another person's link stays");
    let mints = visit.mints();
    assert_eq!((visit.scan(Method::GET).await.status.as_u16(), visit.mints()), (401, mints));
    assert_eq!(visit.post("/api/sign-out", json!({})).await.status, 401);
    let told = |view: &Value| view["requests"][1]["session_check"] == "revoked";
    let view = visit.follow().await.until(told).await;
    let lines: Vec<(&Value, &Value)> =
        view["requests"].as_array().unwrap().iter().map(|line| (&line["path"], &line["status"])).collect();
    assert!(lines.contains(&(&json!("/.valet/backchannel-logout"), &json!(200))), "{lines:?}");
    assert_eq!(view["requests"][1]["path"], "/plugins/face-scan");
    visit.stack.stop().await;
}

#[tokio::test]
async fn twenty_tabs_are_one_mint() {
    let visit = Visit::signed_in().await;
    let result = visit.post("/api/tabs", json!({})).await.json();
    assert_eq!(result, json!({ "tabs": 20, "opened": 20, "links": 1, "asked": 1 }));
    assert_eq!(visit.mints(), 1);
    let nobody = Visit { session: String::new(), ..visit };
    let refused = nobody.post("/api/tabs", json!({})).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"), "the gateway says so, not the app");
    nobody.stack.stop().await;
}

#[tokio::test]
async fn the_feed_tells_what_happened_as_soon_as_it_has_and_no_secret() {
    let visit = Visit::signed_in().await;
    let mut feed = visit.follow().await;
    let before = feed.until(|view| view["requests"][0]["path"] == "/callback").await;
    assert_eq!(before["requests"].as_array().unwrap().len(), 2, "the sign-in, and not the feed: {before}");
    assert_eq!(before["calls"], json!([]));
    let link = visit.scan(Method::GET).await;
    let view = feed.until(|view| view["requests"][0]["route"] == "face-scan").await;
    let line = &view["requests"][0];
    assert_eq!((&line["n"], &line["session_check"], &line["source"]), (&json!(3), &json!("valid"), &json!("minted")));
    let kinds: Vec<&Value> = view["calls"].as_array().unwrap().iter().map(|call| &call["kind"]).collect();
    assert_eq!(kinds, ["mint", "register"]);
    for (counter, value) in
        [("opened", 1), ("minted", 1), ("hit", 0), ("asked", 1), ("held", 1), ("verified", 1), ("refused", 0)]
    {
        assert_eq!(view["counters"][counter], value, "{counter}");
    }
    let text = view.to_string();
    let action_token = link.header("location").unwrap().split("action_token=").nth(1).unwrap();
    for secret in [&*vendor(&visit.stack).sim.keys()[0], &visit.session, action_token.split('&').next().unwrap()] {
        assert!(!secret.is_empty() && !text.contains(secret), "a secret in the feed");
    }
    // A browser opens the link: no call of the gateway, and not in its list.
    let name = visit.places().plugin.clone();
    assert_eq!(
        get(&link.header("location").unwrap().replace(&name, &vendor(&visit.stack).url()), &[]).await.status,
        200
    );
    assert_eq!(vendor(&visit.stack).sim.calls_of(CallKind::Page).len(), 1);
    assert_eq!(visit.view().await["calls"].as_array().unwrap().len(), 2);
    visit.stack.stop().await;
}

#[tokio::test]
async fn a_feed_that_is_open_ends_well_when_the_demo_does() {
    let visit = Visit::start().await;
    let mut feed = visit.follow().await;
    feed.next().await.expect("an event");
    let (_, rest) = tokio::join!(visit.stack.stop(), async {
        while feed.next().await.is_some() {}
        feed.read
    });
    assert_eq!(rest, "", "it ended between events, and was not cut");
}
