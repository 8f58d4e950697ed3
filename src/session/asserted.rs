//! A session on somebody's word: where an operator has said that this is enough.

use aws_lc_rs::rand;

use super::hash::sha256;
use super::{Memo, Session, SessionName, Sessions, Signed};
use crate::clock::Timestamp;

/// What is said of a session.
pub struct Asserted<'a> {
    /// Whose subject it is: the namespace.
    pub issuer: &'a str,
    /// For whom it speaks.
    pub subject: &'a str,
    /// The name under which vendors know the subject.
    pub external_id: &'a str,
    /// The issuer's name of the session.
    pub session_id: Option<&'a str>,
    /// Its credential, not believed: it only tells sessions apart.
    pub credential: Option<&'a str>,
    /// In the order of the claim names.
    pub claims: Box<[Option<Box<str>>]>,
}

impl Sessions {
    /// Takes somebody's word. Nothing is verified: the caller answers for it.
    pub(crate) fn assert(&self, said: Asserted<'_>) -> Session {
        let token = || match said.credential {
            Some(text) => sha256(text.as_bytes()),
            None => {
                // Without a name it is like no other. A machine without randomness can't do TLS either.
                let mut name = [0; 32];
                let _ = rand::fill(&mut name);
                name
            }
        };
        let (log_id, person) = self.names_of(said.issuer, said.subject);
        Session {
            issuer: said.issuer.into(),
            namespace: said.issuer.into(),
            subject: said.subject.into(),
            external_id: said.external_id.into(),
            // The minter's own issuers, if it has any, did not make this name.
            name_fault: None,
            log_id,
            person,
            // Who vouches for it has looked at its own list.
            revocable: None,
            session_name: SessionName::of(said.session_id, token),
            // Nobody said.
            ends: Timestamp::from_millis(i64::MAX),
            claims: said.claims,
            // No app learns it.
            fields: Box::default(),
            assertable: Box::default(),
            traits: None,
            memo: Memo::default(),
            signed: Signed::default(),
        }
    }
}
