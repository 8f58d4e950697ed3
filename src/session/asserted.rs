//! A session on somebody's word: where an operator has said that this is enough.

use aws_lc_rs::{digest, rand};

use super::{Memo, Session, Sessions, Signed};
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
        let mut token_digest = [0; 32];
        match said.credential {
            Some(text) => token_digest.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
            // Without a name it is like no other. A machine without randomness can't do TLS either.
            None => drop(rand::fill(&mut token_digest)),
        }
        Session {
            issuer: said.issuer.into(),
            namespace: said.issuer.into(),
            subject: said.subject.into(),
            external_id: said.external_id.into(),
            // The minter's own issuers, if it has any, did not make this name.
            name_fault: None,
            log_id: self.log_id(said.issuer, said.subject),
            person: self.person(said.issuer, said.subject),
            // Who vouches for it has looked at its own list.
            revocable: None,
            session_id: said.session_id.map(Into::into),
            token_digest,
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
