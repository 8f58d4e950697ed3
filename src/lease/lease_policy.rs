//! The lease policy of one plug-in: its rules, its mint, its counters.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use crate::clock::Timestamp;
use crate::lease::flight::MintResult;
use crate::lease::outcome::Freshness;
use crate::lease::rules::Rules;
use crate::lease::settings::Reuse;
use crate::provider::{Mint, MintInput, Reason, Share};
use crate::telemetry::{Kind, Metrics, Outcome, Place, Span, Tracer, Value};

/// What the book knows of one plug-in.
pub struct LeasePolicy {
    /// The plug-in's time rules.
    pub rules: Rules,
    /// What makes its URLs.
    pub mint: Arc<dyn Mint>,
    /// The plug-in's name.
    pub plugin: Box<str>,
    provider: Arc<str>,
    pub(super) counts: Counts,
    pub(super) tracer: Tracer,
}

/// Counters with their labels resolved.
pub(super) struct Counts {
    pub hit: IntCounter,
    pub minted: IntCounter,
    pub joined: IntCounter,
    pub ahead: IntCounter,
    pub shared: IntCounter,
    pub ok: IntCounter,
    pub short: IntCounter,
    pub nonsense: IntCounter,
}

impl LeasePolicy {
    /// The plan of the plug-in `plugin`, minted by `provider`; the names are labels of metrics.
    pub fn new(plugin: &str, provider: &str, rules: Rules, mint: Arc<dyn Mint>, metrics: &Metrics) -> Self {
        let lease = |source: &str| metrics.leases.with_label_values(&[plugin, source]);
        let minted = |outcome: Outcome| metrics.mints.with_label_values(&[provider, outcome.label()]);
        let counts = Counts {
            hit: lease("hit"),
            minted: lease("minted"),
            joined: lease("joined"),
            ahead: lease("ahead"),
            shared: lease("shared"),
            ok: minted(Outcome::Ok),
            short: minted(Outcome::Short),
            nonsense: minted(Outcome::Nonsense),
        };
        Self { rules, mint, plugin: plugin.into(), provider: provider.into(), counts, tracer: metrics.tracer.clone() }
    }

    /// Records a mint: how it ended and whether its lease is kept, when it began, and how long it took.
    pub(super) fn record(
        &self,
        place: Option<Place>,
        reason: Reason,
        (landing, keep): (&MintResult, bool),
        (start, took): (Timestamp, Duration),
    ) {
        let Some(place) = place else { return };
        let (outcome, error) = match landing {
            Ok(_) => (if keep { "ok" } else { "short" }, None),
            Err(failure) => (failure.label(), Some(failure.label())),
        };
        self.tracer.record(|| {
            let mut attributes = vec![
                ("valet.plugin", Value::Name((*self.plugin).into())),
                ("valet.provider", Value::Name(self.provider.clone())),
                ("valet.reason", Value::Word(reason.label())),
                ("valet.outcome", Value::Word(outcome)),
            ];
            attributes.extend(error.map(|error| ("error.type", Value::Word(error))));
            let name = format!("mint {}", self.plugin).into();
            Span { place, link: None, kind: Kind::Internal, name, start, took, attributes, error }
        });
    }

    /// Tells the provider why it is asked, and what is of use to it: to this plug-in's rules, and to whoever asks for more.
    pub(super) fn charge(&self, (reason, freshness): (Reason, Freshness), mut input: MintInput) -> MintInput {
        input.context.reason = reason;
        let life = match reason {
            Reason::Ahead => self.rules.refresh_ahead.unwrap_or_default(),
            Reason::Miss | Reason::Again => self.rules.min_remaining,
        };
        input.context.life = life.max(freshness.life);
        // Each mint is recorded, whatever becomes of its request.
        let below = |request: Place| Place::below(&request.own, request.own.sampled || self.tracer.is_on());
        input.context.place = input.context.place.map(below);
        input.context.max_age = self.rules.max_age.min(freshness.max_age);
        input.context.share = match self.rules.reuse {
            Reuse::User => Share::User,
            Reuse::Session => Share::Session,
            Reuse::Never => Share::Nobody,
        };
        input
    }
}
