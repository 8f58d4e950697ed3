//! One issuer as configured, ready to judge tokens.

use std::path::Path;
use std::sync::Arc;

use prometheus::IntCounter;

use super::claims::Rules;
use super::external_id::{ExternalId, ExternalIdTemplate, Name, NameFault, Precedence};
use super::json::Object;
use super::jwks_caches::JwksCaches;
use super::remote::KeyClient;
use super::settings::{IssuerKeys, IssuerSettings};
use super::token::bare;
use crate::clock::Clock;
use crate::telemetry::{Metrics, Outcome};

/// An issuer whose tokens open a session.
pub(super) struct Issuer {
    /// Its settings as text, without its keys: what it makes of a token is the same where this is.
    settings: Box<str>,
    pub(super) name: Arc<str>,
    /// The issuer whose subjects its subjects are: itself, or that of `subjects_of`.
    pub(super) namespace: Arc<str>,
    /// Whom its logout tokens are for.
    pub(super) logout_audiences: Vec<String>,
    pub(super) types: Box<[Box<str>]>,
    pub(super) rules: Rules,
    external_id: Arc<ExternalId>,
    /// The templates of other issuers that keep a name which this one's could give too.
    reserved: Vec<Arc<ExternalId>>,
    pub(super) jwks_caches: JwksCaches,
    pub(super) checks: Checks,
}

/// How an issuer names its subjects.
pub(super) struct SharedNames {
    pub(super) namespace: Arc<str>,
    external_id: Arc<ExternalId>,
    reserved: Vec<Arc<ExternalId>>,
}

/// `valet_session_checks_total` of one issuer, its labels resolved once.
pub(super) struct Checks {
    pub(super) valid: IntCounter,
    pub(super) cached: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) invalid: IntCounter,
    pub(super) revoked: IntCounter,
    pub(super) unavailable: IntCounter,
}

impl Checks {
    /// All outcomes of this issuer, from zero.
    pub(super) fn of(issuer: &str, metrics: &Metrics) -> Self {
        let counter = |outcome: Outcome| metrics.session_checks.with_label_values(&[issuer, outcome.label()]);
        Self {
            valid: counter(Outcome::Valid),
            cached: counter(Outcome::Cached),
            expired: counter(Outcome::Expired),
            invalid: counter(Outcome::Invalid),
            revoked: counter(Outcome::Revoked),
            unavailable: counter(Outcome::Unavailable),
        }
    }
}

impl Issuer {
    /// Reads one `[[session.issuer]]`. Every fault, in the operator's words.
    pub(super) fn open(
        settings: &IssuerSettings,
        directory: &Path,
        client: &Arc<dyn KeyClient>,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        if settings.issuer.is_empty() {
            faults.push("issuer: is empty".to_owned());
        }
        if settings.audiences.is_empty() {
            faults.push("audiences: names none, so no token could be for us".to_owned());
        }
        let subject = ExternalIdTemplate::subject();
        let template = settings.external_id.as_ref().unwrap_or(&subject);
        let external_id = ExternalId::new(template, settings.tenant.as_deref());
        if external_id.is_none() {
            faults.push(format!("external_id: \"{template}\" gives all persons of a tenant one name"));
        }
        let jwks_caches =
            JwksCaches::open(settings, directory, client, clock, metrics).map_err(|more| faults.extend(more)).ok();
        let (Some(external_id), Some(jwks_caches), true) = (external_id, jwks_caches, faults.is_empty()) else {
            let place = |fault: String| format!("session.issuer {:?}: {fault}", settings.issuer);
            return Err(faults.into_iter().map(place).collect());
        };
        Ok(Self {
            settings: format!("{:?}", IssuerSettings { keys: IssuerKeys::List(Vec::new()), ..settings.clone() }).into(),
            name: settings.issuer.as_str().into(),
            namespace: settings.issuer.as_str().into(),
            logout_audiences: settings.logout_audiences.as_ref().unwrap_or(&settings.audiences).clone(),
            types: settings.types.iter().map(|typ| bare(typ).into()).collect(),
            rules: Rules {
                audiences: settings.audiences.clone(),
                audience: settings.audience_claim.selector().clone(),
                audience_claim: settings.audience_claim.as_str().into(),
                subject: settings.subject_claim.selector().clone(),
                subject_is_sub: matches!(settings.subject_claim.as_str(), "sub" | "/sub"),
                tenant: settings.tenant.as_deref().map(Into::into),
                session: settings.session_claim.selector().clone(),
                max_age: settings.max_age.map(|age| age.0),
                accept_bound: settings.accept_bound,
            },
            external_id: Arc::new(external_id),
            reserved: Vec::new(),
            jwks_caches,
            checks: Checks::of(&settings.issuer, metrics),
        })
    }

    /// Settles with each of the other issuers who keeps a name that both could give. The fault, in the operator's words, where nothing
    /// tells.
    pub(super) fn settle_names<'i>(&mut self, others: impl Iterator<Item = &'i mut Self>) -> Vec<String> {
        let mut faults = Vec::new();
        for other in others {
            match self.external_id.against(&other.external_id) {
                Precedence::Apart => {}
                Precedence::First => other.reserved.push(Arc::clone(&self.external_id)),
                Precedence::Second => self.reserved.push(Arc::clone(&other.external_id)),
                Precedence::Alike => faults.push(format!(
                    "session.issuer {:?}: external_id: gives the same names as that of {:?}",
                    other.name, self.name
                )),
            }
        }
        faults
    }

    /// Its subjects are those of the other issuer, whose names are settled: same persons, same names.
    pub(super) fn share_subjects_of(&mut self, other: &SharedNames) {
        self.namespace = Arc::clone(&other.namespace);
        self.external_id = Arc::clone(&other.external_id);
        self.reserved.clone_from(&other.reserved);
    }

    /// What [`Self::share_subjects_of`] takes.
    pub(super) fn shared_names(&self) -> SharedNames {
        SharedNames {
            namespace: Arc::clone(&self.namespace),
            external_id: Arc::clone(&self.external_id),
            reserved: self.reserved.clone(),
        }
    }

    /// Whether this one makes of a token what the other does, as far as it depends on the issuer.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let names = |issuer: &Self| format!("{} {:?} {:?}", issuer.namespace, issuer.external_id, issuer.reserved);
        self.settings == other.settings && names(self) == names(other)
    }

    /// The claims that stand in the way of a name at the vendor.
    pub(super) fn lacking(&self, payload: &Object<'_>) -> Vec<String> {
        self.external_id.lacking(payload)
    }

    /// The name at the vendor of this subject; `None` when the template needs a claim that the token lacks.
    pub(super) fn name(&self, subject: &str, payload: &Object<'_>) -> Option<Name> {
        let mut name = self.external_id.render(subject, payload)?;
        if self.reserved.iter().any(|other| other.could_give(&name.text)) {
            name.fault = Some(NameFault::OtherIssuer);
        }
        Some(name)
    }
}

/// Whose subjects are whose, and which name at the vendor each keeps. The faults, in the operator's words.
pub(super) fn settle_persons(settings: &[IssuerSettings], issuers: &mut [Issuer]) -> Vec<String> {
    let mut faults = Vec::new();
    let root_of = |issuer: &Issuer| {
        let own = settings.iter().find(|settings| settings.issuer == *issuer.name)?;
        own.subjects_of.clone()
    };
    let mut own: Vec<&mut Issuer> = issuers.iter_mut().filter(|issuer| root_of(issuer).is_none()).collect();
    let mut rest = own.as_mut_slice();
    while let [first, others @ ..] = rest {
        faults.extend(first.settle_names(others.iter_mut().map(|other| &mut **other)));
        rest = others;
    }
    let names: Vec<_> = own.iter().map(|issuer| issuer.shared_names()).collect();
    for issuer in issuers {
        let Some(root) = root_of(issuer) else { continue };
        match names.iter().find(|names| *names.namespace == *root) {
            Some(names) => issuer.share_subjects_of(names),
            None => faults.push(format!(
                "session.issuer {:?}: subjects_of: no issuer {root:?} with subjects of its own is configured",
                issuer.name
            )),
        }
    }
    faults
}
