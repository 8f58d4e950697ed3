//! `[provider.mint.NAME]`: a call, or a signature of ours, and what is read from it.

use url::Url;

use crate::provider::answer::{ExpiryRule, UrlRule, UsesRule};
use crate::provider::call::{CallTemplate, Surroundings, mint_source};
use crate::provider::encoding::{has_dot_segment, literal_fits};
use crate::provider::jwt::LocalJwt;
use crate::provider::settings::{AcceptIf, MintSettings, RetrySettings};
use crate::provider::template::{Part, Place, Template, Value};
use crate::setting::FieldFault;
use crate::web::is_local;

/// One mint.
#[derive(Clone, Debug)]
pub(in crate::provider) struct MintCall {
    pub name: String,
    pub how: How,
    /// What it gives is a token, and not a URL.
    pub is_token: bool,
    /// Where that stands.
    pub url: UrlRule,
    pub expires: ExpiryRule,
    /// How often it may be used.
    pub uses: Option<UsesRule>,
    /// Further answers that hold it.
    pub accept_if: Vec<AcceptIf>,
    pub retry: Retry,
    /// What its call and its URL want to know of the registration's answer.
    pub register: Vec<Box<str>>,
    /// What its URL wants to know of the mint's.
    pub answer: Vec<Box<str>>,
}

/// When the call is made once more. It decides nothing about a URL.
#[derive(Clone, Debug, Default)]
pub(in crate::provider) struct Retry {
    /// So many calls in all.
    pub attempts: u32,
    pub unreachable: bool,
    statuses: Vec<u16>,
}

impl Retry {
    pub(in crate::provider) fn on_status(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }

    fn compile(settings: Option<&RetrySettings>, fault: &mut impl FnMut(&str, &str)) -> Self {
        let Some(RetrySettings { attempts, on }) = settings else { return Self { attempts: 1, ..Self::default() } };
        if !(1..=MAX_ATTEMPTS).contains(attempts) {
            fault("retry.attempts", "expected 1 to 5 calls in all");
        }
        if on.is_empty() {
            fault("retry.on", "names nothing after which the call is made again");
        }
        let mut retry = Self { attempts: *attempts, ..Self::default() };
        for text in on {
            match (text.as_str(), text.parse()) {
                ("unreachable", _) => retry.unreachable = true,
                (_, Ok(status @ 400..=599)) => retry.statuses.push(status),
                ("timeout", _) => {
                    fault("retry.on", "a call that timed out is not made again: its mint may have happened")
                }
                _ => fault("retry.on", "expected \"unreachable\", or a status from \"400\" to \"599\""),
            }
        }
        retry
    }
}

/// More calls fit into no time-out.
const MAX_ATTEMPTS: u32 = 5;

/// Where a URL or token comes from.
#[derive(Clone, Debug)]
pub(in crate::provider) enum How {
    Call(CallTemplate),
    Sign(LocalJwt),
}

impl MintCall {
    pub(super) fn compile(
        name: &str,
        settings: &MintSettings,
        around: &Surroundings<'_>,
        faults: &mut Vec<FieldFault>,
    ) -> Option<Self> {
        let prefix = format!("mint.{name}");
        let before = faults.len();
        let how = match &settings.jwt {
            None => mint_source(settings).compile(&prefix, around, faults).map(How::Call),
            Some(jwt) => {
                no_call(settings, &prefix, faults);
                LocalJwt::compile(jwt, around.place, &format!("{prefix}.jwt"), faults).map(How::Sign)
            }
        };
        let mut fault = |key: &str, message: &str| faults.push(FieldFault::at(format!("{prefix}.{key}"), message));
        let stands = where_it_stands(settings, around.place, &mut fault);
        let expires = expires(settings, stands.as_ref().map(|(_, url)| url), &mut fault);
        let uses = uses(settings, &mut fault);
        let accept_if = settings.accept_if.clone().unwrap_or_default();
        if !accept_if.iter().all(AcceptIf::is_sound) {
            fault("accept_if", "expected a status from 200 to 599 and a text that is not empty");
        }
        let retry = Retry::compile(settings.retry.as_ref(), &mut fault);
        let how = how.filter(|_| faults.len() == before)?;
        let ((is_token, url), expires) = (stands?, expires?);
        let (register, answer) = pointers(&how, &url);
        Some(Self { name: name.into(), how, is_token, url, expires, uses, accept_if, retry, register, answer })
    }

    /// Whether the answer to the call holds what is minted.
    pub(in crate::provider) fn accepts(&self, status: u16, body: &[u8]) -> bool {
        (200..300).contains(&status) || self.accept_if.iter().any(|rule| rule.matches(status, body))
    }
}

/// The keys of a call beside `jwt`.
fn no_call(settings: &MintSettings, prefix: &str, faults: &mut Vec<FieldFault>) {
    let written = [
        ("method", settings.method.is_some()),
        ("path", settings.path.is_some()),
        ("query", settings.query.is_some()),
        ("headers", settings.headers.is_some()),
        ("json", settings.json.is_some()),
        ("form", settings.form.is_some()),
        ("accept_if", settings.accept_if.is_some()),
        ("retry", settings.retry.is_some()),
    ];
    for (key, _) in written.into_iter().filter(|(_, written)| *written) {
        faults.push(FieldFault::at(format!("{prefix}.{key}"), "contradicts `jwt`: what is signed here needs no call"));
    }
}

/// `url` or `token`.
fn where_it_stands(
    settings: &MintSettings,
    place: Place,
    fault: &mut impl FnMut(&str, &str),
) -> Option<(bool, UrlRule)> {
    let signed = settings.jwt.is_some();
    match (&settings.url, &settings.token) {
        (Some(_), Some(_)) => {
            fault("token", "contradicts `url`: a plug-in is a page or a token");
            None
        }
        (None, None) => {
            fault(
                "url",
                "missing: \"text\", \"json:/pointer\", or an address with values in it; or `token`, where it is no page",
            );
            None
        }
        (None, Some(text)) => {
            let rule = UrlRule::parse_token(text).map_err(|message| fault("token", message)).ok()?;
            if signed != (rule == UrlRule::Signed) {
                fault(
                    "token",
                    if signed {
                        "contradicts `jwt`: the token that is signed here is `token = \"jwt\"`"
                    } else {
                        "`token = \"jwt\"` is signed here: say how in `jwt`"
                    },
                );
                return None;
            }
            Some((true, rule))
        }
        (Some(text), None) => {
            let rule = if ["https://", "http://", "{base_url}"].iter().any(|start| text.starts_with(start)) {
                url_template(text, Place { answer: !signed, jwt: signed, ..place }).map(UrlRule::Template)
            } else {
                UrlRule::parse(text)
            };
            let rule = rule.map_err(|message| fault("url", message)).ok()?;
            let holds_jwt =
                matches!(&rule, UrlRule::Template(template) if template.values().any(|value| *value == Value::Jwt));
            if signed && !holds_jwt {
                fault(
                    "url",
                    "beside `jwt` it is an address with `{jwt}` in it, such as \"https://embed.example/{jwt}\"",
                );
                return None;
            }
            Some((false, rule))
        }
    }
}

/// An address with values in it: scheme and host are the recipe's own, so that no value leads elsewhere.
fn url_template(text: &str, place: Place) -> Result<Template, &'static str> {
    const HOST: &str =
        "scheme and host of an address stand in it as they are, with a `/` behind them: no value leads elsewhere";
    let template = Template::parse_for(text, place)?;
    if template.values().any(Value::is_optional) {
        return Err("a value that may be absent can't stand in an address");
    }
    let rest = match template.parts() {
        [Part::Value(Value::BaseUrl), rest @ ..] => match rest.first() {
            Some(Part::Literal(path)) if path.starts_with('/') => rest,
            _ => return Err(HOST),
        },
        [Part::Literal(first), ..] => {
            let (_, behind) = first.split_once("://").ok_or(HOST)?;
            let (authority, _) = behind.split_once('/').ok_or(HOST)?;
            let url = Url::parse(first).map_err(|_| HOST)?;
            let host = url.host().ok_or(HOST)?;
            if authority.contains('@') {
                return Err("an address has no user name and no password");
            }
            if url.scheme() != "https" && !is_local(&host) {
                return Err("expected https://; http:// is for loopback and *.localhost");
            }
            template.parts()
        }
        _ => return Err(HOST),
    };
    if rest.contains(&Part::Value(Value::BaseUrl)) {
        return Err("`{base_url}` stands at the beginning of an address");
    }
    for part in rest {
        if let Part::Literal(literal) = part {
            // Behind the host; `?` and `#` have their meaning here.
            let literal = literal.split_once("://").map_or(&**literal, |(_, behind)| behind);
            let plain = literal.replace(['?', '#', '[', ']'], "/");
            literal_fits(&plain).map_err(|_| "an address holds only characters of a URL; percent-encode the rest")?;
        }
    }
    let sample: String =
        template.parts().iter().map(|part| if let Part::Literal(text) = part { text } else { "x" }).collect();
    let path = sample.split(['?', '#']).next().unwrap_or_default();
    if has_dot_segment(path) {
        return Err("a path has no `.` or `..` segment");
    }
    Ok(template)
}

fn expires(settings: &MintSettings, url: Option<&UrlRule>, fault: &mut impl FnMut(&str, &str)) -> Option<ExpiryRule> {
    let is_token = settings.token.is_some();
    let Some(text) = &settings.expires else {
        let Some(jwt) = &settings.jwt else {
            fault(
                "expires",
                "missing: \"jwt:PARAMETER\", \"jwt-path\", \"jwt-fragment\", \"json:/pointer\" or \"fixed\"; of a token \"jwt\", \"json:/pointer\" or \"fixed\"",
            );
            return None;
        };
        if jwt.claims.get("exp").is_none() {
            fault("expires", "missing: the JWT has no claim `exp`; give it one, or say \"fixed\"");
        }
        return Some(ExpiryRule::Signed);
    };
    let rule = ExpiryRule::parse(text).map_err(|message| fault("expires", message)).ok()?;
    match &rule {
        ExpiryRule::Jwt(_) | ExpiryRule::JwtPath | ExpiryRule::JwtFragment if is_token => {
            fault("expires", "a token is no address: \"jwt\" is the token's own `exp`");
        }
        ExpiryRule::Token if !is_token => {
            fault(
                "expires",
                "\"jwt\" is for a `token`; of an address say \"jwt:PARAMETER\", \"jwt-path\" or \"jwt-fragment\"",
            );
        }
        ExpiryRule::Json(_) if settings.jwt.is_some() => {
            fault("expires", "without a call there is no answer to look at")
        }
        ExpiryRule::Json(_) if url == Some(&UrlRule::Text) => {
            fault("expires", "an answer that is the URL alone has no place for its end");
        }
        _ => {}
    }
    Some(rule)
}

fn uses(settings: &MintSettings, fault: &mut impl FnMut(&str, &str)) -> Option<UsesRule> {
    let rule = UsesRule::parse(settings.uses.as_deref()?).map_err(|message| fault("uses", message)).ok()?;
    match (&rule, settings.token.is_some()) {
        (UsesRule::Jwt(..), true) => fault("uses", "a token is no address: \"jwt:/pointer\" looks into its own claims"),
        (UsesRule::Token(_), false) => {
            fault("uses", "\"jwt:/pointer\" is for a `token`; of an address say \"jwt:PARAMETER:/pointer\"");
        }
        (UsesRule::Json(_), _) if settings.jwt.is_some() => {
            fault("uses", "without a call there is no answer to look at");
        }
        _ => {}
    }
    Some(rule)
}

/// What is wanted of the answers to registration and mint.
fn pointers(how: &How, url: &UrlRule) -> (Vec<Box<str>>, Vec<Box<str>>) {
    let mut templates: Vec<&Template> = match how {
        How::Call(call) => call.templates(),
        How::Sign(jwt) => jwt.templates(),
    };
    if let UrlRule::Template(template) = url {
        templates.push(template);
    }
    let (mut register, mut answer) = (Vec::new(), Vec::new());
    for value in templates.into_iter().flat_map(Template::values) {
        let (list, pointer) = match value {
            Value::Register(pointer) => (&mut register, pointer),
            Value::Answer(pointer) => (&mut answer, pointer),
            _ => continue,
        };
        if !list.contains(pointer) {
            list.push(pointer.clone());
        }
    }
    (register, answer)
}
