//! The issuers of every run, stated once: as settings for Valet, and as facts for the independent judgement.

use serde_json::{Value, json};

/// The middle of all times, in milliseconds.
pub const NOW: i64 = 1_800_000_000_000;
/// In milliseconds.
pub const SKEW: i64 = 30_000;
/// Small, so that an input can be on both sides of it.
pub const MAX_TOKEN_BYTES: usize = 2048;

pub const KEYS_URL: &str = "https://keys.example/jwks";
/// The files of the shared secrets, and what is in them.
pub const SECRETS: [(&str, &str); 3] = [
    ("plain", "0123456789abcdef0123456789abcdef"),
    ("access", "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"),
    ("tenant", "a secret of the tenant, and of nobody else"),
];

/// One issuer. Claims are JSON pointers.
#[derive(Debug)]
pub struct Issuer {
    pub name: &'static str,
    /// The part of its name that is `{tenant}` in the settings.
    pub tenant: Option<&'static str>,
    pub audiences: &'static [&'static str],
    algorithms: &'static [&'static str],
    /// The file of its secret; the others have a key set.
    secret: Option<&'static str>,
    pub subject: &'static str,
    pub session: &'static str,
    pub audience: &'static str,
    pub external_id: &'static str,
    /// In lower case.
    pub types: &'static [&'static str],
    /// In milliseconds.
    pub max_age: Option<i64>,
    pub accept_bound: bool,
}

const PUBLIC: Issuer = Issuer {
    name: "https://keys.example",
    tenant: None,
    audiences: &["my-app", "other"],
    algorithms: &["ES256", "EdDSA"],
    secret: None,
    subject: "/sub",
    session: "/sid",
    audience: "/aud",
    external_id: "{sub}",
    types: &["jwt", "at+jwt"],
    max_age: None,
    accept_bound: false,
};

const SHARED: Issuer = Issuer {
    name: "https://secret.example",
    audiences: &["my-app"],
    algorithms: &["HS256"],
    secret: Some("plain"),
    external_id: "secret|{sub}",
    ..PUBLIC
};

/// Everything is elsewhere than usual.
const ACCESS: Issuer = Issuer {
    name: "https://access.example/",
    tenant: None,
    audiences: &["my-app"],
    algorithms: &["HS256", "HS512"],
    secret: Some("access"),
    subject: "/realm/user/id",
    session: "/realm/session",
    audience: "/client_id",
    external_id: "{claim:org}:{sub}",
    types: &["at+jwt"],
    max_age: Some(12 * 3_600_000),
    accept_bound: true,
};

/// One tenant of a provider that may have many.
const TENANT: Issuer = Issuer {
    name: "https://tenants.example/red/v2.0",
    tenant: Some("red"),
    algorithms: &["HS256"],
    secret: Some("tenant"),
    external_id: "{claim:tid}/{sub}",
    ..PUBLIC
};

pub const ISSUERS: [&Issuer; 4] = [&PUBLIC, &SHARED, &ACCESS, &TENANT];

/// The claims that recipes would ask for.
pub const CLAIM_NAMES: [&str; 2] = ["email", "org"];

/// `[session]`. Time is moved on by a millisecond for each input: keys are never too old, and an unknown one may always be asked for.
pub fn settings() -> Value {
    let issuers: Vec<Value> = ISSUERS.iter().map(|issuer| issuer.settings()).collect();
    json!({
        "sources": ["header:authorization", "cookie:session", "header:x-token"],
        "clock_skew": format!("{SKEW}ms"),
        "max_token_bytes": MAX_TOKEN_BYTES,
        "cache": 1000,
        "issuer": issuers,
    })
}

impl Issuer {
    fn settings(&self) -> Value {
        let keys = match self.secret {
            // One entry in a list is that entry.
            Some(file) => json!([{ "secret": { "file": file }, "algorithms": self.algorithms }]),
            None => json!({ "jwks_url": KEYS_URL, "cooldown": "1ms", "max_stale": "876000h" }),
        };
        // A pointer of one step is a claim's name.
        let claim = |pointer: &'static str| pointer.strip_prefix('/').filter(|name| !name.contains('/'));
        json!({
            "issuer": self.tenant.map_or(self.name.to_owned(), |tenant| self.name.replace(tenant, "{tenant}")),
            "tenants": Vec::from_iter(self.tenant),
            "audiences": self.audiences,
            "algorithms": self.algorithms,
            "keys": keys,
            "subject_claim": claim(self.subject).unwrap_or(self.subject),
            "session_claim": claim(self.session).unwrap_or(self.session),
            "audience_claim": claim(self.audience).unwrap_or(self.audience),
            "external_id": self.external_id,
            "types": self.types,
            "max_age": self.max_age.map(|millis| format!("{millis}ms")),
            "accept_bound": self.accept_bound,
        })
    }
}

/// Who holds a key of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Es256,
    EdDsa,
    Hs256,
    Access256,
    Access512,
    Tenant,
}

impl Signer {
    pub const ALL: [Self; 6] = [Self::Es256, Self::EdDsa, Self::Hs256, Self::Access256, Self::Access512, Self::Tenant];

    /// The digits of inputs.
    pub fn of(digit: u8) -> Self {
        Self::ALL[usize::from(digit.wrapping_sub(b'0')) % Self::ALL.len()]
    }

    pub fn issuer(self) -> &'static Issuer {
        match self {
            Self::Es256 | Self::EdDsa => &PUBLIC,
            Self::Hs256 => &SHARED,
            Self::Access256 | Self::Access512 => &ACCESS,
            Self::Tenant => &TENANT,
        }
    }

    /// What `alg` may call its signatures.
    pub fn algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Es256 => &["ES256"],
            Self::EdDsa => &["EdDSA", "Ed25519"],
            Self::Hs256 | Self::Access256 | Self::Tenant => &["HS256"],
            Self::Access512 => &["HS512"],
        }
    }

    /// The name of its key; a shared secret has none, and any is right.
    pub fn kid(self) -> Option<&'static str> {
        match self {
            Self::Es256 => Some("k1"),
            Self::EdDsa => Some("k2"),
            Self::Hs256 | Self::Access256 | Self::Access512 | Self::Tenant => None,
        }
    }

    /// The header of its good token.
    pub fn header(self) -> String {
        let mut header = json!({ "alg": self.algorithms()[0], "typ": "at+jwt" });
        if let Some(kid) = self.kid() {
            header["kid"] = json!(kid);
        }
        header.to_string()
    }

    /// The payload of its good token.
    pub fn payload(self) -> String {
        let now = NOW / 1000;
        let mut claims = json!({
            "iss": self.issuer().name, "sub": "ada", "aud": ["my-app", "x"], "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
            "sid": "s-1", "email": "ada@example.com",
        });
        if self.issuer().max_age.is_some() {
            claims["realm"] = json!({ "user": { "id": "u-1" }, "session": "r-1" });
            claims["client_id"] = json!("my-app");
            claims["org"] = json!("acme");
        }
        if let Some(tenant) = self.issuer().tenant {
            claims["tid"] = json!(tenant);
        }
        claims.to_string()
    }
}
