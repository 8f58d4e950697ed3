//! Action tokens: HS256, signed with a key that dies with the process.

use std::time::Duration;

use http::StatusCode;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::faults::UrlFault;
use crate::clock::Timestamp;

/// How long ago an expired URL ended.
const EXPIRED_SINCE: Duration = Duration::from_secs(60);
/// Below any sensible `min_remaining`.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// Seen on test accounts: tokens that outlive everybody's session.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a plug-in is opened for. The claims have the vendor's shape, with what the simulated page needs under `meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    user: User,
    pub(super) meta: Meta,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// Makes each token, and with it each URL, another one.
    jti: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    email: String,
    customer: String,
    group: String,
    user_id: Option<String>,
}

/// What the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) plugin: Plugin,
    pub(super) patient: String,
    pub(super) language: Option<String>,
}

/// Which page opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Plugin {
    FaceScan,
    HealthDashboard,
}

/// Why a page is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFault {
    /// None, or one that this process did not sign.
    Invalid,
    /// It was good once.
    Expired,
}

impl TokenFault {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::FORBIDDEN,
            Self::Expired => StatusCode::GONE,
        }
    }
}

/// Signs and reads the tokens of one simulator.
pub(super) struct TokenKey {
    signing: EncodingKey,
    reading: DecodingKey,
}

impl TokenKey {
    pub(super) fn generate() -> Self {
        // Two random UUIDs: 244 random bits.
        let secret = [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
        Self { signing: EncodingKey::from_secret(&secret), reading: DecodingKey::from_secret(&secret) }
    }

    /// A token that begins at `now` and lives `life`, unless `fault` says otherwise; `None` if the library signs nothing.
    pub(super) fn sign(
        &self,
        meta: Meta,
        user_id: Option<&str>,
        now: Timestamp,
        life: Duration,
        fault: Option<UrlFault>,
    ) -> Option<String> {
        let end = match fault {
            None | Some(UrlFault::WrongHost) => Some(now.plus(life)),
            Some(UrlFault::Expired) => Some(now.minus(EXPIRED_SINCE)),
            Some(UrlFault::NoExp) => None,
            Some(UrlFault::Short) => Some(now.plus(SHORT_LIFE)),
            Some(UrlFault::Years) => Some(now.plus(YEARS)),
        };
        let claims = Claims {
            user: User {
                email: String::new(),
                customer: "simulated".to_owned(),
                group: "simulated".to_owned(),
                user_id: user_id.map(str::to_owned),
            },
            meta,
            exp: end.map(Timestamp::as_secs),
            jti: Uuid::new_v4().to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).ok()
    }

    /// What a token says, if it is ours and has not ended. A token without `exp` does not end.
    pub(super) fn read(&self, token: &str, now: Timestamp) -> Result<Claims, TokenFault> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        // Judged below, by the simulator's clock.
        rules.validate_exp = false;
        rules.validate_aud = false;
        let claims: Claims =
            jsonwebtoken::decode(token, &self.reading, &rules).map_err(|_| TokenFault::Invalid)?.claims;
        match claims.exp {
            Some(exp) if now >= Timestamp::from_secs(exp) => Err(TokenFault::Expired),
            Some(_) | None => Ok(claims),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { plugin: Plugin::FaceScan, patient: "p".to_owned(), language: None }
    }

    #[test]
    fn a_token_is_good_until_its_end_and_not_at_it() {
        let key = TokenKey::generate();
        let start = Timestamp::from_secs(1_000);
        let token = key.sign(meta(), None, start, Duration::from_secs(60), None).unwrap();
        assert!(key.read(&token, Timestamp::from_millis(1_059_999)).is_ok());
        assert_eq!(key.read(&token, Timestamp::from_secs(1_060)), Err(TokenFault::Expired));
    }

    #[test]
    fn each_token_is_another_one() {
        let key = TokenKey::generate();
        let sign = || key.sign(meta(), None, Timestamp::from_secs(1), Duration::from_secs(1), None).unwrap();
        assert_ne!(sign(), sign());
    }

    #[test]
    fn another_simulators_token_is_invalid_and_not_expired() {
        let token = TokenKey::generate().sign(meta(), None, Timestamp::from_secs(1), Duration::ZERO, None).unwrap();
        assert_eq!(TokenKey::generate().read(&token, Timestamp::from_secs(9)), Err(TokenFault::Invalid));
    }

    #[test]
    fn the_faults_of_a_url_are_in_its_exp() {
        let key = TokenKey::generate();
        let now = Timestamp::from_secs(10_000);
        let read = |fault| {
            let token = key.sign(meta(), None, now, Duration::from_secs(600), Some(fault)).unwrap();
            key.read(&token, now).map(|claims| claims.exp)
        };
        assert_eq!(read(UrlFault::Expired), Err(TokenFault::Expired));
        assert_eq!(read(UrlFault::NoExp), Ok(None));
        assert_eq!(read(UrlFault::Short), Ok(Some(10_060)));
        assert_eq!(read(UrlFault::Years), Ok(Some(10_000 + 315_360_000)));
        assert_eq!(read(UrlFault::WrongHost), Ok(Some(10_600)));
    }
}
