//! Tokens, and what may be asked of them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::IdpSim;

/// Fields that OAuth clients send and that are no claims; a password must not end up in a token.
const NOT_CLAIMS: [&str; 11] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "password",
    "redirect_uri",
    "scope",
    "username",
];

/// A token that is wanted. The default is for nobody: set at least `user`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRequest {
    /// `sub`.
    pub user: String,
    /// `sid`; `None`: the token has none.
    pub session: Option<String>,
    /// Seconds until `exp`; negative: it has expired. `None`: the simulator's own life.
    pub expires_in: Option<i64>,
    /// `typ` of the header; `None`: `JWT`.
    pub typ: Option<String>,
    /// Claims to add, or to put in place of ours, of any type.
    pub claims: Map<String, Value>,
    /// Claims to leave out, ours too.
    pub omit: Vec<String>,
}

impl TokenRequest {
    /// A plain token for a user.
    pub fn user(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// The same with this `sid`.
    #[must_use]
    pub fn session(self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self }
    }

    /// The same with another life, in seconds.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        Self { expires_in: Some(seconds), ..self }
    }

    /// The same with this claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// The same without this claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.omit.push(name.to_owned());
        self
    }

    /// Reads the members of a request: `user`, `audience`, `expires_in`, `session`, `typ`, `omit`; what is no OAuth field is a claim.
    /// Without `session` the token is of a new one; with an empty one or `null`, of none. The error says what is wrong, in fixed words.
    pub(super) fn read(members: Map<String, Value>) -> Result<Self, &'static str> {
        let mut wanted = Self { session: Some(Uuid::new_v4().to_string()), ..Self::default() };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("user", Value::String(user)) => wanted.user = user,
                ("user", _) => return Err("user is a string"),
                ("audience", value) => drop(wanted.claims.insert("aud".to_owned(), value)),
                ("expires_in", value) => {
                    wanted.expires_in = Some(seconds(&value).ok_or("expires_in is whole seconds")?)
                }
                ("session", Value::String(session)) => wanted.session = Some(session).filter(|text| !text.is_empty()),
                ("session", Value::Null) => wanted.session = None,
                ("session", _) => return Err("session is a string"),
                ("typ", Value::String(typ)) => wanted.typ = Some(typ),
                ("typ", _) => return Err("typ is a string"),
                ("omit", value) => wanted.omit = names(value).ok_or("omit is a list of claims")?,
                (name, _) if NOT_CLAIMS.contains(&name) => {}
                (name, value) => drop(wanted.claims.insert(name.to_owned(), value)),
            }
        }
        if wanted.user.is_empty() { Err("user is missing") } else { Ok(wanted) }
    }
}

/// A JSON number, or its digits from a form.
fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

/// A JSON list, or words with commas from a form.
fn names(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split(',').map(str::to_owned).collect()),
        other => serde_json::from_value(other).ok(),
    }
}

impl IdpSim {
    /// A signed token for any user, named or not: `iss sub aud iat exp jti name`, `sid` where asked for, `groups` of a user that has some, and the claims asked for.
    /// The key has signed before, so this does not fail; if the library failed all the same, the text is empty and no token.
    pub fn token(&self, wanted: &TokenRequest) -> String {
        let now = self.0.options.clock.now().as_secs();
        let life = wanted.expires_in.unwrap_or_else(|| self.life_secs());
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        claim("iss", json!(self.issuer()));
        claim("sub", json!(wanted.user));
        claim(
            "aud",
            match self.0.options.audiences.as_slice() {
                [one] => json!(one),
                several => json!(several),
            },
        );
        claim("iat", json!(now));
        claim("exp", json!(now.saturating_add(life)));
        claim("jti", json!(Uuid::new_v4().to_string()));
        claim("name", json!(capitalised(&wanted.user)));
        if let Some(session) = &wanted.session {
            claim("sid", json!(session));
        }
        if let Some(groups) = self.0.options.groups.get(&wanted.user) {
            claim("groups", json!(groups));
        }
        claims.extend(wanted.claims.clone());
        claims.retain(|name, _| !wanted.omit.contains(name));
        self.signer().and_then(|key| key.sign(wanted.typ.as_deref(), &claims)).unwrap_or_default()
    }

    /// The life of a token that asks for none, in seconds.
    pub(super) fn life_secs(&self) -> i64 {
        i64::try_from(self.0.options.life.as_secs()).unwrap_or(i64::MAX)
    }
}

pub(super) fn capitalised(user: &str) -> String {
    let mut letters = user.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
