//! What lies in `deploy/` for Prometheus and Grafana, tried by a real Prometheus: the rules by its own test engine, each expression against a gateway that runs, and
//! alerts of a gateway that is made to fail. Where Prometheus can't be had, one line says so, and CI fails.

// Tests and measurements take orders from the environment, and tell a story from its begin to its end.
#![allow(clippy::disallowed_methods, clippy::too_many_lines)]
// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kit::{App, FACE_SCAN, Setup, Stack};
use serde_json::Value;
use valet_gateway::demo::provider::Faults;

const RULES: &str = include_str!("../deploy/prometheus/valet.rules.yml");
const DASHBOARD: &str = include_str!("../deploy/grafana/valet.json");

/// The folder of prometheus and promtool.
fn tools() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = Command::new(root.join("tools/prometheus")).stderr(Stdio::inherit()).output().expect("the tool runs");
    if told.status.success() {
        return Some(String::from_utf8(told.stdout).expect("a path").trim().into());
    }
    assert!(std::env::var_os("CI").is_none(), "CI tries the rules");
    None
}

fn promtool(arguments: &[&str], stdin: Option<&str>) {
    let Some(tools) = tools() else { return };
    let mut command = Command::new(tools.join("promtool"));
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool");
    if let Some(text) = stdin {
        use std::io::Write as _;
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    }
    drop(child.stdin.take());
    let ended = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    if stdin.is_some() {
        assert_eq!(said, "", "promtool has something to say");
    }
}

#[test]
fn each_alert_fires_and_resolves_in_prometheus_own_engine() {
    promtool(&["check", "rules", "valet.rules.yml"], None);
    promtool(&["test", "rules", "valet.test.yml"], None);
    let tests = include_str!("../deploy/prometheus/valet.test.yml");
    for name in RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is tried");
    }
}

#[test]
fn each_alert_has_a_paragraph_that_says_what_to_do() {
    let page = include_str!("../docs/alerts.md");
    for name in RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(page.contains(&format!("\n## {name}\n")), "docs/alerts.md lacks {name}");
        assert!(RULES.contains(&format!("runbook: docs/alerts.md#{}\n", name.to_lowercase())), "{name}");
    }
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_our_metrics() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    stack.url_of("ada").await;
    stack.get("/page").send().await;
    let text = stack.admin_get("/metrics").await.text();
    tokio::task::spawn_blocking(move || promtool(&["check", "metrics"], Some(&text))).await.expect("it ran");
}

/// A Prometheus that reads a stack four times a second. Dropped: it ends.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    async fn start(stack: &Stack) -> Option<Self> {
        let tools = tokio::task::spawn_blocking(tools).await.expect("it ran")?;
        let folder = tempfile::tempdir().expect("a folder");
        let address = kit::free_address();
        let configuration = format!(
            "global: {{ scrape_interval: 250ms, evaluation_interval: 250ms }}\nrule_files: [\"rules.yml\"]\nscrape_configs:\n\
             - job_name: valet\n  static_configs: [{{ targets: [\"{}\"] }}]\n",
            stack.admin
        );
        std::fs::write(folder.path().join("prometheus.yml"), configuration).expect("a file");
        std::fs::write(folder.path().join("rules.yml"), sixty_times_faster(RULES)).expect("a file");
        let child = Command::new(tools.join("prometheus"))
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Some(Self { child, address, _folder: folder })
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let mut wire = kit::Wire::try_open(&self.address).await.ok()?;
        // In HTTP/1.0, so that nothing comes in chunks.
        wire.write(format!("GET {path} HTTP/1.0\r\nHost: p\r\n\r\n")).await;
        let answer = wire.to_end().await;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    async fn query(&self, expression: &str) -> Value {
        let encoded: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        self.get(&format!("/api/v1/query?query={encoded}")).await.unwrap_or_default()
    }

    /// Of an alert: whether it is firing.
    async fn fires(&self, name: &str) -> bool {
        let alerts = self.get("/api/v1/alerts").await.unwrap_or_default();
        let all = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        all.iter().any(|alert| alert["labels"]["alertname"] == name && alert["state"] == "firing")
    }

    async fn until(&self, what: &str, wanted: bool, stack: &Stack, user: &mut usize) {
        let began = std::time::Instant::now();
        while self.fires(what).await != wanted {
            // Somebody comes all the time.
            *user += 1;
            stack.get(FACE_SCAN).as_user(&format!("user-{user}")).send().await;
            stack.advance(Duration::from_millis(20));
            // Pause: users come at a rate.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "{what} should {}fire",
                if wanted { "" } else { "no longer " }
            );
        }
    }
}

/// Minutes become seconds, so that a test sees what takes an operator's hours.
fn sixty_times_faster(rules: &str) -> String {
    let faster = |part: &str| part.replace('m', "s").replace('h', "m").replace('d', "h");
    let lines = rules.lines().map(|line| {
        if let Some((before, span)) = line.split_once("for: ") {
            return format!("{before}for: {}", faster(span));
        }
        let mut out = String::new();
        let mut rest = line;
        while let Some((before, behind)) = rest.split_once('[') {
            let (span, after) = behind.split_once(']').expect("a span ends");
            out.push_str(&format!("{before}[{}]", faster(span)));
            rest = after;
        }
        out + rest
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Names of metrics in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_name(c));
    let metrics = words.filter(|word| word.starts_with("valet_") || word.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn each_expression_of_rules_and_dashboard_is_understood_and_asks_for_metrics_that_are_there() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    stack.url_of("ada").await;
    stack.get("/page").send().await;
    let Some(prometheus) = Prometheus::start(&stack).await else { return };
    kit::in_time("a reading", async {
        while prometheus.query("up{job=\"valet\"}").await["data"]["result"][0]["value"][1] != "1" {
            // Pause: between two looks for a sign.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let groups = prometheus.get("/api/v1/rules").await.expect("rules");
    let groups = groups["data"]["groups"].as_array().expect("groups").clone();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone());
    let rules: Vec<String> = rules.map(|rule| rule["query"].as_str().expect("an expression").to_owned()).collect();
    assert_eq!(rules.len(), RULES.matches("expr: ").count());
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let panels: Vec<String> = panels.iter().flat_map(expressions).collect();
    assert!(panels.len() > 30, "{}", panels.len());
    // The documentation says which there are: those of a minter and of what is not configured here have no line yet.
    let page = include_str!("../docs/metrics.md");
    for expression in rules.into_iter().chain(panels) {
        let ready = expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        let answer = prometheus.query(&ready).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        for name in named(&expression) {
            let bare =
                ["_bucket", "_count", "_sum"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
            assert!(page.contains(&format!("`{bare}`")), "{name} in {expression}");
        }
    }
    // What a healthy node must show.
    for (title, expected) in [("Redirect availability", "1"), ("Mint success", "1"), ("Nodes ready", "1")] {
        let panels = dashboard["panels"].as_array().expect("panels");
        let panel = panels.iter().find(|panel| panel["title"] == title).expect("the panel");
        let expression = expressions(panel)[0].replace("$__rate_interval", "1m").replace("$job", ".*");
        let expression = expression.replace("$instance", ".*");
        let mut user = 0;
        kit::in_time(title, async {
            while prometheus.query(&expression).await["data"]["result"][0]["value"][1] != expected {
                user += 1;
                stack.get(FACE_SCAN).as_user(&format!("user-{user}")).send().await;
                // Pause: users come at a rate.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn alerts_of_a_gateway_whose_vendor_fails_fire_and_resolve() {
    let breaker = "breaker = { failures = 100000, within = \"10s\", pause = \"1s\" }";
    let stack = Setup::new().provider(breaker).start().await;
    stack.until_ready().await;
    let Some(prometheus) = Prometheus::start(&stack).await else { return };
    let mut user = 0;
    stack.vendor_does(Faults::status(500));
    for alert in ["ValetMintsFail", "ValetRedirectsFail"] {
        prometheus.until(alert, true, &stack, &mut user).await;
    }
    stack.vendor_does(Faults::default());
    for alert in ["ValetMintsFail", "ValetRedirectsFail"] {
        prometheus.until(alert, false, &stack, &mut user).await;
    }
    stack.vendor_does(Faults::status(400));
    prometheus.until("ValetKeyRefused", true, &stack, &mut user).await;
    stack.vendor_does(Faults::default());
    prometheus.until("ValetKeyRefused", false, &stack, &mut user).await;
}

#[tokio::test]
async fn the_alert_of_a_refused_reload_fires_and_resolves() {
    let stack = Setup::new().start().await;
    stack.until_ready().await;
    let Some(prometheus) = Prometheus::start(&stack).await else { return };
    kit::in_time("a reading", async {
        while prometheus.query("valet_reloads_total{outcome=\"refused\"}").await["data"]["result"][0]["value"][1] != "0"
        {
            // Pause: between two looks for a sign.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let (good, mut user) = (stack.config(), 0);
    stack.refused(&good.replace("[server]", "[sever]")).await;
    prometheus.until("ValetReloadRefused", true, &stack, &mut user).await;
    stack.reload_with(&good).await;
    prometheus.until("ValetReloadRefused", false, &stack, &mut user).await;
}
