//! Sign-out everywhere: the logout token for a client (OpenID Connect Back-Channel Logout 1.0).

use serde_json::json;

use super::{IdpSim, TokenRequest};

/// The member of `events` that makes a token a logout token (section 2.4).
pub(super) const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Two minutes, as the specification advises for the life of a logout token (section 4).
pub(super) const LOGOUT_LIFE_SECS: i64 = 120;

impl IdpSim {
    /// A logout token for all sessions of this user. It ends those that began no later than now, by the second.
    pub fn logout_token(&self, user: &str) -> String {
        let wanted = TokenRequest::user(user)
            .expires_in(LOGOUT_LIFE_SECS)
            .claim("events", json!({ LOGOUT_EVENT: {} }))
            .without("name")
            .without("groups");
        self.token(&TokenRequest { typ: Some("logout+jwt".into()), ..wanted })
    }
}
