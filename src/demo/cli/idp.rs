//! `valet simulate idp`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::{allowed, print, until_signal};
use crate::clock::Clock;
use crate::demo::fault::{Fail, parse_span};
use crate::demo::idp::{IdpFaults, IdpOn, IdpOptions, IdpSim, SigningAlgorithm, TokenRequest, serve};
use crate::demo::serve::{SimFault, bind, url_of};

pub(super) const ABOUT: &str = "\
A simulated identity provider, for tests. Not for production: everyone who reaches it gets a token.

It has discovery (/.well-known/openid-configuration), a key set (/jwks.json) that rotates on request,
signs a browser in on a page that asks for a name and no password (GET /authorize, then the code for
a token), and mints tokens for named users at once (POST /token, JSON or form). It tells others of a
sign-out: logout tokens by OpenID Connect Back-Channel Logout (POST /_sim/logout), security event
tokens by push, as a transmitter of Shared Signals does (POST /_sim/event). Its keys are made at start
and die with it.";

const EXAMPLES: &str = "\
Examples:
  Tokens for two users of your own:
    valet simulate idp --audience my-app --user ada --user grace
  A token for Ada that lives a minute, with a claim of your choice:
    curl -H 'content-type: application/json' -d '{\"user\": \"ada\", \"expires_in\": 60, \"email\": \"ada@example.com\"}' http://127.0.0.1:8092/token
  One that has expired, by form:
    curl -d user=ada -d expires_in=-60 http://127.0.0.1:8092/token
  Ada signs out, everywhere or one session; her logout token goes to Valet, and the answer says what came of it:
    valet simulate idp --logout-url http://127.0.0.1:8080/.valet/backchannel-logout --events-url http://127.0.0.1:8080/.valet/events
    curl -X POST http://127.0.0.1:8092/_sim/logout -d '{\"user\": \"ada\"}'
    curl -X POST http://127.0.0.1:8092/_sim/logout -d '{\"session\": \"s1\"}'
  The same by a security event, of this type or another, by its short name or its URI:
    curl -X POST http://127.0.0.1:8092/_sim/event -d '{\"type\": \"session-revoked\", \"user\": \"ada\", \"session\": \"s1\"}'
  A new signing key; the old one stays in the set, or goes at once:
    curl -X POST http://127.0.0.1:8092/_sim/rotate
    curl -X POST 'http://127.0.0.1:8092/_sim/rotate?drop=1'
  The key set hangs, then all is well again:
    curl -X PUT http://127.0.0.1:8092/_sim/faults -d '{\"fail\": \"hang\", \"on\": \"keys\"}'
    curl -X PUT http://127.0.0.1:8092/_sim/faults -d '{}'";

/// `valet simulate idp`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct IdpArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8092")]
    listen: SocketAddr,
    /// Listen on an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// `iss` of tokens, and where discovery says that the keys are; without it the listening address
    #[arg(long, value_name = "URL", value_parser = issuer)]
    issuer: Option<String>,
    /// `aud` of tokens; several make it an array
    #[arg(long = "audience", value_name = "NAME", default_value = "my-app")]
    audiences: Vec<String>,
    /// A user who may have a token, may be given more than once
    #[arg(long = "user", value_name = "NAME", default_values = ["ada", "grace"])]
    users: Vec<String>,
    /// Where a browser's sign-in may lead back to, whole and exact, may be given more than once; without it anywhere on this machine
    #[arg(long = "redirect-uri", value_name = "URL")]
    redirect_uris: Vec<String>,
    /// Where logout tokens are posted: a client's back-channel logout URL, may be given more than once
    #[arg(long = "logout-url", value_name = "URL", value_parser = receiver)]
    logout_urls: Vec<String>,
    /// Where security event tokens are pushed: the address of a receiver, may be given more than once
    #[arg(long = "events-url", value_name = "URL", value_parser = receiver)]
    events_urls: Vec<String>,
    /// How tokens are signed
    #[arg(long, value_enum, ignore_case = true, default_value = "ES256")]
    algorithm: SigningAlgorithm,
    /// How long a token lives
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_span)]
    life: Duration,
    #[command(flatten)]
    faults: FaultArgs,
}

/// What goes wrong from the start.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Faults, until changed at /_sim/faults; tokens are never hit")]
struct FaultArgs {
    /// Wait before each answer
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    delay: Option<Duration>,
    /// Fail: a status such as 500, hang, garbage, empty, oversize, redirect
    #[arg(long, value_name = "HOW")]
    fail: Option<Fail>,
    /// Which calls are hit
    #[arg(long, value_enum, default_value = "all")]
    on: IdpOn,
    /// Hit only so many calls
    #[arg(long, value_name = "N")]
    times: Option<u32>,
}

fn issuer(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none() => {
            Ok(text.to_owned())
        }
        Ok(_) | Err(_) => Err("expected a URL without query, such as http://idp.localhost:8092".to_owned()),
    }
}

fn receiver(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.fragment().is_none() => Ok(url.into()),
        Ok(_) | Err(_) => Err("expected a URL such as http://127.0.0.1:8080/.valet/backchannel-logout".to_owned()),
    }
}

impl IdpArgs {
    fn options(self) -> IdpOptions {
        let faults = self.faults;
        IdpOptions {
            issuer: self.issuer,
            audiences: self.audiences,
            users: self.users,
            // A request for a token may name some.
            groups: std::collections::BTreeMap::new(),
            redirect_uris: self.redirect_uris,
            logout_urls: self.logout_urls,
            events_urls: self.events_urls,
            algorithm: self.algorithm,
            life: self.life,
            faults: IdpFaults {
                on: faults.on,
                times: faults.times,
                delay: faults.delay,
                fail: faults.fail,
                retry_after: None,
            },
            clock: Clock::system(),
        }
    }
}

/// Serves until SIGINT or SIGTERM. Dropped: nothing more is accepted.
///
/// # Errors
/// The address can't be had, or an option can't be understood.
pub async fn run_idp(args: IdpArgs, out: &mut dyn Write) -> Result<(), SimFault> {
    run_idp_until(args, out, until_signal()?).await
}

/// Serves until `stop` says `true` or its sender is gone. Dropped: nothing more is accepted.
///
/// # Errors
/// As those of [`run_idp`].
pub async fn run_idp_until(args: IdpArgs, out: &mut dyn Write, stop: watch::Receiver<bool>) -> Result<(), SimFault> {
    allowed(args.listen, args.allow_remote)?;
    let listener = bind(args.listen).await?;
    let url = url_of(&listener);
    let options = IdpOptions { issuer: Some(args.issuer.clone().unwrap_or_else(|| url.clone())), ..args.options() };
    let sim = IdpSim::with(options.clone())?;
    print(out, &greeting(&url, &sim, &options))?;
    serve(listener, sim, stop).await;
    Ok(())
}

/// The path of the first of these URLs.
fn path_of(urls: &[String]) -> Option<String> {
    urls.first().and_then(|url| url::Url::parse(url).ok()).map(|url| url.path().to_owned())
}

/// A ready token stands here: it opens nothing but what trusts this simulator.
fn greeting(url: &str, sim: &IdpSim, options: &IdpOptions) -> String {
    let issuer = sim.issuer();
    let user = options.users.first().map_or("ada", String::as_str);
    let token = sim.token(&TokenRequest::user(user).session("from-the-terminal"));
    let audiences = options.audiences.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let keys =
        if issuer == url { "{ discovery = true }".to_owned() } else { format!("{{ jwks_url = \"{url}/jwks.json\" }}") };
    let (users, algorithm) = (options.users.join(", "), options.algorithm.name());
    let all = |name: &str, urls: &[String]| -> String { urls.iter().map(|url| format!("{name}{url}\n")).collect() };
    let tells = all("Logout to  ", &options.logout_urls) + &all("Events to  ", &options.events_urls);
    let mut hears = String::new();
    if let Some(path) = path_of(&options.logout_urls) {
        hears += &format!("  [session.logout]\n  path = \"{path}\"\n");
    }
    if let Some(path) = path_of(&options.events_urls) {
        hears += &format!(
            "  [session.events]\n  path = \"{path}\"\n  [[session.events.transmitter]]\n  issuer = \"{issuer}\"\n  audiences = [{audiences}]\n  algorithms = [\"{algorithm}\"]\n  keys = {keys}\n  subjects_of = \"{issuer}\"\n"
        );
    }
    format!(
        "valet simulate idp: a simulated identity provider, for tests. Not for production.\n\n\
         Listening  {url}\n\
         Issuer     {issuer}\n\
         Users      {users}\n\
         Switches   {url}/_sim/faults (GET, PUT), /_sim/counts, /_sim/rotate, /_sim/logout, /_sim/event, /_sim/reset\n\
         {tells}\n\
         A token for {user}:\n{token}\n\n\
         Another one:\n  \
         curl -d user={user} {url}/token\n\n\
         In valet.toml:\n  \
         [[session.issuer]]\n  \
         issuer = \"{issuer}\"\n  \
         audiences = [{audiences}]\n  \
         algorithms = [\"{algorithm}\"]\n  \
         keys = {keys}\n\
         {hears}\n\
         Stop with Ctrl-C.\n"
    )
}
