//! TLS of a listener: which certificate a client gets, and how new ones come without a restart.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::Acceptor;
use prometheus::IntGaugeVec;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme, version};
use tracing::info;

use crate::certificate::{Certificate, CertificateFiles};
use crate::gateway::settings::TlsVersion;
use crate::server::client_ca::ClientCa;
use crate::server::tickets::Tickets;
use crate::setting::FieldFault;
use crate::telemetry::Metrics;

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Certificates {
    pairs: Box<[CertificateFiles]>,
    directory: PathBuf,
    ends: IntGaugeVec,
    current: ArcSwap<Chosen>,
}

impl Certificates {
    /// Reads all of them. Every fault at once.
    pub fn open(pairs: &[CertificateFiles], directory: &Path, metrics: &Metrics) -> Result<Arc<Self>, Vec<String>> {
        let (mut read, mut faults) = (Vec::new(), Vec::new());
        for pair in pairs {
            match Certificate::read(pair, directory) {
                Ok(certificate) => read.push(Arc::new(certificate)),
                Err(found) => faults.extend(found.iter().map(line)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let certificates = Self {
            pairs: pairs.into(),
            directory: directory.to_owned(),
            ends: metrics.tls_certificate_ends.clone(),
            current: ArcSwap::from_pointee(Chosen::new(Vec::new())),
        };
        certificates.take(read);
        Ok(Arc::new(certificates))
    }

    /// Reads them again. A pair that can't be read keeps its last certificate; connections that stand are not touched. Says which pairs
    /// failed.
    pub fn reread(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let last = self.current.load_full();
        let read =
            self.pairs.iter().zip(&last.all).map(|(pair, last)| match Certificate::read(pair, &self.directory) {
                Ok(fresh) if fresh.served.cert != last.served.cert => {
                    let (chain, ends) = (pair.chain.display().to_string(), fresh.ends.rfc3339());
                    info!(target: "valet", chain, ends, "read again: it has changed");
                    Arc::new(fresh)
                }
                Ok(_) => last.clone(),
                Err(found) => {
                    faults.extend(found.iter().map(line));
                    last.clone()
                }
            });
        self.take(read.collect());
        faults
    }

    /// Whether they are those of the same files.
    pub fn are_like(&self, other: &Self) -> bool {
        self.pairs == other.pairs && self.directory == other.directory
    }

    /// Takes those of the same files that were read later; connections that stand are not touched.
    pub fn take_those_of(&self, fresh: &Self) {
        self.take(fresh.current.load().all.clone());
    }

    /// The files behind them.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.pairs.iter().flat_map(|pair| [&pair.chain, &pair.key]).map(|path| self.directory.join(path))
    }

    fn take(&self, certificates: Vec<Arc<Certificate>>) {
        for (pair, certificate) in self.pairs.iter().zip(&certificates) {
            self.ends.with_label_values(&[&pair.chain.to_string_lossy()]).set(certificate.ends.as_secs());
        }
        self.current.store(Arc::new(Chosen::new(certificates)));
    }
}

fn line(fault: &FieldFault) -> String {
    format!("listener.tls.{fault}")
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().find(hello.server_name(), hello.signature_schemes())
    }
}

/// Certificates by their names.
#[derive(Debug)]
struct Chosen {
    /// In the order of the configuration.
    all: Vec<Arc<Certificate>>,
    /// Places in `all`, by lower-case name.
    named: HashMap<Box<str>, Vec<usize>>,
}

impl Chosen {
    fn new(all: Vec<Arc<Certificate>>) -> Self {
        let mut named: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (place, certificate) in all.iter().enumerate() {
            for name in &certificate.names {
                named.entry(name.clone()).or_default().push(place);
            }
        }
        Self { all, named }
    }

    /// The certificate for this name (rustls gives it in lower case): of those with exactly this name, else with `*.` in place of its first
    /// label, else those that share the first one's name. Of several, the first whose key the client can check.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let first = self.all.first()?;
        let exact = name.and_then(|name| self.named.get(name));
        let wild = || name?.split_once('.').and_then(|(_, rest)| self.named.get(&*format!("*.{rest}")));
        let places =
            exact.or_else(wild).or_else(|| self.named.get(first.names.first()?)).map_or(&[0][..], Vec::as_slice);
        let mut candidates =
            places.iter().filter_map(|place| self.all.get(*place)).map(|certificate| &certificate.served);
        let fits = candidates.clone().find(|served| served.key.choose_scheme(schemes).is_some());
        fits.or_else(|| candidates.next()).cloned()
    }
}

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub(super) struct ListenerTls {
    pub certificates: Arc<Certificates>,
    pub least: TlsVersion,
    /// The authorities that sign its clients' certificates; `None`: clients are asked for none.
    pub client_ca: Option<Arc<ClientCa>>,
    /// By which sessions are resumed: those of the whole process.
    pub tickets: Arc<Tickets>,
}

impl ListenerTls {
    /// Reads certificates and authorities again. What can't be read keeps its last value. Says what failed.
    pub fn reread(&self) -> Vec<String> {
        let client_ca = self.client_ca.as_ref().and_then(|ca| ca.reread().err());
        self.certificates
            .reread()
            .into_iter()
            .chain(client_ca.map(|fault| format!("listener.client_ca: {fault}")))
            .collect()
    }

    /// The files behind them.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.certificates.files().chain(self.client_ca.iter().map(|ca| ca.path()))
    }

    /// What makes TLS of the listener's connections. Sessions are resumed by tickets that this process and its successors alone can open, whichever
    /// listener gave them: they name nobody. With client certificates none is, so that each connection shows its own again and has it judged by the
    /// authorities of the day.
    pub fn acceptor(&self) -> Result<Acceptor, rustls::Error> {
        let versions: &[_] = match self.least {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        // The provider is named, not taken from the process: which one is installed there depends on who came first.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
        let mut config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(ca) => config.with_client_cert_verifier(ca.clone()),
        }
        .with_cert_resolver(self.certificates.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        if self.client_ca.is_none() {
            // Without memory for each session, so that a crowd does not push one another's out.
            config.ticketer = self.tickets.clone();
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Acceptor::from_server_config(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    use super::*;

    /// A listener's certificates, each written into one folder.
    struct Shelf {
        folder: tempfile::TempDir,
        pairs: Vec<CertificateFiles>,
    }

    impl Shelf {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), pairs: Vec::new() }
        }

        fn write(&self, place: usize, names: &[&str], key: &KeyPair) {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let certificate = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
            std::fs::write(self.folder.path().join(format!("{place}.pem")), certificate.pem()).unwrap();
            std::fs::write(self.folder.path().join(format!("{place}.key")), key.serialize_pem()).unwrap();
        }

        fn with(mut self, names: &[&str]) -> Self {
            self.add(names, &KeyPair::generate().unwrap());
            self
        }

        fn add(&mut self, names: &[&str], key: &KeyPair) {
            let place = self.pairs.len();
            self.write(place, names, key);
            self.pairs
                .push(CertificateFiles { chain: format!("{place}.pem").into(), key: format!("{place}.key").into() });
        }

        fn open(&self) -> Arc<Certificates> {
            let metrics = Metrics::new("0", "test").unwrap();
            Certificates::open(&self.pairs, self.folder.path(), &metrics).unwrap()
        }
    }

    impl Certificates {
        /// The place of the certificate that a client with these wishes gets.
        fn place(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
            let chosen = self.current.load();
            let found = chosen.find(name, schemes).unwrap();
            chosen.all.iter().position(|certificate| Arc::ptr_eq(&certificate.served, &found)).unwrap()
        }
    }

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    const BOTH: &[SignatureScheme] = &[SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

    #[test]
    fn the_exact_name_comes_before_the_wildcard_and_the_first_serves_the_rest() {
        let shelf = Shelf::new().with(&["first.example"]).with(&["*.b.example", "b.example"]).with(&["x.b.example"]);
        let certificates = shelf.open();
        for (name, place) in [
            (Some("first.example"), 0),
            (Some("b.example"), 1),
            (Some("y.b.example"), 1),
            (Some("x.b.example"), 2),
            // A wildcard is one label (RFC 9525, section 6.3).
            (Some("z.y.b.example"), 0),
            (Some("other"), 0),
            (None, 0),
        ] {
            assert_eq!(certificates.place(name, ECDSA), place, "{name:?}");
        }
    }

    #[test]
    fn of_two_keys_for_one_name_the_client_gets_one_that_it_can_check() {
        let mut shelf = Shelf::new();
        shelf.add(&["a.example"], &KeyPair::generate_for(&PKCS_ED25519).unwrap());
        shelf.add(&["a.example"], &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        let certificates = shelf.open();
        for name in [Some("a.example"), Some("other"), None] {
            assert_eq!(certificates.place(name, BOTH), 0);
            assert_eq!(certificates.place(name, ECDSA), 1);
        }
        // Neither: the handshake fails by itself, with the right alert.
        assert_eq!(certificates.place(None, &[SignatureScheme::RSA_PSS_SHA256]), 0);
    }

    #[test]
    fn a_certificate_without_names_is_still_the_first() {
        let certificates = Shelf::new().with(&[]).with(&["b.example"]).open();
        assert_eq!(certificates.place(Some("a.example"), ECDSA), 0);
        assert_eq!(certificates.place(Some("b.example"), ECDSA), 1);
    }

    #[test]
    fn a_pair_that_can_not_be_read_again_keeps_its_last_certificate_alone() {
        let shelf = Shelf::new().with(&["a.example"]).with(&["b.example"]);
        let certificates = shelf.open();
        let served = |place: usize| certificates.current.load().all[place].served.clone();
        let before = [served(0), served(1)];

        shelf.write(1, &["new.b.example"], &KeyPair::generate().unwrap());
        std::fs::write(shelf.folder.path().join("0.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let faults = certificates.reread();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("listener.tls.key: ") && faults[0].contains("does not belong"), "{faults:?}");
        assert!(Arc::ptr_eq(&served(0), &before[0]));
        assert!(!Arc::ptr_eq(&served(1), &before[1]));
        assert_eq!(certificates.place(Some("new.b.example"), ECDSA), 1);
        assert_eq!(certificates.place(Some("b.example"), ECDSA), 0);
    }

    #[test]
    fn the_end_of_each_certificate_is_a_metric() {
        let shelf = Shelf::new().with(&["a.example"]);
        let metrics = Metrics::new("0", "test").unwrap();
        let certificates = Certificates::open(&shelf.pairs, shelf.folder.path(), &metrics).unwrap();
        let end = certificates.current.load().all[0].ends.as_secs();
        let line = format!("valet_tls_certificate_expiry_timestamp_seconds{{chain=\"0.pem\"}} {end}\n");
        assert!(metrics.text().contains(&line), "{}", metrics.text());
    }

    #[test]
    fn every_pair_that_can_not_be_read_is_named() {
        let mut shelf = Shelf::new().with(&["a.example"]);
        for missing in ["b", "c"] {
            shelf.pairs.push(CertificateFiles { chain: missing.into(), key: missing.into() });
        }
        let metrics = Metrics::new("0", "test").unwrap();
        let faults = Certificates::open(&shelf.pairs, shelf.folder.path(), &metrics).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
