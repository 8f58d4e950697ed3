//! Cases: what a security team expects of its policies, run by `valet policy test`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::entity::{Circumstances, Person};
use super::evaluate::Decision;
use super::resource::{Resource, Slices, Target};
use super::settings::{ClaimType, ClaimsFile};
use super::{Action, Inventory, Policies};
use crate::clock::Timestamp;
use crate::session::{Trait, Traits};

/// A file `*.cases.toml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CasesFile {
    /// The cases.
    #[serde(default, rename = "case")]
    pub cases: Vec<Case>,
}

/// One question, and the answer that is expected.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, in a sentence.
    pub name: String,
    /// What is asked for.
    pub action: Action,
    /// The plug-in's or app's name.
    pub resource: String,
    /// The plug-in's provider, where no configuration says it.
    pub provider: Option<String>,
    /// The session of the request; without it the request has none.
    pub session: Option<SaidSession>,
    /// What is known of the request.
    #[serde(default)]
    pub context: SaidContext,
    /// The answer.
    pub expect: Expected,
    /// The name of the policy that decides.
    pub policy: Option<String>,
}

/// The answer that a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It is permitted.
    Permit,
    /// It is denied.
    Deny,
    /// A stronger or more recent sign-in is asked for.
    StepUp,
}

/// A session as a case says it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaidSession {
    /// `iss`.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// The issuer's name of the session.
    pub session: Option<String>,
    /// How strong the sign-in was.
    pub acr: Option<String>,
    /// By which methods one signed in.
    #[serde(default)]
    pub amr: Vec<String>,
    /// The scopes, one by one.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When one signed in.
    pub auth_time: Option<Time>,
    /// When the token was issued.
    pub issued_at: Option<Time>,
    /// The groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Claims that `claims.toml` declares.
    #[serde(default)]
    pub claims: BTreeMap<String, SaidClaim>,
}

/// A claim's value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string, an integer, a boolean or a list of strings")]
pub enum SaidClaim {
    /// `"boolean"`
    Boolean(bool),
    /// `"integer"`
    Integer(i64),
    /// `"string"`
    String(String),
    /// `"set"`
    Set(Vec<String>),
}

/// What is known of the request; each may be left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaidContext {
    /// `GET`
    pub method: Option<String>,
    /// `/`; percent-decoded.
    pub path: Option<String>,
    /// `app.example.com`
    pub host: Option<String>,
    /// None.
    pub language: Option<String>,
    /// `192.0.2.1`
    pub address: Option<Address>,
    /// The time of the run.
    pub now: Option<Time>,
    /// Of `mint`: `edge.example.com`
    pub edge: Option<String>,
    /// Of `mint`: `open`
    pub reason: Option<String>,
}

/// A time in [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Time(#[schemars(with = "String")] Timestamp);

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time: jiff::Timestamp = text.parse().map_err(|_| "expected a time such as \"2026-12-01T09:00:00Z\"")?;
        Ok(Self(Timestamp::from_millis(time.as_millisecond())))
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Address(#[schemars(with = "String")] IpAddr);

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "expected an IP address such as \"192.0.2.1\"")
    }
}

/// A fault of a case: the keys that lead to it, from the case on, and what is wrong.
pub type CaseFault = (Vec<String>, String);

impl Case {
    /// What its types can't say. `policies`: the set, if it is in order; `inventory`: what the configuration has, if there is one.
    pub fn faults(
        &self,
        claims: &ClaimsFile,
        policies: Option<&Policies>,
        inventory: Option<&Inventory>,
    ) -> Vec<CaseFault> {
        let mut faults = Vec::new();
        let mut fault = |keys: &[&str], message: String| {
            faults.push((keys.iter().map(|key| (*key).to_owned()).collect(), message));
        };
        self.of_action(&mut fault);
        for (name, said) in self.session.iter().flat_map(|session| &session.claims) {
            match claims.claims.get(name) {
                None => fault(&["session", "claims", name], "claims.toml declares no such claim".into()),
                Some(settings) if settings.kind() != said.kind() => {
                    fault(
                        &["session", "claims", name],
                        format!("claims.toml declares it as {}", settings.kind().label()),
                    );
                }
                Some(_) => {}
            }
        }
        if let (Some(name), Some(policies)) = (&self.policy, policies)
            && !policies.has(name)
        {
            fault(&["policy"], "no policy has this @id, or stands at this FILE:LINE".into());
        }
        if let Some(inventory) = inventory {
            let known = match self.action {
                Action::Reach => inventory.apps.contains(&self.resource),
                Action::Open | Action::Renew | Action::Mint => inventory.plugins.contains_key(&self.resource),
            };
            if !known {
                let kind = if self.action == Action::Reach { "app" } else { "plug-in" };
                fault(&["resource"], format!("the configuration has no such {kind}"));
            }
            let configured = inventory.plugins.get(&self.resource);
            if self.provider.is_some() && configured.is_some() && self.provider.as_ref() != configured {
                fault(&["provider"], "the configuration has another provider for this plug-in".into());
            }
        }
        faults
    }

    fn of_action(&self, fault: &mut impl FnMut(&[&str], String)) {
        let SaidContext { method, path, host, language, address, edge, reason, now: _ } = &self.context;
        let of_request = [
            ("method", method.is_some()),
            ("path", path.is_some()),
            ("host", host.is_some()),
            ("language", language.is_some()),
            ("address", address.is_some()),
        ];
        let of_mint = [("edge", edge.is_some()), ("reason", reason.is_some())];
        let foreign: &[(&str, bool)] = if self.action == Action::Mint { &of_request } else { &of_mint };
        for (key, _) in foreign.iter().filter(|(_, said)| *said) {
            fault(&["context", key], format!("the action {} has no such attribute", self.action.name()));
        }
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            fault(&["context", "path"], "expected a path that begins with /".into());
        }
        if reason.as_ref().is_some_and(|reason| !["open", "renew", "ahead"].contains(&reason.as_str())) {
            fault(&["context", "reason"], "expected one of \"open\", \"renew\", \"ahead\"".into());
        }
        if self.action == Action::Reach && self.provider.is_some() {
            fault(&["provider"], "an app has no provider".into());
        }
    }

    /// Asks the policies. `now`: the time of the run.
    pub fn decide(&self, policies: &Arc<Policies>, inventory: Option<&Inventory>, now: Timestamp) -> Decision {
        let traits = self.session.as_ref().map(SaidSession::traits).unwrap_or_default();
        let person = self.session.as_ref().map_or_else(Person::anonymous, |session| {
            Person::said(&session.issuer, &session.subject, session.session.as_deref(), &traits)
        });
        let configured = inventory.and_then(|inventory| inventory.plugins.get(&self.resource));
        let provider = configured.or(self.provider.as_ref()).map_or("", String::as_str);
        let target = match self.action {
            Action::Reach => Target::App(&self.resource),
            Action::Open | Action::Renew | Action::Mint => Target::Plugin(&self.resource, provider),
        };
        let resource = Resource::new(policies, target, &mut Slices::new());
        let decide = |asked| resource.decide(asked, &person, &self.circumstances(now));
        resource.asked(self.action).map_or(Decision::Error(None), decide)
    }

    /// Asks the policies, and compares. What is not as expected, in words.
    ///
    /// # Errors
    /// How the decision differs from what the case expects.
    pub fn run(&self, policies: &Arc<Policies>, inventory: Option<&Inventory>, now: Timestamp) -> Result<(), String> {
        let decision = self.decide(policies, inventory, now);
        let decided = policies.decisive(&decision);
        let by =
            decided.map_or_else(|| "no policy permits it".to_owned(), |name| format!("the policy {name:?} decides"));
        let found = match decision {
            Decision::Permit(_) => Expected::Permit,
            Decision::Deny(_) => Expected::Deny,
            Decision::StepUp(..) => Expected::StepUp,
            Decision::Error(_) => {
                return Err(decided.map_or_else(
                    || "the question can't be put to the policies".to_owned(),
                    |name| format!("the policy {name:?} fails in evaluation, which denies"),
                ));
            }
        };
        if found != self.expect {
            return Err(format!("expected {}, found {}: {by}", self.expect.label(), found.label()));
        }
        match &self.policy {
            Some(expected) if decided != Some(expected) => {
                Err(format!("expected the policy {expected:?} to decide: {by}"))
            }
            _ => Ok(()),
        }
    }

    fn circumstances(&self, now: Timestamp) -> Circumstances<'_> {
        let said = &self.context;
        let now = said.now.map_or(now, |Time(now)| now);
        if self.action == Action::Mint {
            let edge = said.edge.as_deref().unwrap_or("edge.example.com");
            let reason = said.reason.as_deref().unwrap_or("open");
            return Circumstances { edge: Some(edge), reason: Some(reason), ..Circumstances::at(now) };
        }
        let host = said.host.as_deref().unwrap_or("app.example.com").to_ascii_lowercase();
        Circumstances {
            method: Some(said.method.as_deref().unwrap_or("GET")),
            path: Some(Cow::Borrowed(said.path.as_deref().unwrap_or("/"))),
            host: Some(Cow::Owned(host)),
            language: said.language.as_deref(),
            address: Some(said.address.map_or(IpAddr::from([192, 0, 2, 1]), |Address(address)| address)),
            ..Circumstances::at(now)
        }
    }
}

impl SaidSession {
    fn traits(&self) -> Traits {
        let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        Traits {
            acr: self.acr.as_deref().map(Into::into),
            amr: list(&self.amr),
            scopes: list(&self.scopes),
            auth_time: self.auth_time.map(|Time(time)| time),
            issued_at: self.issued_at.map(|Time(time)| time),
            groups: list(&self.groups),
            claims: self.claims.iter().map(|(name, value)| (name.as_str().into(), value.value())).collect(),
        }
    }
}

impl SaidClaim {
    fn kind(&self) -> ClaimType {
        match self {
            Self::Boolean(_) => ClaimType::Boolean,
            Self::Integer(_) => ClaimType::Integer,
            Self::String(_) => ClaimType::String,
            Self::Set(_) => ClaimType::Set,
        }
    }

    fn value(&self) -> Trait {
        match self {
            Self::Boolean(value) => Trait::Boolean(*value),
            Self::Integer(value) => Trait::Integer(*value),
            Self::String(value) => Trait::Text(value.as_str().into()),
            Self::Set(values) => Trait::Set(values.iter().map(|value| value.as_str().into()).collect()),
        }
    }
}

impl Expected {
    fn label(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::StepUp => "step_up",
        }
    }
}
