//! What all servers of a run have in common: a certificate, the issuer's key and its tokens, and the URL of each user.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use serde_json::json;

/// The secret of the issuer of many users.
const MANY_KEY: &str = "a-secret-of-many-users-0123456789abcdef";

/// More users than this nginx is not told.
const FEW: usize = 10_000;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Es256,
    Rs256,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A folder with what servers read, and what makes tokens for them.
pub struct Site {
    folder: tempfile::TempDir,
    pub algorithm: Algorithm,
    pub users: usize,
    pub certificate: CertificateDer<'static>,
    signer: Signer,
    foreign: Signer,
}

/// The plug-in URL of a user: of the length that the first vendor's have.
pub fn url(user: usize) -> String {
    url_of(&format!("user-{user}"))
}

/// The same by the user's name.
pub fn url_of(subject: &str) -> String {
    format!("https://plugin.example/?action_token={}&patient={subject}", "x".repeat(370))
}

impl Site {
    pub fn new(algorithm: Algorithm, users: usize) -> Self {
        let site = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (chain, key) = (site.cert.pem(), site.signing_key.serialize_pem());
        let (signer, foreign) = (signer(algorithm), signer(algorithm));
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            algorithm,
            users,
            certificate: site.cert.der().clone(),
            signer,
            foreign,
        };
        std::fs::set_permissions(this.files(), std::fs::Permissions::from_mode(0o755)).unwrap();
        this.write("site.pem", &chain);
        this.write("site-key.pem", &key);
        this.write("site-both.pem", &format!("{chain}{key}"));
        this.write("vendor-key", "a-key-of-the-vendor-0123456789");
        this.write("log-key", &STANDARD.encode([7; 32]));
        let public = this.public_key();
        this.write("issuer.pem", &pem(&public));
        this.write("issuer.jwks", &this.key_set(&["key-1"]));
        this.write("many-key", MANY_KEY);
        this.write_lines("users.map", users, |user| format!("user-{user} {}", url(user)));
        // It is not asked about a million.
        this.write_lines("users.nginx", users.min(FEW), |user| format!("user-{user} \"{}\";", url(user)));
        this
    }

    /// A set of the issuer's keys, of those with these names: `key-1` signs the tokens, `key-0` and `key-2` are before it and behind it.
    pub fn key_set(&self, names: &[&str]) -> String {
        let key = |name: &&str| {
            jwk(self.algorithm, &public(if *name == "key-1" { &self.signer } else { &self.foreign }), name)
        };
        json!({ "keys": names.iter().map(key).collect::<Vec<_>>() }).to_string()
    }

    /// The folder. Workers of servers that drop their rights have their own folders in it.
    pub fn files(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file that only this user may read: some of them are keys.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.files().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes a file of such lines, one after the other: of a million users it is half a gigabyte.
    fn write_lines(&self, name: &str, count: usize, line: impl Fn(usize) -> String) {
        self.write(name, "");
        let file = std::fs::OpenOptions::new().append(true).open(self.files().join(name)).unwrap();
        let mut file = std::io::BufWriter::new(file);
        (0..count).for_each(|user| writeln!(file, "{}", line(user)).unwrap());
        file.flush().unwrap();
    }

    /// A good token of a user; `nth` makes it another one each time.
    pub fn token(&self, user: usize, nth: usize) -> String {
        self.sign((&self.signer, "key-1"), &self.claims(user, nth, "my-app", 4 * 3600))
    }

    /// One of a user's that the key with this name signed.
    pub fn token_of(&self, user: usize, key: &str) -> String {
        self.sign((&self.foreign, key), &self.claims(user, 0, "my-app", 4 * 3600))
    }

    /// A token of another issuer, which signs with a secret: a million of them are made and read quickly.
    pub fn token_of_many(&self, user: usize) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs();
        let claims = format!(
            r#"{{"iss":"https://many.example.com","aud":"my-app","sub":"user-{user}","iat":{now},"exp":{}}}"#,
            now + 4 * 3600
        );
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, MANY_KEY.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
    }

    /// Of a user's, one that has ended.
    pub fn expired(&self) -> String {
        self.sign((&self.signer, "key-1"), &self.claims(1, 0, "my-app", -3600))
    }

    /// One for somebody else.
    pub fn for_others(&self) -> String {
        self.sign((&self.signer, "key-1"), &self.claims(1, 0, "another-app", 4 * 3600))
    }

    /// One that another key signed.
    pub fn forged(&self) -> String {
        self.sign((&self.foreign, "key-1"), &self.claims(1, 0, "my-app", 4 * 3600))
    }

    fn claims(&self, user: usize, nth: usize, audience: &str, life: i64) -> serde_json::Value {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs().cast_signed();
        json!({
            "iss": "https://idp.example.com", "aud": audience, "sub": format!("user-{user}"), "sid": format!("s{nth}"),
            "iat": now.min(now + life - 60), "exp": now + life,
        })
    }

    fn sign(&self, (signer, kid): (&Signer, &str), claims: &serde_json::Value) -> String {
        let header = json!({ "alg": self.algorithm.name(), "kid": kid, "typ": "JWT" });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let signature = match signer {
            Signer::Ecdsa(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// SubjectPublicKeyInfo of the issuer's key.
    pub fn public_key(&self) -> Vec<u8> {
        public(&self.signer)
    }
}

fn public(signer: &Signer) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = match signer {
        Signer::Ecdsa(key) => key.public_key().as_der().unwrap(),
        Signer::Rsa(key) => key.public_key().as_der().unwrap(),
    };
    der.as_ref().to_vec()
}

fn signer(algorithm: Algorithm) -> Signer {
    match algorithm {
        Algorithm::Es256 => Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
        Algorithm::Rs256 => Signer::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
    }
}

/// In lines of 64 characters: not every reader of PEM takes others.
fn pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::default().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("PUBLIC KEY", der), config)
}

/// The key as a set has it. Both kinds of SubjectPublicKeyInfo end with the numbers, at places that the lengths fix.
fn jwk(algorithm: Algorithm, spki: &[u8], kid: &str) -> serde_json::Value {
    let end = spki.len();
    let text = |from: usize, to: usize| URL_SAFE_NO_PAD.encode(&spki[from..to]);
    match algorithm {
        Algorithm::Es256 => {
            assert_eq!(end, 91, "a key of P-256, uncompressed");
            json!({ "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig", "x": text(end - 64, end - 32), "y": text(end - 32, end) })
        }
        Algorithm::Rs256 => {
            // Behind the modulus of 256 bytes: tag, length, and 65537.
            assert_eq!((end, &spki[end - 5..]), (294, &[2, 3, 1, 0, 1][..]), "a key of 2048 bits");
            json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": text(end - 261, end - 5), "e": text(end - 3, end) })
        }
    }
}
