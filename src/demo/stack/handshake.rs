//! The handshake of the demo's two processes: a line each way, and their certificates. No key of either goes to the other.

use std::io::Write;
use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::DemoFault;
use crate::demo::serve::SimFault;

/// From the edge's process, the first line on the minter's stdin.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// The edge's certificate (PEM), the only one that the minter lets in.
    pub edge: String,
    /// Where the plug-ins' pages are to be.
    pub pages: SocketAddr,
    /// Where the vendor's API is to be.
    pub api: SocketAddr,
    /// The identity provider, as its tokens name it.
    pub idp: String,
    /// The same, as a program on this machine reaches it.
    pub idp_here: String,
}

/// The answer, the first line on the minter's stdout.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It serves.
    Ready(Ready),
    /// It can't: another program listens there.
    InUse(SocketAddr),
    /// It can't for another reason.
    Fault(String),
}

/// Where everything is, ports as bound.
#[derive(Serialize, Deserialize)]
pub struct Ready {
    /// The minter's certificate (PEM), the only one that the edge believes.
    pub certificate: String,
    /// Where edges ask.
    pub minter: String,
    /// Its health and metrics.
    pub admin: String,
    /// The vendor's API.
    pub api: SocketAddr,
    /// The plug-ins' pages.
    pub pages: SocketAddr,
    /// The demo's switches.
    pub switches: SocketAddr,
}

impl From<DemoFault> for Answer {
    fn from(fault: DemoFault) -> Self {
        match fault {
            DemoFault::Simulator(SimFault::AddressInUse(address)) => Self::InUse(address),
            fault => Self::Fault(fault.to_string()),
        }
    }
}

/// A certificate that only its own process can use: it signed itself, and its key stays there.
pub(super) struct Handshake {
    pub certificate: String,
    key: KeyPair,
}

impl Handshake {
    /// For a host name or an IP address. Like all of the demo's, it dies with the process and so needs no end.
    pub fn new(name: &str) -> Result<Self, DemoFault> {
        let fault = |fault: rcgen::Error| DemoFault::Own(vec![format!("no certificate can be made: {fault}")]);
        let key = KeyPair::generate().map_err(fault)?;
        let certificate = CertificateParams::new([name.to_owned()]).and_then(|params| params.self_signed(&key));
        let certificate = certificate.map_err(fault)?;
        Ok(Self { certificate: pem("CERTIFICATE", certificate.der()), key })
    }

    /// As two files.
    pub fn write(&self, directory: &TempDir, certificate: &str, key: &str) -> Result<(), DemoFault> {
        write(directory, certificate, &self.certificate)?;
        // The key of this process's own certificate, into its own folder.
        write(directory, key, &pem("PRIVATE KEY", self.key.serialized_der()))
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

/// A file that only this user can read, and that goes with its folder.
pub(super) fn write(directory: &TempDir, name: &str, text: &str) -> Result<(), DemoFault> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.keep()?;
        Ok(())
    };
    write().map_err(DemoFault::Files)
}
