//! Whom and what policies are asked about, as Cedar's entities and context.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::reads::Reads;
use super::schema::NAMESPACE;
use crate::clock::Timestamp;
use crate::session::{Session, Trait, Traits};

/// The principal of a request.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// The issuer whose subject it is.
    pub namespace: &'a str,
    /// `iss` of the token.
    pub issuer: &'a str,
    /// For whom the session speaks.
    pub subject: &'a str,
    /// The issuer's name of the session.
    pub session: Option<&'a str>,
    /// What else the token says.
    pub traits: &'a Traits,
    anonymous: bool,
}

/// What is known of the request; what does not belong to its action is `None`.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The request's method.
    pub method: Option<&'a str>,
    /// Its path, percent-decoded.
    pub path: Option<Cow<'a, str>>,
    /// The host that it names, in lower case, without a port.
    pub host: Option<Cow<'a, str>>,
    /// The language of the plug-in.
    pub language: Option<&'a str>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The edge that asks, by the name in its certificate.
    pub edge: Option<&'a str>,
    /// Why it asks.
    pub reason: Option<&'a str>,
    /// When it is judged.
    pub now: Timestamp,
}

impl Circumstances<'_> {
    /// Nothing but the time.
    pub const fn at(now: Timestamp) -> Self {
        Self { method: None, path: None, host: None, language: None, address: None, edge: None, reason: None, now }
    }
}

/// The id of whoever has no session.
pub(super) const ANONYMOUS: &str = "anonymous";

/// A session without any.
static NO_TRAITS: LazyLock<Traits> = LazyLock::new(Traits::default);

impl<'a> Person<'a> {
    /// The principal of a request without a session.
    pub fn anonymous() -> Self {
        Self { namespace: "", issuer: "", subject: "", session: None, traits: &NO_TRAITS, anonymous: true }
    }

    /// Whether this is whoever has no session.
    pub(super) const fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Somebody whom no token vouches for: in a case of a test.
    pub fn said(issuer: &'a str, subject: &'a str, session: Option<&'a str>, traits: &'a Traits) -> Self {
        Self { namespace: issuer, issuer, subject, session, traits, anonymous: false }
    }
}

impl<'a> From<&'a Session> for Person<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            namespace: session.namespace(),
            issuer: session.issuer(),
            subject: session.subject(),
            session: session.session_id(),
            traits: session.traits().unwrap_or(&NO_TRAITS),
            anonymous: false,
        }
    }
}

/// The types of our entities.
#[derive(Clone, Debug)]
pub(super) struct Types {
    pub user: EntityTypeName,
    pub group: EntityTypeName,
    pub plugin: EntityTypeName,
    pub provider: EntityTypeName,
    pub app: EntityTypeName,
    pub action: EntityTypeName,
}

/// The names of a principal, each once.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub own: EntityUid,
    pub groups: Vec<EntityUid>,
}

/// An entity or a context that Cedar does not take.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotCedar;

impl Types {
    pub fn new() -> Result<Self, NotCedar> {
        let of = |name: &str| format!("{NAMESPACE}::{name}").parse().map_err(|_| NotCedar);
        Ok(Self {
            user: of("User")?,
            group: of("Group")?,
            plugin: of("Plugin")?,
            provider: of("Provider")?,
            app: of("App")?,
            action: of("Action")?,
        })
    }

    /// The principal, with those attributes alone that are read.
    pub fn user(&self, person: &Person<'_>, names: &Names, reads: Reads) -> Result<Entity, NotCedar> {
        let Traits { acr, amr, scopes, auth_time, issued_at, groups: _, claims } = person.traits;
        let mut attributes = HashMap::new();
        let mut give = |name: &str, value: &dyn Fn() -> Option<RestrictedExpression>| {
            if reads.has(name)
                && let Some(value) = value()
            {
                attributes.insert(name.to_owned(), value);
            }
        };
        give("issuer", &|| Some(text(person.issuer)));
        give("subject", &|| Some(text(person.subject)));
        give("session", &|| person.session.map(text));
        give("acr", &|| acr.as_deref().map(text));
        give("amr", &|| Some(set(amr)));
        give("scopes", &|| Some(set(scopes)));
        give("auth_time", &|| auth_time.and_then(time));
        give("issued_at", &|| issued_at.and_then(time));
        give("claims", &|| {
            let pairs = claims.iter().map(|(name, value)| (name.to_string(), of_trait(value)));
            RestrictedExpression::new_record(pairs).ok()
        });
        let parents: HashSet<EntityUid> = names.groups.iter().cloned().collect();
        Entity::new(names.own.clone(), attributes, parents).map_err(|_| NotCedar)
    }

    /// The principal's own name, and those of the groups that it is in.
    pub fn names(&self, person: &Person<'_>) -> Names {
        let own = if person.anonymous {
            uid(&self.user, ANONYMOUS)
        } else {
            uid(&self.user, &format!("{} {}", person.namespace, person.subject))
        };
        let mut groups: Vec<EntityUid> = person.traits.groups.iter().map(|group| uid(&self.group, group)).collect();
        groups.sort_unstable();
        groups.dedup();
        Names { own, groups }
    }
}

/// An entity's name.
pub(super) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// The context, with those attributes alone that are read.
pub(super) fn context(circumstances: &Circumstances<'_>, reads: Reads) -> Result<Context, NotCedar> {
    let Circumstances { method, path, host, language, address, edge, reason, now } = circumstances;
    let texts = [
        ("method", *method),
        ("path", path.as_deref()),
        ("host", host.as_deref()),
        ("language", *language),
        ("edge", *edge),
        ("reason", *reason),
    ];
    let texts = texts.into_iter().filter_map(|(name, value)| Some((name, text(value?))));
    let address = address.map(|address| ("address", RestrictedExpression::new_ip(address.to_canonical().to_string())));
    let now = if reads.has("now") { time(*now).map(|now| ("now", now)) } else { None };
    let all = texts.chain(address).chain(now).filter(|(name, _)| reads.has(name));
    Context::from_pairs(all.map(|(name, value)| (name.to_owned(), value))).map_err(|_| NotCedar)
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn set(texts: &[Box<str>]) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().map(|one| text(one)))
}

/// `None` for a time that Cedar can't write: before 1970, or beyond the year 9999.
fn time(time: Timestamp) -> Option<RestrictedExpression> {
    const LAST: i64 = 253_402_207_200_999;
    if !(0..=LAST).contains(&time.as_millis()) {
        return None;
    }
    let mut text = Vec::with_capacity(24);
    time.write_rfc3339(&mut text);
    String::from_utf8(text).ok().map(RestrictedExpression::new_datetime)
}

fn of_trait(value: &Trait) -> RestrictedExpression {
    match value {
        Trait::Text(value) => text(value),
        Trait::Integer(value) => RestrictedExpression::new_long(*value),
        Trait::Boolean(value) => RestrictedExpression::new_bool(*value),
        Trait::Set(values) => set(values),
    }
}
