//! `[session.logout]` and `[session.events]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{IssuerKeys, IssuerSettings, SignatureAlgorithm};
use crate::http_client::settings::ProxySettings;

/// `[session.logout]`: OpenID Connect Back-Channel Logout.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogoutSettings {
    /// Where identity providers post logout tokens, on every listener.
    #[serde(default = "default_logout_path")]
    pub path: String,
}

/// `[session.events]`: the Shared Signals Framework, by push.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsSettings {
    /// Where transmitters post security event tokens, on every listener.
    #[serde(default = "default_events_path")]
    pub path: String,
    /// Whose tokens are believed.
    #[serde(default, rename = "transmitter")]
    pub transmitters: Vec<TransmitterSettings>,
}

/// `[[session.events.transmitter]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransmitterSettings {
    /// Exactly the tokens' `iss`.
    pub issuer: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// The signature algorithms that are accepted.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Where the keys come from: one place, or a list of them.
    pub keys: IssuerKeys,
    /// The configured issuer of whose people it speaks.
    pub subjects_of: String,
    /// A file with the certificates (PEM) of the authorities that sign the transmitter's certificate, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy through which keys are fetched.
    pub proxy: Option<ProxySettings>,
}

impl TransmitterSettings {
    /// The same as an issuer whose tokens open no session: for its keys.
    pub fn as_issuer(&self) -> IssuerSettings {
        IssuerSettings {
            issuer: self.issuer.clone(),
            tenants: Vec::new(),
            subjects_of: None,
            audiences: self.audiences.clone(),
            logout_audiences: None,
            algorithms: self.algorithms.clone(),
            keys: self.keys.clone(),
            ca: self.ca.clone(),
            proxy: self.proxy.clone(),
            subject_claim: super::default_subject_claim(),
            session_claim: super::default_session_claim(),
            audience_claim: super::default_audience_claim(),
            external_id: None,
            types: Vec::new(),
            max_age: None,
            accept_bound: false,
            tenant: None,
        }
    }
}

fn default_logout_path() -> String {
    "/.valet/backchannel-logout".into()
}
fn default_events_path() -> String {
    "/.valet/events".into()
}
fn default_algorithms() -> Vec<SignatureAlgorithm> {
    vec![SignatureAlgorithm::ES256, SignatureAlgorithm::RS256]
}
