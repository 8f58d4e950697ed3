//! Signers, a pretended identity provider, and a world with a clock that stands still.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

use crate::clock::{Clock, ClockControl, Timestamp};
use crate::secret::Secret;
use crate::session::settings::{IssuerSettings, SessionSettings};
use crate::session::{ClaimNames, ClientFault, KeyAnswer, KeyClient, Session, SessionFault, Sessions};
use crate::telemetry::Metrics;

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const SKEW: i64 = 30;
pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const HMAC_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn unb64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub(super) fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

/// Someone who can sign, and the public half as identity providers publish it.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    pub(super) encoding: EncodingKey,
    pub(super) jwk: Value,
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ec(algorithm, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            Algorithm::ES384 => Self::ec(algorithm, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            Algorithm::EdDSA => Self::ed25519(),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self {
                algorithm,
                encoding: EncodingKey::from_secret(HMAC_SECRET.as_bytes()),
                jwk: json!({ "kty": "oct", "k": b64(HMAC_SECRET) }),
                pem: String::new(),
            },
            _ => Self { algorithm, ..Self::rsa().clone() },
        }
    }

    fn ec(algorithm: Algorithm, signing: &'static EcdsaSigningAlgorithm, crv: &str) -> Self {
        let der = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        Self {
            algorithm,
            encoding: EncodingKey::from_ec_der(der.as_ref()),
            jwk: json!({ "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y) }),
            pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    fn ed25519() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        Self {
            algorithm: Algorithm::EdDSA,
            encoding: EncodingKey::from_ed_der(der.as_ref()),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) }),
            pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }

    /// One for all tests: making it takes long.
    fn rsa() -> &'static Self {
        static RSA: OnceLock<Signer> = OnceLock::new();
        RSA.get_or_init(|| {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
            let components = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            Self {
                algorithm: Algorithm::RS256,
                encoding: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", der.as_ref()).as_bytes()).unwrap(),
                jwk: json!({ "kty": "RSA", "n": b64(components.n), "e": b64(components.e) }),
                pem: pem("PUBLIC KEY", public.as_ref()),
            }
        })
    }

    /// The public key under a name.
    pub(super) fn named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// A token of exactly these texts.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.encoding, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    /// A token with a plain header and this `kid`.
    pub(super) fn token(&self, kid: &str, payload: &Value) -> String {
        self.sign(&format!(r#"{{"alg":"{:?}","kid":"{kid}"}}"#, self.algorithm), &payload.to_string())
    }
}

/// Claims of a good token of Ada's.
pub(super) fn good() -> Value {
    json!({ "iss": ISSUER, "sub": "ada", "aud": "my-app", "iat": NOW - 60, "exp": NOW + 3600 })
}

/// The good claims with one of them set, or taken out (`None`).
pub(super) fn with(claim: &str, value: Option<Value>) -> Value {
    let mut claims = good();
    match value {
        Some(value) => claims[claim] = value,
        None => drop(claims.as_object_mut().unwrap().remove(claim)),
    }
    claims
}

/// What the pretended identity provider does.
pub(super) enum Answer {
    Body(u16, Vec<u8>),
    Fault(ClientFault),
    Hang,
}

/// A pretended identity provider that counts what it is asked.
pub(super) struct Idp {
    asked: AtomicUsize,
    keys: Mutex<Answer>,
    pub(super) discovery: Mutex<Value>,
}

impl Idp {
    pub(super) fn publishes(&self, keys: &[Value]) {
        self.answers(Answer::Body(200, json!({ "keys": keys }).to_string().into_bytes()));
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.keys.lock() = answer;
    }

    /// How often the key set was asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeyClient for Idp {
    async fn get(&self, url: &Url, _: usize, _: Duration) -> Result<KeyAnswer, ClientFault> {
        let of = |status, body| KeyAnswer { status, target: None, body };
        if url.path().ends_with("/.well-known/openid-configuration") {
            return Ok(of(200, self.discovery.lock().to_string().into_bytes()));
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match &*self.keys.lock() {
            Answer::Body(status, body) => Some(Ok(of(*status, body.clone()))),
            Answer::Fault(fault) => Some(Err(*fault)),
            Answer::Hang => None,
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// Sessions over a pretended identity provider, at [`NOW`].
pub(super) struct World {
    pub(super) sessions: Arc<Sessions>,
    pub(super) clock: Clock,
    pub(super) clock_control: Arc<ClockControl>,
    pub(super) idp: Arc<Idp>,
    pub(super) metrics: Metrics,
    pub(super) folder: tempfile::TempDir,
}

/// One issuer with these algorithms and keys, in TOML; more keys of it may follow.
pub(super) fn issuer(algorithms: &str, keys: &str) -> String {
    format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"my-app\", \"other\"]\nalgorithms = [{algorithms}]\nkeys = {keys}\n"
    )
}

pub(super) fn try_world(toml: &str, files: &[(&str, &str)], keys: &[Value]) -> Result<World, Vec<String>> {
    let settings: SessionSettings = toml::from_str(toml).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let (clock, clock_control) = Clock::manual(Timestamp::from_secs(NOW));
    let metrics = Metrics::new("0", "test").unwrap();
    let discovery = json!({ "issuer": ISSUER, "jwks_uri": "https://idp.example/keys" });
    let keys = Answer::Body(200, json!({ "keys": keys }).to_string().into_bytes());
    let idp = Arc::new(Idp { asked: AtomicUsize::new(0), keys: Mutex::new(keys), discovery: Mutex::new(discovery) });
    let names = ["email".to_owned(), "org".to_owned()];
    let names = ClaimNames { recipes: &names, fields: &[], assertions: &[] };
    let subject_key = Secret::new(b"subject key".to_vec());
    let client_of = |_: &IssuerSettings| Ok(Arc::clone(&idp) as Arc<dyn KeyClient>);
    let sessions =
        Sessions::new(&settings, folder.path(), (names, None), &subject_key, &client_of, clock.clone(), &metrics)?;
    Ok(World { sessions, clock, clock_control, idp, metrics, folder })
}

/// A world whose issuer publishes this signer's key as `k1`, fetched.
pub(super) async fn world_of(signer: &Signer) -> World {
    let algorithm = format!("\"{:?}\"", signer.algorithm);
    let toml = issuer(&algorithm, "{ jwks_url = \"https://idp.example/keys\" }");
    let world = try_world(&toml, &[], &[signer.named("k1")]).ok().unwrap();
    assert_eq!(world.sessions.fetch_all().await, Vec::<String>::new());
    world
}

impl World {
    /// First sight: past the cache.
    pub(super) async fn verify(&self, token: &str) -> Result<Arc<Session>, SessionFault> {
        self.sessions.verify(token.as_bytes(), self.clock.now()).await
    }

    /// The subject of the token's session, or why there is none.
    pub(super) async fn open(&self, token: &str) -> Result<String, SessionFault> {
        self.verify(token).await.map(|session| session.subject().to_owned())
    }

    /// Whether the cache opens it.
    pub(super) fn is_cached(&self, token: &str) -> bool {
        self.sessions.cached(token.as_bytes(), self.clock.moment()).is_some()
    }

    pub(super) fn checks(&self, issuer: &str, outcome: &str) -> u64 {
        self.metrics.session_checks.with_label_values(&[issuer, outcome]).get()
    }

    pub(super) fn fetches(&self, outcome: &str) -> u64 {
        self.metrics.jwks_fetches.with_label_values(&[ISSUER, outcome]).get()
    }

    /// Time goes on, for our clock and for tokio's (which must be paused).
    pub(super) async fn pass(&self, span: Duration) {
        self.clock_control.advance(span);
        tokio::time::advance(span).await;
    }
}
