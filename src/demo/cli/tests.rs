//! The command lines, and what stands on the terminal.

use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use parking_lot::Mutex;

use super::*;
use crate::demo::serve;
use crate::demo::testing::{get, send};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    simulate: Simulate,
}

fn parse(words: &[&str]) -> Result<Simulate, String> {
    let words = ["simulate"].iter().chain(words);
    Line::try_parse_from(words).map(|line| line.simulate).map_err(|fault| fault.to_string())
}

/// A terminal that a test can read while the simulator runs.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>, Arc<tokio::sync::Notify>);

impl Screen {
    /// What stands there after the first flush.
    async fn text(&self) -> String {
        self.1.notified().await;
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.1.notify_one();
        Ok(())
    }
}

/// Runs a simulator as the command line does, and `visit` while it serves.
async fn run<T>(words: &[&str], visit: impl AsyncFnOnce(String) -> T) -> T {
    let screen = Screen::default();
    let (stop, stopped) = watch::channel(false);
    let mut out = screen.clone();
    let served = async {
        match parse(words).unwrap() {
            Simulate::Provider(args) => run_provider_until(args, &mut out, stopped).await,
            Simulate::Idp(args) => run_idp_until(args, &mut out, stopped).await,
        }
    };
    let visited = async {
        let seen = visit(screen.text().await).await;
        stop.send_replace(true);
        seen
    };
    let (served, seen) = tokio::join!(served, visited);
    assert_eq!(served, Ok(()));
    seen
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim()
}

#[test]
fn the_command_lines_are_sound_and_their_help_has_examples() {
    Line::command().debug_assert();
    for which in ["provider", "idp"] {
        let help = parse(&[which, "--help"]).err().unwrap();
        assert!(help.contains("Not for production") && help.contains("Examples:"), "{help}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_unless_allowed() {
    for which in ["provider", "idp"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let simulate = parse(&[which, "--listen", address]).unwrap();
            let fault = simulate.run(&mut Vec::new()).await.unwrap_err();
            assert!(matches!(fault, SimFault::NotLoopback(_)), "{fault}");
            assert!(fault.to_string().contains("--allow-remote"));
        }
    }
    run(&["provider", "--listen", "0.0.0.0:0", "--allow-remote"], async |_| {}).await;
}

#[tokio::test]
async fn an_address_in_use_ends_it_with_one_line() {
    let taken = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = taken.local_addr().unwrap();
    for which in ["provider", "idp"] {
        let mut out = Vec::new();
        let fault = parse(&[which, "--listen", &address.to_string()]).unwrap().run(&mut out).await.unwrap_err();
        assert_eq!(fault, SimFault::AddressInUse(address));
        assert!(out.is_empty(), "nothing is promised that is not served");
    }
}

#[tokio::test]
async fn the_provider_prints_a_key_that_works() {
    run(&["provider", "--listen", "127.0.0.1:0"], async |text| {
        assert!(text.contains("Not for production"));
        let (url, key) = (line(&text, "Listening "), line(&text, "API key "));
        assert_eq!(get(&format!("{url}/v1/auth/me"), &[("x-api-key", key)]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn keys_that_were_given_are_taken_and_the_lines_to_copy_work_word_for_word() {
    let words = ["provider", "--listen", "127.0.0.1:0", "--api-key", "given-key-one", "--api-key", "given-key-two"];
    run(&words, async |text| {
        assert_eq!(text.matches("curl -H 'x-api-key: given-key-one' ").count(), 2, "{text}");
        assert!(!text.contains("$SIMULATED_API_KEY") && !text.contains("API key  "), "{text}");
        for key in ["given-key-one", "given-key-two"] {
            assert_eq!(
                get(&format!("{}/v1/auth/me", line(&text, "Listening ")), &[("x-api-key", key)]).await.status,
                200
            );
        }
    })
    .await;
}

#[tokio::test]
async fn faults_of_the_command_line_are_those_of_the_switches() {
    let words = [
        "provider",
        "--listen",
        "127.0.0.1:0",
        "--fail",
        "503",
        "--retry-after",
        "5",
        "--on",
        "mint",
        "--times",
        "2",
        "--delay",
        "1ms",
        "--url",
        "no-exp",
    ];
    run(&words, async |text| {
        let faults = get(&format!("{}/_sim/faults", line(&text, "Listening ")), &[]).await.json();
        assert_eq!(
            faults,
            serde_json::json!({
                "on": "mint", "times": 2, "delay": "1ms", "fail": "503", "retry_after": 5, "url": "no-exp",
                "life": null, "url_text": null
            })
        );
    })
    .await;
}

#[tokio::test]
async fn the_idp_prints_a_token_that_its_keys_verify_and_the_lines_of_a_configuration() {
    let words = ["idp", "--listen", "127.0.0.1:0", "--user", "eve", "--audience", "one", "--algorithm", "eddsa"];
    run(&words, async |text| {
        let url = line(&text, "Listening ");
        let token = text.lines().skip_while(|line| *line != "A token for eve:").nth(1).unwrap();
        let keys: jsonwebtoken::jwk::JwkSet =
            serde_json::from_slice(&get(&format!("{url}/jwks.json"), &[]).await.body).unwrap();
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        rules.set_audience(&["one"]);
        rules.set_issuer(&[url]);
        let key = jsonwebtoken::DecodingKey::from_jwk(&keys.keys[0]).unwrap();
        let claims = jsonwebtoken::decode::<serde_json::Value>(token, &key, &rules).unwrap().claims;
        assert_eq!(claims["sub"], "eve");
        assert!(text.contains("keys = { discovery = true }") && text.contains("algorithms = [\"EdDSA\"]"), "{text}");
        assert_eq!(send(http::Method::POST, &format!("{url}/token"), &[], "user=ada").await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn an_issuer_elsewhere_is_configured_by_the_address_of_the_keys() {
    let words = ["idp", "--listen", "127.0.0.1:0", "--issuer", "https://idp.example.com"];
    run(&words, async |text| {
        assert_eq!(line(&text, "Issuer "), "https://idp.example.com");
        let keys = format!("keys = {{ jwks_url = \"{}/jwks.json\" }}", line(&text, "Listening "));
        assert!(text.contains(&keys), "{text}");
    })
    .await;
}

#[test]
fn a_wrong_word_is_refused_with_what_was_expected() {
    for (words, expected) in [
        (&["provider", "--life", "5"][..], "\"5m\""),
        (&["provider", "--fail", "burn"], "\"hang\""),
        (&["provider", "--retry-after", "5"], "--fail"),
        (&["provider", "--plugin-base", "http://a/b"], "scheme, host and port"),
        (&["idp", "--algorithm", "HS256"], "ES256"),
        (&["idp", "--issuer", "idp"], "expected a URL"),
        (&["vendor"], "unrecognized subcommand"),
    ] {
        let fault = parse(words).err().unwrap();
        assert!(fault.contains(expected), "{words:?}: {fault}");
    }
}
