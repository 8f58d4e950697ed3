//! Health checks, asked of real servers.

use tokio::sync::watch;

use super::super::health::{Probe, ask_all};
use super::site::{Authority, Site, h2c_site};
use super::*;

/// Waits for no answer longer than this where none comes.
const SHORT: &str = "100ms";

impl TestBench {
    /// Asks all once.
    async fn round(&self) {
        let health = self.pool.health.clone().unwrap();
        let probe = Arc::new(Probe::new(&health, self.pool.trusts_the_machine()));
        ask_all(&self.pool.endpoints, &health, &probe).await;
    }

    async fn rounds(&self, rounds: usize) {
        for _ in 0..rounds {
            self.round().await;
        }
    }
}

#[tokio::test]
async fn so_many_bad_answers_in_a_row_take_an_upstream_out_and_so_many_good_ones_bring_it_back() {
    let (one, two) = (Site::plain().await, Site::plain().await);
    let bench = TestBench::at([one.port, two.port], json!({ "health": { "unhealthy": 3, "healthy": 2 } }));
    one.says(500);
    bench.rounds(2).await;
    assert!(bench.is_up(one.port));
    bench.round().await;
    assert!(!bench.is_up(one.port) && bench.is_up(two.port));
    assert_eq!(bench.ports_used(4), [two.port]);
    one.says(204);
    bench.round().await;
    assert!(!bench.is_up(one.port));
    bench.round().await;
    assert!(bench.is_up(one.port));
    assert_eq!(bench.ports_used(4).len(), 2);
    assert_eq!(bench.ejections(one.port), 0, "that is no ejection");
}

#[tokio::test]
async fn an_answer_of_the_other_kind_begins_the_count_anew() {
    let site = Site::plain().await;
    let bench = TestBench::at([site.port], json!({ "health": { "unhealthy": 2 } }));
    for status in [500, 200, 500, 200, 500] {
        site.says(status);
        bench.round().await;
        assert!(bench.is_up(site.port));
    }
    bench.round().await;
    assert!(!bench.is_up(site.port));
}

#[tokio::test]
async fn any_2xx_is_well_and_nothing_else_is() {
    let site = Site::plain().await;
    let bench = TestBench::at([site.port], json!({ "health": { "unhealthy": 1, "healthy": 1 } }));
    for (status, well) in [
        (200, true),
        (199, false),
        (299, true),
        (301, false),
        (206, true),
        (404, false),
        (103, true),
        (503, false),
        (201, true),
    ] {
        site.says(status);
        bench.round().await;
        assert_eq!(bench.is_up(site.port), well, "{status}");
    }
    site.says(0);
    let bench = TestBench::at([site.port], json!({ "health": { "unhealthy": 1, "timeout": SHORT } }));
    bench.round().await;
    assert!(!bench.is_up(site.port), "no answer");
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_not_well() {
    // Nobody listens there, and the system gives it out to no other test.
    let gone = 9;
    let bench = TestBench::at([gone], json!({ "health": { "unhealthy": 1 } }));
    bench.round().await;
    assert!(!bench.is_up(gone));
}

#[tokio::test]
async fn where_all_are_unwell_requests_are_sent_all_the_same() {
    let (one, two) = (Site::plain().await, Site::plain().await);
    let bench = TestBench::at([one.port, two.port], json!({ "health": { "unhealthy": 1, "healthy": 1 } }));
    one.says(500);
    two.says(500);
    bench.round().await;
    assert!(bench.is_degraded());
    assert_eq!(bench.ports_used(4).len(), 2);
    bench.pick().succeeded();
    assert!(bench.is_degraded(), "only health checks undo what health checks said");
    two.says(200);
    bench.round().await;
    assert!(!bench.is_degraded());
    assert_eq!(bench.ports_used(4), [two.port]);
}

#[tokio::test]
async fn the_question_names_valet_and_the_upstream_or_the_host_that_is_configured() {
    let site = Site::plain().await;
    let bench = TestBench::at([site.port], json!({ "health": { "path": "/health?deep=1" } }));
    bench.round().await;
    let head = site.seen().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /health?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", site.port)), "{head}");
    assert!(head.contains(&format!("\r\nuser-agent: valet/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
    let bench = TestBench::at([site.port], json!({ "health": { "host": "portal.example.com" } }));
    bench.round().await;
    let head = site.seen().remove(0).to_ascii_lowercase();
    assert!(head.contains("\r\nhost: portal.example.com\r\n"), "{head}");
    for (health, host) in [(json!({}), "app.internal"), (json!({ "host": "portal.example.com" }), "portal.example.com")]
    {
        let bench = TestBench::at([site.port], json!({ "health": health, "request": { "host": "app.internal" } }));
        bench.round().await;
        let head = site.seen().remove(0).to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn over_tls_the_question_goes_the_way_of_requests_certificates_and_all() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let site = Site::with_tls(authority.tls_for("portal.internal", Some(&clients))).await;
    let folder = tempfile::tempdir().unwrap();
    let identity = clients.sign("valet");
    for (name, content) in [("ca.pem", authority.pem()), ("chain.pem", identity.chain), ("key.pem", identity.key)] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let at = |name: &str| folder.path().join(name);
    let mut keys = json!({
        "upstreams": [format!("https://127.0.0.1:{}", site.port)], "ca": at("ca.pem"), "server_name": "portal.internal",
        "client_certificate": { "chain": at("chain.pem"), "key": at("key.pem") },
        "health": { "unhealthy": 1, "healthy": 1 },
    });
    let bench = TestBench::new(keys.clone());
    bench.round().await;
    assert!(bench.is_up(site.port));
    assert!(site.seen().last().unwrap().starts_with("GET /health HTTP/1.1\r\n"));
    for key in ["ca", "server_name", "client_certificate"] {
        let without = keys.as_object_mut().unwrap().remove(key).unwrap();
        let bench = TestBench::new(keys.clone());
        bench.round().await;
        assert!(!bench.is_up(site.port), "without {key}");
        keys[key] = without;
    }
}

#[tokio::test]
async fn an_upstream_of_http_2_is_asked_in_http_2() {
    let (port, served) = h2c_site().await;
    let bench =
        TestBench::new(json!({ "upstreams": [format!("h2c://127.0.0.1:{port}")], "health": { "unhealthy": 1 } }));
    bench.round().await;
    assert!(bench.is_up(port));
    assert!(!served.await.unwrap().is_empty());
}

#[tokio::test]
async fn questions_are_asked_until_it_is_told_to_stop() {
    let site = Site::plain().await;
    site.says(500);
    let bench = TestBench::at([site.port], json!({ "health": { "interval": "1ms", "unhealthy": 2 } }));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(bench.pool.clone().run(stopped));
    while bench.is_up(site.port) {
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    task.await.unwrap();
    assert!(site.seen().len() >= 2);
}
