//! Secrets stay where they belong: a canary key, tokens, action tokens and subjects are looked for in everything that leaves.

use std::time::Duration;

use valet_gateway::demo::fault::Fail;
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::provider::{Faults, On, UrlFault};

use crate::kit::ask::{Ask, basic};
use crate::kit::{Answer, FACE_SCAN, Setup, Stack};

const KEY: &str = "canary-api-key-0123456789";
const REFUSED_KEY: &str = "canary-refused-key-0123456789";
const SUBJECT: &str = "canary-subject";
const GARBAGE: &str = "canary-garbage-credential";

/// Everything that left the gateway towards clients, and what must not be in it.
struct Watch<'s> {
    stack: &'s Stack,
    answers: Vec<Answer>,
    tokens: Vec<String>,
    urls: Vec<String>,
}

impl Watch<'_> {
    async fn ask(&mut self, ask: Ask<'_>) {
        let answer = ask.send().await;
        match answer.status {
            302 | 303 => self.urls.push(answer.location().to_owned()),
            200 => self.urls.push(answer.json()["url"].as_str().unwrap().to_owned()),
            _ => {}
        }
        self.answers.push(answer);
    }

    fn token(&mut self, request: &TokenRequest) -> String {
        let token = self.stack.idp().token(request);
        self.tokens.push(token.clone());
        token
    }

    /// Each part of each secret that would be enough to use or to recognise it.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![KEY.to_owned(), REFUSED_KEY.to_owned(), GARBAGE.to_owned(), "action_token".to_owned()];
        for token in &self.tokens {
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
        for url in &self.urls {
            let token = url.split("action_token=").nth(1).unwrap().split('&').next().unwrap();
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets
    }
}

#[tokio::test]
async fn no_secret_is_in_any_answer_metric_or_access_line_but_the_one_url_for_whom_it_is() {
    let setup = Setup::new().keys_in_file(&[REFUSED_KEY, KEY]).session("login_url = \"/login\"");
    let setup = setup.vendor(|vendor| vendor.api_keys = vec![KEY.to_owned()]);
    let setup = setup.plugin("refresh_ahead = \"30m\"\nmints_per_subject = { count = 4, within = \"1h\" }");
    let stack = setup.plugin("allowed_origins = [\"https://spa.example.com\"]").start().await;
    let mut watch = Watch { stack: &stack, answers: Vec::new(), tokens: Vec::new(), urls: Vec::new() };

    let good = watch.token(&TokenRequest::user(SUBJECT).session("canary-session").expires_in(48 * 3600));
    let expired = watch.token(&TokenRequest::user(SUBJECT).expires_in(-3600));
    let foreign = watch.token(&TokenRequest::user(SUBJECT).claim("aud", "another"));
    let other = watch.token(&TokenRequest::user("canary-subject-2"));
    for ask in [
        stack.get(FACE_SCAN).bearer(&good),
        stack.get(FACE_SCAN).cookie(&good),
        stack.get(FACE_SCAN).bearer(&good).for_json(),
        stack.ask("HEAD", FACE_SCAN).bearer(&good),
        stack.post(FACE_SCAN).bearer(&good),
        stack.post(FACE_SCAN).bearer(&good).for_json(),
    ] {
        watch.ask(ask).await;
    }
    assert_eq!(watch.urls.len(), 6);
    let granted = watch.answers.len();

    for faults in [
        Faults::status(500),
        Faults::status(400),
        Faults::status(429),
        Faults::failing(Fail::RejectKeys),
        Faults::failing(Fail::Garbage).on(On::Mint),
        Faults::failing(Fail::Redirect).on(On::Mint),
        Faults::url(UrlFault::WrongHost),
        Faults::url(UrlFault::Expired),
    ] {
        stack.vendor_does(faults);
        stack.advance(Duration::from_secs(1));
        watch.ask(stack.get(FACE_SCAN).bearer(&other)).await;
        watch.ask(stack.get(FACE_SCAN).cookie(&other).as_navigation()).await;
    }
    stack.vendor_does(Faults::default());
    for ask in [
        stack.get(FACE_SCAN).bearer(&expired),
        stack.get(FACE_SCAN).bearer(&foreign),
        stack.get(FACE_SCAN).bearer(GARBAGE),
        stack.get(FACE_SCAN).bearer(GARBAGE).as_navigation(),
        stack.get(FACE_SCAN).field("Authorization", GARBAGE),
        stack.get(FACE_SCAN).field("Authorization", basic(GARBAGE, GARBAGE)),
        stack.get(FACE_SCAN).bearer(&good).bearer(&good),
        stack.get(FACE_SCAN).bearer(&good).cookie(&other),
        stack.get(FACE_SCAN).bearer(format!("{good}x")),
        stack.get(FACE_SCAN).cookie(&foreign).as_navigation(),
        stack.get(FACE_SCAN).cookie(&foreign).in_frame_of("same-origin"),
        stack.get(FACE_SCAN).cookie(&good).in_frame_of("cross-site"),
        stack.post(FACE_SCAN).cookie(&good).field("Sec-Fetch-Site", "cross-site"),
        stack.get(FACE_SCAN).bearer(&good).field("Sec-Purpose", "prefetch"),
        stack.ask("PUT", FACE_SCAN).bearer(&good),
        stack.ask("OPTIONS", FACE_SCAN).field("Origin", "https://spa.example.com").bearer(&good),
        stack.get("/nothing").bearer(&good),
        stack.get("/a%2fb").bearer(&good),
        stack.get(&format!("{FACE_SCAN}?token={GARBAGE}")),
        stack.get(&format!("/nothing?token={GARBAGE}")).bearer(&good),
        stack.get(FACE_SCAN).field("Content-Length", GARBAGE).bearer(&good),
        stack.get(FACE_SCAN).field("X", "a\rb").bearer(&good),
        stack.get(FACE_SCAN).field("X-Padding", "x".repeat(40_000)).bearer(&good),
    ] {
        watch.answers.push(ask.send().await);
    }
    for _ in 0..4 {
        watch.answers.push(stack.post(FACE_SCAN).bearer(&good).send().await);
    }
    assert_eq!(watch.answers.last().unwrap().status, 429);
    // The last `POST`s that were granted hold a URL as they should.
    let (refused, late): (Vec<Answer>, Vec<Answer>) =
        watch.answers.split_off(granted).into_iter().partition(|answer| answer.status >= 400 || answer.status == 204);
    for answer in &late {
        watch.urls.push(answer.location().to_owned());
    }

    let asked = watch.answers.len() + refused.len() + late.len();
    let lines = stack.lines.text(asked).await;
    let metrics = stack.admin_get("/metrics").await.text();
    let ready = stack.admin_get("/readyz").await.to_string();
    assert!(watch.secrets().len() > 10, "there is something to look for");
    for secret in watch.secrets() {
        for answer in &refused {
            assert!(!answer.to_string().contains(&secret), "{secret} in:\n{answer}");
        }
        for (what, text) in [("access lines", &lines), ("metrics", &metrics), ("readiness", &ready)] {
            assert!(!text.contains(&secret), "{secret} in {what}:\n{text}");
        }
    }
    for text in [&lines, &metrics, &ready] {
        assert!(!text.contains(SUBJECT), "a plain subject in:\n{text}");
    }
    for answer in watch.answers.iter().chain(&late) {
        let text = answer.to_string();
        for secret in [KEY, REFUSED_KEY].into_iter().chain(watch.tokens.iter().map(String::as_str)) {
            assert!(!text.contains(secret), "{secret} in:\n{text}");
        }
        assert_eq!(text.matches("action_token=").count(), 1, "the URL stands once in:\n{text}");
    }
}
