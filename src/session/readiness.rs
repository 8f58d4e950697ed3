//! Readiness: whether each issuer has keys to judge by.

use std::sync::Arc;

/// Whether there are keys to judge by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// One for each configured issuer, in the order of the configuration.
    pub issuers: Vec<IssuerReadiness>,
}

/// The state of one issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerReadiness {
    /// As configured.
    pub issuer: Arc<str>,
    /// Each entry of its `keys` had keys once since the start.
    pub had_once: bool,
    /// Some entry had.
    pub had_any: bool,
    /// Each entry has keys now that are not too old.
    pub usable: bool,
    /// The last fetch or reading of some entry failed (`valet_degraded{what="keys:ISSUER"}`).
    pub failing: bool,
}

impl Readiness {
    /// Every issuer has had keys.
    pub fn all_had_once(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.had_once)
    }

    /// Some issuer has had keys, or there is none.
    pub fn any_had_once(&self) -> bool {
        self.issuers.is_empty() || self.issuers.iter().any(|issuer| issuer.had_any)
    }

    /// `keys:ISSUER` for each issuer in trouble.
    pub fn degraded(&self) -> Vec<String> {
        let troubled = self.issuers.iter().filter(|issuer| issuer.failing || !issuer.usable);
        troubled.map(|issuer| format!("keys:{}", issuer.issuer)).collect()
    }
}
