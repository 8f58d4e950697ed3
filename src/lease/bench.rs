//! For `benches/`: a book and a mint that costs nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::lease::settings::{MintsPerSubject, Reuse};
use crate::lease::{Book, LeaseKey, LeasePolicy, Opened, Rules, Scope, ShardedRecords};
use crate::provider::{Mint, MintContext, MintFailure, MintInput, Minted, PluginUrl};
use crate::session::{Memo, Session};
use crate::telemetry::Metrics;

/// As long as the first vendor's URLs.
pub const URL_BYTES: usize = 420;

/// A book with one plug-in.
pub struct Fixture {
    /// The book.
    pub book: Arc<Book>,
    /// The plug-in's plan.
    pub policy: Arc<LeasePolicy>,
    scope: Scope,
}

struct Fixed;

#[async_trait]
impl Mint for Fixed {
    async fn mint(&self, input: &MintInput) -> Result<Minted, MintFailure> {
        let start = format!("https://plugin.example/?action_token={}", input.subject);
        Ok(Minted {
            url: PluginUrl::unchecked(&format!("{start:x<URL_BYTES$}")),
            ends: None,
            end_unread: false,
            hold_until: None,
            uses: None,
        })
    }

    fn readmit(&self, url: &str) -> Option<PluginUrl> {
        Some(PluginUrl::unchecked(url))
    }
}

impl Fixture {
    /// An empty book that holds `capacity` leases.
    pub fn new(capacity: usize, clock: &Clock) -> Self {
        let metrics = Metrics::new("bench", "bench").unwrap_or_else(|_| unreachable!("metrics of a fresh registry"));
        let rules = Rules {
            reuse: Reuse::User,
            max_age: Duration::from_secs(6 * 3600),
            min_remaining: Duration::from_secs(300),
            refresh_ahead: None,
            spread: Duration::ZERO,
            mints_per_subject: MintsPerSubject::default(),
        };
        Self {
            book: Book::new(ShardedRecords::default(), capacity, clock.clone(), &metrics),
            policy: Arc::new(LeasePolicy::new("face-scan", "intelliprove", rules, Arc::new(Fixed), &metrics)),
            scope: Scope::new("https://idp.example.com", "face-scan", "intelliprove", "face-scan", &[0; 32]),
        }
    }

    /// The key of a user; subjects are as long as a UUID.
    pub fn key(&self, user: usize) -> LeaseKey {
        LeaseKey::new(&self.scope, &session(user), Reuse::User, Opened::default(), &[])
    }

    /// Mints for a user, as a first request would.
    pub async fn mint(&self, user: usize) {
        let input = || MintInput {
            external_id: subject(user).into(),
            issuer: "https://idp.example.com".into(),
            subject: subject(user).into(),
            language: None,
            claims: Box::default(),
            parameters: [].into(),
            context: MintContext::default(),
        };
        let minted = self.book.obtain(&self.policy, &self.key(user), input).await;
        assert!(minted.is_ok(), "the fixture's mint gives a URL");
    }
}

fn subject(user: usize) -> String {
    format!("{user:036}")
}

fn session(user: usize) -> Session {
    Session {
        issuer: "https://idp.example.com".into(),
        namespace: "https://idp.example.com".into(),
        subject: subject(user).into(),
        external_id: subject(user).into(),
        name_fault: None,
        log_id: "".into(),
        person: [0; 16],
        revocable: None,
        session_name: crate::session::SessionName::Token([0; 32]),
        ends: crate::clock::Timestamp::from_millis(0),
        claims: Box::default(),
        fields: Box::default(),
        traits: None,
        assertable: Box::default(),
        memo: Memo::default(),
        signed: crate::session::Signed::default(),
    }
}
