//! `valet explain`.

use std::io::{IsTerminal, Read, Write};

use url::Url;

use super::fortify::fortify;
use super::{ConfigFile, End, check, exit, load, runtime, say};
use crate::clock::Clock;
use crate::config::STDIN;
use crate::gateway::{Asked, Limits, Opinion, Reached};
use crate::policy::Decision;
use crate::problem::Refusal;
use crate::provider;
use crate::server::Shared;
use crate::session::{Explanation, Session, SessionFault};
use crate::telemetry::Metrics;
use crate::web::Origin;

/// Longer than any header that a server takes.
const MAX_INPUT: u64 = 1024 * 1024;

#[allow(clippy::too_many_lines, reason = "one page of text, from its first line to its last")]
pub(super) fn explain(file: &ConfigFile, path: &str, asked: &Asked) -> Result<(), End> {
    fortify()?;
    if file.config.as_os_str() == STDIN {
        let why = "--config: explain reads the token from standard input; name a file";
        return Err(End::new(exit::CONFIG, format!("valet: {why}")));
    }
    let config = load(file)?;
    let clock = Clock::system();
    let components = check::components(&config, &clock)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), env!("VALET_REVISION"))
        .map_err(|fault| End::new(exit::SOFTWARE, format!("valet: {fault}")))?;
    let shared = Shared::new(&config, Limits::default(), &clock, &metrics);
    let gateway = components.gateway(&config, &clock, &metrics, None, shared);
    // A whole address names the host too, for plug-ins that have one of their own.
    let named = Url::parse(path).ok().and_then(|url| authority(&url));
    let own = || config.server.public_url.as_ref().map_or("", Origin::authority).to_owned();
    let host = named.unwrap_or_else(own);
    let reached = match gateway.reaches(path, &host) {
        Ok(reached) => {
            passed("path", &format!("{path} at {host} is {}", reached.describe()));
            reached
        }
        Err(None) => {
            return Err(refused("path", &format!("no plug-in and no app has {path} at {host}"), &Refusal::NotFound));
        }
        Err(Some(why)) => {
            let why = format!("it can't be read in one way only: {why}");
            return Err(refused("path", &why, &Refusal::BadRequest));
        }
    };
    if let Some(plugin) = reached.plugin()
        && let Some(settings) = config.plugins.iter().find(|settings| settings.name == plugin)
        && let Some(provider) = config.providers.iter().find(|provider| provider.name == settings.provider)
    {
        for (call, line) in provider::describe(provider, &settings.mint) {
            say(&format!("call     {call:<12} {line}"));
        }
    }
    if !reached.asks_for_session() {
        passed("session", "is not asked for");
        return Ok(());
    }
    let token = credential()?;
    let Explanation { passed: steps, end } = runtime(1)?.block_on(async {
        for fault in components.sessions.fetch_all().await {
            let _ = writeln!(std::io::stderr(), "warning: {fault}");
        }
        components.sessions.explain(token.as_bytes(), clock.now()).await
    });
    for (step, what) in &steps {
        passed(step, what);
    }
    let session = match end {
        Ok(session) => session,
        Err(end) if matches!(end.fault, SessionFault::Expired) && reached.takes_nobody() => {
            passed(end.step, &end.why);
            policies(&reached, None, asked, &clock)?;
            passed("session", "has expired: the request goes on without one");
            return Ok(());
        }
        Err(end) => return Err(refused(end.step, &end.why, &refusal(end.fault))),
    };
    if !reached.can_be_told(&session) {
        let why = "it has white space at its ends or control characters: an app could take it for another person's";
        return Err(refused("subject", why, &Refusal::NotPermitted));
    }
    policies(&reached, Some(&session), asked, &clock)?;
    if !reached.permits(&session) {
        let lacking = || {
            let names = reached.lacking(&session).into_iter().filter_map(|at| components.claim_names.get(at));
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            (
                "claims",
                match names.is_empty() {
                    true => "the plug-in is not for sessions of this issuer".to_owned(),
                    false => format!(
                        "the recipe needs {}, which the token lacks, or has empty or as no text",
                        names.join(", ")
                    ),
                },
            )
        };
        let (step, why) = session.name_fault().map_or_else(lacking, |fault| ("vendor's id", fault.to_string()));
        return Err(refused(step, &why, &Refusal::NotPermitted));
    }
    for field in reached.fields(&session) {
        passed("field", &field);
    }
    let subject = match config.log.subject_key {
        Some(_) => format!("in the access log its subject is {}", session.log_id()),
        None => "its subject's hash in the access log can't be told: without log.subject_key each process has a key of its own".into(),
    };
    passed("session", &format!("opens; {subject}"));
    Ok(())
}

/// What the policies say, and which attributes they look at; never a value.
fn policies(reached: &Reached<'_>, session: Option<&Session>, asked: &Asked, clock: &Clock) -> Result<(), End> {
    let Some(opinion) = reached.opinion(session, asked, clock.now()) else { return Ok(()) };
    let Opinion { decision, policy, reads } = opinion;
    let by = policy.map_or_else(|| "no policy".to_owned(), |name| format!("{name:?}"));
    let mut seen = match reads.as_slice() {
        [] => "; no attribute decides".to_owned(),
        reads => format!("; decided by {}", reads.join(", ")),
    };
    if asked.address.is_none() && reads.iter().any(|name| name == "context.address") {
        seen.push_str("; say by --address where the request comes from");
    }
    let denied = |what: &str| Err(refused("policy", &format!("{by} {what}{seen}"), &Refusal::NotPermitted));
    match decision {
        Decision::Permit(_) => {
            passed("policy", &format!("{by} permits{seen}"));
            Ok(())
        }
        Decision::Deny(Some(_)) => denied("forbids"),
        Decision::Deny(None) => denied("permits"),
        Decision::Error(_) => denied("fails in evaluation, which denies"),
        Decision::StepUp(_, step_up) => {
            let age = step_up.max_age.map_or_else(String::new, |age| format!(", max_age {age}"));
            let why = format!("{by} wants a sign-in with acr_values {:?}{age}{seen}", step_up.acr_values);
            let refusal = step_up.interned().map_or(Refusal::NotPermitted, Refusal::StepUpRequired);
            Err(refused("policy", &why, &refusal))
        }
    }
}

fn passed(step: &str, what: &str) {
    say(&format!("ok       {step:<12} {what}"));
}

fn refused(step: &str, why: &str, refusal: &Refusal) -> End {
    let row = refusal.row();
    End::new(exit::REFUSED, format!("REFUSED  {step:<12} {why} ({} {})", row.status, row.slug))
}

fn refusal(fault: SessionFault) -> Refusal {
    match fault {
        SessionFault::Expired => Refusal::SessionExpired,
        SessionFault::Invalid(_) => Refusal::SessionInvalid,
        SessionFault::KeysUnavailable(wait) => Refusal::KeysUnavailable(wait),
    }
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The token on stdin. `Bearer ` before it and white space around it, as they are copied along, don't count.
fn credential() -> Result<String, End> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        let _ = writeln!(std::io::stderr(), "paste the token, then press Enter and Ctrl-D");
    }
    let mut text = String::new();
    let read = Read::take(&mut stdin, MAX_INPUT).read_to_string(&mut text);
    let text = text.trim();
    let token = match text.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer ") => token.trim_start(),
        Some(_) | None => text,
    };
    match read {
        Ok(_) if !token.is_empty() => Ok(token.to_owned()),
        Ok(_) => Err(End::new(exit::REFUSED, "valet: no token on stdin")),
        Err(fault) => Err(End::new(exit::REFUSED, format!("valet: the token can't be read from stdin: {fault}"))),
    }
}
