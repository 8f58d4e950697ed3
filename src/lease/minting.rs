//! One call of the mint for a flight: made, judged by the plug-in's time rules, counted and noted in the mint history.

use std::sync::Arc;

use crate::clock::Moment;
use crate::lease::flight::MintResult;
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::leases::Leases;
use crate::lease::mint_history::MintRecord;
use crate::lease::records::Records;
use crate::provider::{MintFailure, MintInput, Minted};
use crate::telemetry::Place;

impl<G: Records> Leases<G> {
    /// One call of the mint, judged: the landing, and whether its lease may be held.
    pub(super) async fn mint(&self, policy: &LeasePolicy, input: &MintInput, seq: u64) -> (MintResult, bool) {
        let began = self.clock.moment();
        let minted = policy.mint.mint(input).await;
        let place = input.context.place.filter(|_| policy.tracer.is_on());
        let (result, keep) = self.judge(policy, minted, began, (seq, place));
        let now = self.clock.moment();
        policy.record(place, input.context.reason, (&result, keep), (began.wall, now.tick.since(began.tick)));
        self.history.note(MintRecord {
            time: began.wall,
            plugin: policy.plugin.clone(),
            issuer: input.issuer.clone(),
            subject: input.subject.clone(),
            request_id: input.context.request_id.clone(),
            reason: input.context.reason,
            took: now.tick.since(began.tick),
            outcome: result.as_ref().map(|lease| lease.remaining(now.wall)).map_err(|failure| *failure),
        });
        (result, keep)
    }

    fn judge(
        &self,
        policy: &LeasePolicy,
        minted: Result<Minted, MintFailure>,
        began: Moment,
        (seq, place): (u64, Option<Place>),
    ) -> (MintResult, bool) {
        let minted = match minted {
            Ok(minted) => minted,
            Err(failure) => return (Err(failure), false),
        };
        match policy.rules.judge(minted, began, self.clock.moment(), seq) {
            Ok(mut judged) => {
                judged.lease.minted_by = place.map(|place| Box::new(place.own));
                if judged.short { &policy.counts.short } else { &policy.counts.ok }.inc();
                (Ok(Arc::new(judged.lease)), !judged.short)
            }
            Err(failure) => {
                policy.counts.nonsense.inc();
                (Err(failure), false)
            }
        }
    }
}
