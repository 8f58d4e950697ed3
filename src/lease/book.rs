//! The lease book: single-flight (request coalescing). One mint serves any number of callers and belongs to the book, not to a request.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::lease::flight::{Begun, MintResult, Ticket};
use crate::lease::flight_guard::FlightGuard;
use crate::lease::held::Lease;
use crate::lease::key::LeaseKey;
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::leases::Leases;
use crate::lease::outcome::{Freshness, NoLease, Source};
use crate::lease::record::{Record, Requirement, Step};
use crate::lease::records::{Records, ShardedRecords};
use crate::lease::share::SharedMint;
use crate::lease::store::{Lost, SealedStore};
use crate::provider::{MintInput, Reason};
use crate::telemetry::Metrics;

/// All leases of this process.
pub struct Book<G: Records = ShardedRecords> {
    leases: Arc<Leases<G>>,
    /// Behind the memory.
    store: Option<Arc<SealedStore>>,
}

impl<G: Records> Book<G> {
    /// An empty book that holds at most `capacity` leases.
    pub fn new(records: G, capacity: usize, clock: Clock, metrics: &Metrics) -> Arc<Self> {
        Self::with(records, capacity, clock, metrics, None)
    }

    /// An empty book with a store behind its memory, if there is one.
    pub fn with(
        records: G,
        capacity: usize,
        clock: Clock,
        metrics: &Metrics,
        store: Option<Arc<SealedStore>>,
    ) -> Arc<Self> {
        Arc::new(Self { leases: Arc::new(Leases::new(records, capacity, clock, metrics)), store })
    }

    /// What is held in memory.
    pub fn leases(&self) -> &Arc<Leases<G>> {
        &self.leases
    }

    /// The warm path: the held lease, if it may be sent, and whether [`Book::ahead`] should be called.
    pub fn held(&self, policy: &LeasePolicy, key: &LeaseKey, now: Moment) -> Option<(Arc<Lease>, bool)> {
        let found =
            self.leases.records.look(key.owner(), |record| record.held(key.variant(), now, self.epoch())).flatten()?;
        if !found.0.spend() {
            return None;
        }
        policy.counts.hit.inc();
        Some(found)
    }

    /// The held lease, or the one mint that all who ask for this key wait for.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    ///
    /// # Errors
    /// Nothing was minted: why, or how long until this person may have another mint.
    ///
    /// # Examples
    /// ```no_run
    /// use std::sync::Arc;
    /// use valet_gateway::lease::{Book, LeaseKey, LeasePolicy, NoLease};
    /// use valet_gateway::provider::MintInput;
    ///
    /// # async fn open(
    /// #     book: Arc<Book>, policy: Arc<LeasePolicy>, key: LeaseKey, input: MintInput,
    /// # ) -> Result<(), NoLease> {
    /// // The first caller mints, all others of this key wait for that mint.
    /// let (lease, source) = book.obtain(&policy, &key, || input).await?;
    /// # let _ = (lease, source);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn obtain(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        self.obtain_with(policy, key, Freshness::ANY, Reason::Miss, input).await
    }

    /// The held lease, if it is as fresh as asked for, or the one mint that all callers of this key wait for. The provider is told `reason`.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    ///
    /// # Errors
    /// Nothing was minted: why, or how long until this person may have another mint.
    pub async fn obtain_with(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        freshness: Freshness,
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.leases.clock.moment(), self.leases.next_id());
            let requirement = Requirement { freshness, epoch: self.epoch() };
            self.leases
                .change_or_make(key, now, |record| record.ask(key.variant(), now, &policy.rules, requirement, id))
        };
        self.follow(policy, key, ask, (reason, freshness), input).await
    }

    /// "Scan again": answers with a mint that began after this call. This owner's leases are given up when its URL has come; if it fails, they go
    /// on.
    ///
    /// Dropped while waiting: the mint goes on.
    ///
    /// # Errors
    /// Nothing was minted: why, or how long until this person may have another mint.
    pub async fn renew(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.leases.clock.moment(), self.leases.next_id());
            self.leases.change_or_make(key, now, |record| record.renew(key.variant(), now, &policy.rules, id))
        };
        self.follow(policy, key, ask, (Reason::Again, Freshness::ANY), input).await
    }

    /// `reuse = "never"`: one mint for this request alone, neither joined nor kept.
    ///
    /// Dropped while waiting: the mint goes on, its URL is thrown away.
    ///
    /// # Errors
    /// Nothing was minted: why, or how long until this person may have another mint.
    pub async fn once(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.leases.clock.moment();
        let seq = self.leases.next_id();
        if let Some(wait) = self.leases.change_or_make(key, now, |record| record.reserve(now.tick, &policy.rules)) {
            self.leases.gauges.limited.inc();
            return Err(NoLease::Limited(wait));
        }
        let mut guard = FlightGuard { leases: self.leases.clone(), key: key.clone(), id: seq, open: true };
        let (result, landed) = watch::channel(None);
        let (plan_there, input) = (policy.clone(), policy.charge((Reason::Miss, Freshness::ANY), input()));
        self.leases.records.spawn(async move {
            let (outcome, _) = guard.leases.mint(&plan_there, &input, seq).await;
            guard.done();
            let now = guard.leases.clock.moment();
            guard.leases.change(guard.key.owner(), now, |record| record.landed(now.tick, outcome.is_ok()));
            result.send_replace(Some(outcome));
        });
        let lease = wait(landed).await?;
        policy.counts.minted.inc();
        Ok((lease, Source::Minted))
    }

    /// Mints in the background for a held lease that has little life left. Does nothing if a mint is under way or failed lately, or if the vendor's
    /// calls are left to callers that wait: the lease serves on, and the next request asks again.
    pub fn ahead(self: &Arc<Self>, policy: &Arc<LeasePolicy>, key: &LeaseKey, input: impl FnOnce() -> MintInput) {
        let now = self.leases.clock.moment();
        if !policy.mint.take_ahead() {
            return;
        }
        let input = || {
            let mut input = input();
            input.context.prepaid = Some(now.tick);
            input
        };
        let id = self.leases.next_id();
        if let Some(ticket) =
            self.leases.change_or_make(key, now, |record| record.ahead(key.variant(), now, &policy.rules, id))
        {
            self.fly(policy, key, ticket, (Reason::Ahead, Freshness::ANY), input);
        }
    }

    async fn follow(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        ask: impl Fn() -> Step,
        wanted: (Reason, Freshness),
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        loop {
            match ask() {
                // Others have used it up meanwhile: it serves no more, and the next round mints.
                Step::Held(lease) if !lease.spend() => {}
                Step::Held(lease) => {
                    policy.counts.hit.inc();
                    return Ok((lease, Source::Hit));
                }
                Step::Join(landed) => match wait(landed).await {
                    // What was said about another's session or tenant says nothing about this one: it asks for itself, or joins somebody else.
                    Err(NoLease::Mint(failure)) if !failure.is_everybodys() => {}
                    landed => {
                        let lease = landed?;
                        if !lease.spend() {
                            continue;
                        }
                        policy.counts.joined.inc();
                        return Ok((lease, Source::Joined));
                    }
                },
                Step::Start(ticket) => {
                    let (landed, flight) = (ticket.landed.clone(), ticket.id);
                    self.fly(policy, key, ticket, wanted, input);
                    let lease = wait(landed).await?;
                    let source = match (lease.is_minted_in(flight), lease.seq == flight) {
                        (true, _) => Source::Minted,
                        (false, true) => Source::Shared,
                        // What is held goes on while the store can't be asked, or somebody's mint has failed.
                        (false, false) => Source::Hit,
                    };
                    match source {
                        Source::Minted => policy.counts.minted.inc(),
                        Source::Hit => policy.counts.hit.inc(),
                        // Counted where they are taken.
                        Source::Shared | Source::Joined => {}
                    }
                    return Ok((lease, source));
                }
                Step::Failed(failure) => return Err(NoLease::Mint(failure)),
                Step::Limited(wait) => {
                    self.leases.gauges.limited.inc();
                    return Err(NoLease::Limited(wait));
                }
            }
        }
    }

    /// Starts the mint's own task.
    fn fly(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        ticket: Ticket,
        (reason, freshness): (Reason, Freshness),
        input: impl FnOnce() -> MintInput,
    ) {
        // Before anything of others runs: from here on the flight is cleared away whatever happens.
        let mut guard = FlightGuard { leases: self.leases.clone(), key: key.clone(), id: ticket.id, open: true };
        let (book, policy, input) = (self.clone(), policy.clone(), policy.charge((reason, freshness), input()));
        self.leases.records.spawn(async move {
            let before = match ticket.after.clone() {
                Some(after) => wait(after).await.err(),
                None => None,
            };
            let (leases, key) = (&book.leases, &guard.key);
            let number = leases.next_id();
            let begin = |record: &mut Record| record.begin(key.variant(), ticket.id, number);
            let begun = leases.change(key.owner(), leases.clock.moment(), begin).flatten().unwrap_or(ticket.begun);
            let (id, limited) = (ticket.id, ticket.limited);
            let flight = SharedMint { policy: &policy, key, input: &input, freshness, id, limited };
            let (result, keep, start) = match before {
                // It failed this very moment: its failure answers, so that nobody waits past one time-out of the provider.
                Some(NoLease::Mint(failure)) if failure.is_everybodys() => (Err(failure), false, begun.start),
                _ => book.bring(&flight, begun).await,
            };
            if let (Ok(lease), false) = (&result, reason == Reason::Ahead) {
                // For the caller that began it; each caller that joined uses it itself.
                lease.spend();
            }
            let kept =
                leases.land(key, (ticket.id, start), &result, keep) && !book.is_void(&policy, key, &input, &result);
            if kept {
                leases.tighten_landed(key.owner(), &policy.rules);
            }
            if reason == Reason::Ahead && kept {
                policy.counts.ahead.inc();
            }
            guard.done();
            ticket.result.send_replace(Some(result));
        });
    }

    /// What a flight brings, from the store or from the vendor; whether its lease may be held; and where it counts as begun.
    async fn bring(&self, flight: &SharedMint<'_>, begun: Begun) -> (MintResult, bool, u64) {
        let again = flight.input.context.reason == Reason::Again;
        match &self.store {
            Some(store) if again => self.leases.share_again(store, flight, begun.start).await,
            Some(store) => {
                let (result, keep) = self.leases.share(store, flight).await;
                (result, keep, begun.start)
            }
            None => {
                let (result, keep) = self.leases.mint(flight.policy, flight.input, flight.id).await;
                if again && result.is_ok() {
                    let now = self.leases.now();
                    let dropped = self.leases.change(flight.key.owner(), now, |record| record.renewed(begun));
                    dropped.iter().flatten().for_each(|lease| self.leases.forgotten(lease));
                }
                (result, keep, begun.start)
            }
        }
    }

    /// Drops a lease that was just held if the session that it was minted for has ended: whoever ended it may have looked before it was there.
    fn is_void(&self, policy: &LeasePolicy, key: &LeaseKey, input: &MintInput, landing: &MintResult) -> bool {
        let void = policy.mint.is_void(input);
        if let (true, Ok(lease)) = (void, landing) {
            let dropped = self.leases.change(key.owner(), self.leases.now(), |record| record.drop_lease(lease.seq));
            dropped.iter().flatten().for_each(|lease| self.leases.forgotten(lease));
            if let Some(store) = self.store() {
                // It may have it too, of a generation that began after the session's end.
                store.invalidate_later(key.owner());
            }
        }
        void
    }

    /// Since when a held lease must have been heard of.
    fn epoch(&self) -> Option<u32> {
        self.store.as_ref().map(|store| store.epoch())
    }

    /// The store behind the memory.
    pub fn store(&self) -> Option<&Arc<SealedStore>> {
        self.store.as_ref()
    }

    /// Forgets an owner's leases, here and in the store, and so at the other nodes. `Err`: here alone, for the store can't be asked.
    ///
    /// # Errors
    /// The store can't be asked: they are forgotten here alone.
    pub async fn drop_owner(&self, owner: &[u8]) -> Result<(), Lost> {
        self.leases.forget_here(owner);
        match self.store() {
            Some(store) => store.forget(owner).await.map(drop),
            None => Ok(()),
        }
    }

    /// Drops from memory the leases of an owner of whom another node says that the session has ended. Where any was held, the store will be told to
    /// forget too: this node may have kept it there after the other one told it to, for it had not heard yet.
    pub fn forget_ended(&self, owner: &[u8]) {
        if let (true, Some(store)) = (self.leases.forget_here(owner), self.store()) {
            store.invalidate_later(owner);
        }
    }
}

/// Waits for a landing. Dropped: only this waiter is gone.
async fn wait(mut landed: watch::Receiver<Option<MintResult>>) -> Result<Arc<Lease>, NoLease> {
    let result = landed.wait_for(Option::is_some).await.map_err(|_| NoLease::Lost)?.clone();
    result.ok_or(NoLease::Lost)?.map_err(NoLease::Mint)
}
