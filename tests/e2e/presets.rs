//! Each preset with its simulator: a redirect or a token, its end, a refusal.

use std::time::Duration;

use serde_json::json;
use valet_gateway::clock::{Clock, Timestamp};
use valet_gateway::demo::idp::TokenRequest;
use valet_gateway::demo::vendors::{Preset, VendorSim, spawn};

use crate::kit::setup::START;
use crate::kit::{Setup, Wire};

const KEY: &str = "canary-key-of-a-preset";

/// The preset, its mint, what the plug-in says beside, whether it is a token, and how long its links live.
const ALL: [(Preset, &str, &str, bool, u64); 8] = [
    (Preset::IntelliproveWidgets, "action-token", "", true, 3600),
    (
        Preset::Jumio,
        "web",
        "parameters = { workflow = { values = [10011], default = 10011 } }\nmax_age = \"1h\"",
        false,
        3600,
    ),
    (Preset::Metabase, "dashboard", "parameters = { dashboard = { values = [1, 2], default = 2 } }", false, 600),
    (Preset::Onfido, "workflow", "parameters = { workflow = { values = [\"w\"], default = \"w\" } }", false, 5400),
    (Preset::Plaid, "hosted-link", "", false, 14_400),
    (Preset::StripePortal, "portal", "max_age = \"1h\"", false, 3600),
    (
        Preset::Sumsub,
        "websdk-link",
        "parameters = { level = { values = [\"basic kyc\"], default = \"basic kyc\" } }",
        false,
        21_600,
    ),
    (
        Preset::Superset,
        "guest-token",
        "min_remaining = \"1m\"\nparameters = { dashboard = { values = [\"d\"], default = \"d\" } }",
        true,
        600,
    ),
];

async fn page(url: &str) -> u16 {
    let (address, target) =
        url.strip_prefix("http://").expect("a page of the simulator").split_once('/').expect("a path");
    let target = target.split('#').next().expect("a target");
    let mut wire = Wire::open(address).await;
    wire.write(format!("GET /{target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    wire.answer().await.status
}

#[tokio::test]
async fn each_preset_walks_from_its_simulator_to_a_page_or_token_its_end_and_a_refusal() {
    for (preset, mint, plugin, is_token, life) in ALL {
        let (clock, clock_control) = Clock::manual(Timestamp::from_secs(START));
        let sim = VendorSim::new(preset, KEY, Duration::from_secs(life), clock);
        let vendor = spawn("127.0.0.1:0".parse().expect("an address"), sim).await.expect("a vendor");
        let start = async |key: &str| {
            let lines = vendor.sim.lines(&vendor.url(), "{ file = \"vendor.key\" }");
            let table = format!(
                "[[plugin]]\nname = \"p\"\nprovider = \"simulated\"\nmint = \"{mint}\"\npath = \"/plugins/p\"\nreuse = \"user\"\n{plugin}\n{lines}"
            );
            Setup::new().file("vendor.key", key).tables(&table).start().await
        };
        let stack = start(KEY).await;
        let get = async || {
            let names =
                TokenRequest::user("cus_ada").claim("given_name", json!("Ada")).claim("family_name", json!("L"));
            stack.get("/plugins/p").bearer(stack.idp().token(&names)).send().await
        };
        let answer = get().await;
        let first = if is_token {
            answer.assert_status(200);
            let json = answer.json();
            assert!(json["expires_in"].as_u64().is_some_and(|left| left <= life), "{preset:?}: {json}");
            json["token"].as_str().expect("a token").to_owned()
        } else {
            answer.assert_status(302);
            assert_eq!(page(answer.location()).await, 200, "{preset:?}");
            answer.location().to_owned()
        };
        let again = get().await;
        assert!(again.text().contains(&first) || again.field("location") == Some(&first), "{preset:?} is held");
        // Its end: another one, and the old page is gone.
        clock_control.advance(Duration::from_secs(life));
        stack.advance(Duration::from_secs(life));
        let later = get().await;
        later.assert_status(if is_token { 200 } else { 302 });
        if is_token {
            assert_ne!(later.json()["token"], first.as_str(), "{preset:?}");
        } else {
            assert_ne!(later.location(), first, "{preset:?}");
            assert!(matches!(page(&first).await, 400 | 410), "{preset:?}");
            assert_eq!(page(later.location()).await, 200, "{preset:?}");
        }
        // A refusal: another key.
        let refused = start("another-key-that-is-wrong").await;
        let names = TokenRequest::user("bob").claim("given_name", json!("Bob")).claim("family_name", json!("L"));
        let answer = refused.get("/plugins/p").bearer(refused.idp().token(&names)).send().await;
        if preset == Preset::Metabase {
            assert_eq!(page(answer.location()).await, 400, "signed with another key");
        } else {
            answer.assert_problem(502, "provider-unavailable");
        }
        assert!(!answer.text().contains("canary") && !stack.metrics.text().contains("canary"));
    }
}
