//! docs/recipes.md: each block with a provider is accepted by `valet check` as it stands, and mints at a vendor that is as strict as the page says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::check::check;
use super::process::end_of;
use super::stack::{Folder, issuer};

const PAGE: &str = include_str!("../../docs/recipes.md");
const KEY: &str = "canary-key-of-the-page-of-recipes";
const SECOND: &str = "canary-second-secret-of-that-page";

const AROUND: &str = r#"[server]
public_url = "https://app.example.com"
[[listener]]
address = "127.0.0.1:8080"
[admin]
address = "127.0.0.1:9090"
[session]
sources = ["header:authorization"]
"#;

const ISO: &str = "2099-01-01T00:00:00Z";

/// The heading and the text of each block of TOML.
fn blocks() -> Vec<(&'static str, String)> {
    let (mut heading, mut open, mut found) = ("", None::<Vec<&str>>, Vec::new());
    for line in PAGE.lines() {
        match (&mut open, line) {
            (None, "```toml") => open = Some(Vec::new()),
            (None, _) if line.starts_with('#') => heading = line.trim_start_matches('#').trim(),
            (None, _) => {}
            (Some(lines), "```") => {
                found.push((heading, lines.join("\n") + "\n"));
                open = None;
            }
            (Some(lines), _) => lines.push(line),
        }
    }
    found
}

/// Each provider of the page in a whole configuration, with the page's own plug-in.
fn configurations() -> Vec<(&'static str, String)> {
    let blocks = blocks();
    let plugin = &blocks.iter().find(|(_, block)| block.starts_with("[[plugin]]")).expect("the plug-in").1;
    let providers = blocks.iter().filter(|(_, block)| block.starts_with("[[provider]]"));
    let whole = providers.map(|(heading, block)| {
        let plugin = if block.contains("[[plugin]]") { "" } else { plugin };
        (*heading, format!("{AROUND}{}{block}{plugin}", issuer("https://idp.example.com")))
    });
    whole.collect()
}

/// A call as the vendor reads it.
struct Call {
    line: String,
    head: String,
    body: String,
}

impl Call {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        let line = head.split(" HTTP/1.1").next()?.to_owned();
        Some(Self { line, head, body: String::from_utf8(body).ok()? })
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.head.contains(&format!("\r\n{name}: {value}\r\n"))
    }

    fn field(&self, name: &str) -> &str {
        self.head.split(&format!("\r\n{name}: ")).nth(1).and_then(|rest| rest.split('\r').next()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    fn is_signed(&self) -> bool {
        let text = format!("{}{}{}", self.field("x-ts"), self.line.replacen(' ', "", 1), self.body);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
        let sum = aws_lc_rs::hmac::sign(&key, text.as_bytes());
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        !self.field("x-ts").is_empty() && self.field("x-signature") == hex
    }

    /// What the vendor of the page answers; `None`: 400.
    fn answer(&self) -> Option<Value> {
        let link = json!({ "url": "https://embed.acme.example/d?t=canary", "expires_at": ISO });
        let bearer = |token: &str| self.has("authorization", &format!("Bearer {token}"));
        let token_key = self.has("authorization", &format!("Token token={KEY}"));
        let json = self.json();
        let (good, answer) = match self.line.as_str() {
            "GET /v1/embed/ada" => (self.has("x-api-key", KEY), link),
            "GET /v2/embed/ada" => (token_key && self.has("x-client-id", "acme") && self.has("x-second", SECOND), link),
            "POST /v3/embed" => (bearer(KEY) && json == json!({ "user": { "id": "ada" } }), link),
            "POST /v3.6/applicants" => {
                (token_key && json == json!({ "first_name": "Ada", "last_name": "L" }), json!({ "id": "a/1" }))
            }
            "POST /v3.6/workflow_runs" => (token_key && json["applicant_id"] == "a/1", json!({ "link": link })),
            "POST /rooms" => (bearer(KEY) && json["until"].is_i64(), json!({ "room": "r 1", "token": "t&1" })),
            "POST /tokens" => {
                let claims = URL_SAFE_NO_PAD.encode(json!({ "exp": 4_000_000_000_i64 }).to_string());
                let good = bearer(KEY) && matches!(self.body.as_str(), "ttl=3600&user=ada" | "user=ada&ttl=3600");
                (good, json!({ "token": format!("e30.{claims}.canary") }))
            }
            "POST /oauth2/token" => {
                let basic = format!("Basic {}", STANDARD.encode(format!("valet:{KEY}")));
                let good = self.has("authorization", &basic) && self.body == "grant_type=client_credentials";
                (good, json!({ "access_token": "canary-at", "token_type": "Bearer", "expires_in": 3600 }))
            }
            "POST /accounts" => {
                (bearer("canary-at") && json == json!({ "reference": "ada" }), json!({ "account": { "id": "b 2" } }))
            }
            "POST /accounts/b%202/sessions" => {
                let web = json!({ "href": link["url"], "expires": ISO });
                (bearer("canary-at") && json == json!({ "ttl": 3600 }), json!({ "web": web }))
            }
            "POST /login" => {
                let good = json == json!({ "username": "valet", "password": KEY });
                (good, json!({ "access_token": "canary-at" }))
            }
            "GET /embed/ada" => (bearer("canary-at"), link),
            "POST /links" => (self.is_signed() && json == json!({ "user": "ada" }), link),
            _ => (false, Value::Null),
        };
        good.then_some(answer)
    }
}

/// The vendor of the page, until the test's process ends.
fn vendor() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let call = Call::read(&mut stream)?;
                let (status, body) = call.answer().map_or((400, String::new()), |answer| (200, answer.to_string()));
                let length = body.len();
                let fields = format!("content-type: application/json\r\ncontent-length: {length}\r\nconnection: close");
                stream.write_all(format!("HTTP/1.1 {status} Some\r\n{fields}\r\n\r\n{body}").as_bytes()).ok()
            });
        }
    });
    url
}

#[test]
fn each_provider_of_the_page_has_no_fault_and_no_warning() {
    let files = [("secrets/acme.key", KEY), ("secrets/second.key", SECOND)];
    let all = configurations();
    assert!(all.len() >= 10, "{}", all.len());
    for (heading, config) in all {
        let ended = check(&config, &files);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{heading}:\n{config}");
    }
}

#[test]
fn each_provider_of_the_page_mints_at_a_vendor_that_is_as_strict_as_the_page_says() {
    let url = vendor();
    for (heading, config) in configurations() {
        let folder = Folder::new();
        folder.write("secrets/acme.key", KEY);
        folder.write("secrets/second.key", SECOND);
        let here = ["https://api.acme.example", "https://auth.acme.example"];
        let config = here.iter().fold(config, |config, there| config.replace(there, &url));
        folder.write("valet.toml", &config);
        let mut words = vec!["recipe", "try", "--config", "valet.toml", "--plugin", "dashboard", "--subject", "ada"];
        words.extend(
            ["--claim", "given_name=Ada", "--claim", "family_name=L"].iter().filter(|_| config.contains("given_name")),
        );
        let ended = end_of(folder.path(), &words);
        assert_eq!(ended.code, Some(0), "{heading}: {}\n{config}", ended.all());
        assert!(ended.stdout.contains("minted: "), "{heading}: {}", ended.all());
        assert!(!ended.all().contains("canary"), "{heading}: {}", ended.all());
    }
}

#[test]
fn the_page_teaches_in_five_steps_from_a_plain_get_to_oauth2_with_two_calls() {
    let steps: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("## Step ")).collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    let of = |step: &str| {
        let found = configurations().into_iter().find(|(heading, _)| heading.starts_with(step));
        found.unwrap_or_else(|| panic!("{step} has no provider")).1
    };
    assert!(!of("Step 1").contains("method"), "a plain GET");
    let last = of("Step 5");
    assert!(last.contains("oauth2") && last.contains("[provider.register]") && last.contains("{register:"), "{last}");
}
