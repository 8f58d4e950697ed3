//! `[minter]`: the role that holds the key.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::certificate::CertificateFiles;
use crate::limit::Tokens;
use crate::limit::settings::RateSettings;
use crate::units::TcpAddress;

/// `[minter]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinterSettings {
    /// Where edges reach it: `ADDRESS:PORT`, on a private network.
    pub address: TcpAddress,
    /// Its certificate for edges, and the authorities whose edges it lets in.
    pub tls: MinterTls,
    /// Whether each session's credential is verified again. Without it an edge that was taken over mints for anybody.
    #[serde(default = "default_verify_sessions")]
    pub verify_sessions: bool,
    /// The bound on what one edge asks.
    #[serde(default = "default_per_edge")]
    pub per_edge: RateSettings,
    /// The bound on mints of one provider, for all edges together.
    #[serde(default = "default_per_provider")]
    pub per_provider: RateSettings,
    /// The edges that may ask. Others are refused, whoever signed their certificates.
    #[serde(default, rename = "edge")]
    pub edges: Vec<EdgeSettings>,
}

/// `minter.tls`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinterTls {
    /// The minter's certificate and those between it and the authority, in PEM, its own first.
    pub chain: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities (PEM) that sign the edges' certificates.
    pub client_ca: PathBuf,
}

impl MinterTls {
    /// The minter's certificate and key.
    pub fn identity(&self) -> CertificateFiles {
        CertificateFiles { chain: self.chain.clone(), key: self.key.clone() }
    }
}

/// `[[minter.edge]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeSettings {
    /// A subject alternative name of the edge's certificate: a DNS name, or a URI such as `spiffe://example.com/edge`.
    pub name: String,
    /// What it may mint: names of plug-ins, or of the providers' mints.
    pub plugins: Vec<String>,
}

fn default_verify_sessions() -> bool {
    true
}

/// The first minutes of a working day: 1,000 users at once, and 6,000 more in each minute.
fn default_per_edge() -> RateSettings {
    RateSettings { rate: Tokens::of::<100>(), burst: Tokens::of::<1000>() }
}

/// Twice that, so that one edge alone can't use it up for the others.
fn default_per_provider() -> RateSettings {
    RateSettings { rate: Tokens::of::<200>(), burst: Tokens::of::<2000>() }
}
