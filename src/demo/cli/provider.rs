//! `valet simulate provider`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum, value_parser};
use tokio::sync::watch;

use super::{allowed, print, until_signal};
use crate::clock::Clock;
use crate::demo::fault::{Fail, parse_span};
use crate::demo::provider::{ExistingUser, Faults, On, ProviderOptions, ProviderSim, UrlAs, UrlFault, serve};
use crate::demo::serve::{SimFault, bind, url_of};
use crate::demo::vendors::{self, Preset, VendorSim};

pub(super) const ABOUT: &str = "\
A simulated vendor, for tests. Not for production: everyone who reaches it can turn its switches.

It registers users (POST and GET /v2/users), mints plug-in URLs (GET /v2/plugin/face-scan,
/v2/plugin/health-dashboard and /v1/plugin/make), checks keys (GET /v1/auth/me), and serves the page
to which the URLs point: a scan without a camera, which posts the vendor's messages.";

/// Those of this simulator, and those of [`Preset`].
const PRESETS: [&str; 10] = [
    "intelliprove-v2",
    "intelliprove-v1",
    "intelliprove-widgets",
    "jumio",
    "metabase",
    "onfido",
    "plaid",
    "stripe-portal",
    "sumsub",
    "superset",
];

const EXAMPLES: &str = "\
Examples:
  A vendor with a key of your choice:
    valet simulate provider --api-key test-key-of-my-ci
  The first two mints fail with 503 and Retry-After, then all is well:
    valet simulate provider --fail 503 --retry-after 5 --on mint --times 2
  URLs that live ten seconds:
    valet simulate provider --life 10s
  Another fault while it runs, and back to none:
    curl -X PUT http://127.0.0.1:8091/_sim/faults -d '{\"fail\": \"hang\", \"on\": \"mint\"}'
    curl -X PUT http://127.0.0.1:8091/_sim/faults -d '{}'
  What was asked of it, keys masked:
    curl http://127.0.0.1:8091/_sim/calls
  Back to the start, without faults:
    curl -X POST http://127.0.0.1:8091/_sim/reset";

/// `valet simulate provider`. No `Debug`: it holds keys.
#[derive(Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ProviderArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
    /// Listen on an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// An API key to accept, may be given more than once; without it one is made and printed. Never a real one: others see command lines
    #[arg(long = "api-key", value_name = "KEY")]
    api_keys: Vec<String>,
    /// Whose API: that of the preset of this name; without it IntelliProve's
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PRESETS))]
    preset: Option<String>,
    /// How long a plug-in URL lives
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = parse_span)]
    life: Duration,
    /// What the registration of a user who exists gets: 200 with the user, or 400 "already exists"
    #[arg(long, value_enum, default_value = "ok")]
    existing_user: ExistingUser,
    /// How v2 writes the URL: a JSON string, bare text, or {"url": "…"}
    #[arg(long, value_enum, default_value = "string")]
    url_as: UrlAs,
    /// Where minted URLs point, such as `http://plugin.localhost:8091`; without it to the listening address
    #[arg(long, value_name = "URL", value_parser = base)]
    plugin_base: Option<String>,
    /// How long a scan takes on the plug-in's page
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_span)]
    scan_time: Duration,
    #[command(flatten)]
    faults: FaultArgs,
}

/// What goes wrong from the start.
#[derive(Clone, Args)]
#[command(next_help_heading = "Faults, until changed at /_sim/faults")]
struct FaultArgs {
    /// Wait before each answer
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    delay: Option<Duration>,
    /// Fail: a status such as 503, hang, garbage, empty, oversize, redirect, reject-keys, unknown-user
    #[arg(long, value_name = "HOW")]
    fail: Option<Fail>,
    /// Retry-After beside a status in --fail, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32), requires = "fail")]
    retry_after: Option<u32>,
    /// Which calls are hit
    #[arg(long, value_enum, default_value = "all")]
    on: On,
    /// Hit only so many calls
    #[arg(long, value_name = "N")]
    times: Option<u32>,
    /// What is wrong with minted URLs
    #[arg(long, value_enum, value_name = "FAULT")]
    url: Option<UrlFault>,
    /// This text in place of every minted URL
    #[arg(long, value_name = "TEXT")]
    url_text: Option<String>,
}

/// `http(s)://host[:port]`: the plug-in's page stands at its root.
fn base(text: &str) -> Result<String, String> {
    let expected = || "expected scheme, host and port, such as http://plugin.localhost:8091".to_owned();
    let url = url::Url::parse(text).map_err(|_| expected())?;
    let stack = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && stack && url.username().is_empty() && url.password().is_none() {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(expected())
    }
}

impl ProviderArgs {
    fn options(self) -> ProviderOptions {
        let faults = self.faults;
        ProviderOptions {
            api_keys: self.api_keys,
            life: self.life,
            existing_user: self.existing_user,
            url_as: self.url_as,
            plugin_base: self.plugin_base,
            scan_time: self.scan_time,
            faults: Faults {
                on: faults.on,
                times: faults.times,
                delay: faults.delay,
                fail: faults.fail,
                retry_after: faults.retry_after,
                url: faults.url,
                life: None,
                url_text: faults.url_text,
            },
            clock: Clock::system(),
        }
    }
}

/// Serves until SIGINT or SIGTERM. Dropped: nothing more is accepted.
///
/// # Errors
/// The address can't be had, or an option can't be understood.
pub async fn run_provider(args: ProviderArgs, out: &mut dyn Write) -> Result<(), SimFault> {
    run_provider_until(args, out, until_signal()?).await
}

/// Serves until `stop` says `true` or its sender is gone. Dropped: nothing more is accepted.
///
/// # Errors
/// As those of [`run_provider`].
pub async fn run_provider_until(
    args: ProviderArgs,
    out: &mut dyn Write,
    stop: watch::Receiver<bool>,
) -> Result<(), SimFault> {
    allowed(args.listen, args.allow_remote)?;
    let listener = bind(args.listen).await?;
    let key_is_new = args.api_keys.is_empty();
    if let Some(preset) = args.preset.as_deref().and_then(|name| Preset::from_str(name, false).ok()) {
        let made = || format!("sim_{}", uuid::Uuid::new_v4().simple());
        let key = args.api_keys.first().cloned().unwrap_or_else(made);
        let sim = VendorSim::new(preset, key.as_str(), args.life, Clock::system());
        print(out, &greeting_of(&url_of(&listener), &sim, key_is_new.then_some(key.as_str())))?;
        vendors::serve(listener, sim, stop).await;
        return Ok(());
    }
    let preset = args.preset.clone().unwrap_or_else(|| PRESETS[0].to_owned());
    let sim = ProviderSim::new(args.options());
    print(out, &greeting(&url_of(&listener), &sim, key_is_new, &preset))?;
    serve(listener, sim, stop).await;
    Ok(())
}

/// What can be copied into a shell works word for word.
fn greeting(url: &str, sim: &ProviderSim, key_is_new: bool, preset: &str) -> String {
    let key = sim.keys().into_iter().next().filter(|_| key_is_new);
    // One that was given is known; the lines to copy hold it all the same, or they would not work. It opens this simulator alone.
    let line = key.map_or_else(String::new, |key| format!("API key    {key}\n"));
    let key = sim.keys().into_iter().next().unwrap_or_default();
    let header = quoted(&format!("x-api-key: {key}"));
    format!(
        "valet simulate provider: a simulated vendor, for tests. Not for production.\n\n\
         Listening  {url}\n{line}Switches   {url}/_sim/faults (GET, PUT), /_sim/calls, /_sim/keys, /_sim/forget, /_sim/reset\n\n\
         Register a user, then mint a plug-in URL:\n  \
         curl -H {header} -d '{{\"external_user_id\": \"ada\"}}' {url}/v2/users\n  \
         curl -H {header} '{url}/v2/plugin/face-scan?external_user_id=ada'\n\n\
         In valet.toml:\n  \
         [[provider]]\n  \
         name = \"simulated\"\n  \
         preset = \"{preset}\"\n  \
         base_url = \"{url}\"\n  \
         api_key = {{ env = \"SIMULATED_API_KEY\" }}\n  \
         redirect_hosts = [\"127.0.0.1\", \"*.localhost\"]\n\n\
         Stop with Ctrl-C.\n"
    )
}

/// One word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The same for the vendor of another preset.
fn greeting_of(url: &str, sim: &VendorSim, new_key: Option<&str>) -> String {
    let key = new_key.map_or(String::new(), |key| format!("API key    {key}\n"));
    let lines = sim.lines(url, "{ env = \"SIMULATED_API_KEY\" }");
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "valet simulate provider: a simulated vendor, for tests. Not for production.\n\n\
         Listening  {url}\n{key}\nIn valet.toml:\n{lines}\nStop with Ctrl-C.\n"
    )
}
