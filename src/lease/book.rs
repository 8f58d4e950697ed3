//! The lease book: single-flight (request coalescing). One mint serves any number of callers and belongs to the book, not to a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::lease::flight::{Begun, MintResult, Ticket};
use crate::lease::flight_guard::FlightGuard;
use crate::lease::gauges::Gauges;
use crate::lease::handover::{OwnerEvent, Tap};
use crate::lease::held::Lease;
use crate::lease::index::Index;
use crate::lease::key::LeaseKey;
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::mint_history::MintHistory;
use crate::lease::outcome::{Freshness, NoLease, Source};
use crate::lease::record::{Record, Requirement, Step};
use crate::lease::records::{Records, ShardedRecords};
use crate::lease::share::SharedMint;
use crate::lease::store::SealedStore;
use crate::provider::{MintInput, Reason};
use crate::telemetry::Metrics;

/// All leases of this process.
pub struct Book<G: Records = ShardedRecords> {
    pub(super) records: G,
    pub(super) index: Index,
    pub(super) clock: Clock,
    pub(super) capacity: AtomicUsize,
    /// Signed: a lease may be forgotten a moment before its landing has counted it.
    pub(super) held: AtomicI64,
    ids: AtomicU64,
    pub(super) gauges: Gauges,
    pub(super) history: MintHistory,
    pub(super) tap: Tap,
    /// Behind the memory.
    store: Option<Arc<SealedStore>>,
}

impl<G: Records> Book<G> {
    /// An empty book that holds at most `capacity` leases.
    pub fn new(records: G, capacity: usize, clock: Clock, metrics: &Metrics) -> Arc<Self> {
        Self::with(records, capacity, clock, metrics, None)
    }

    /// The same with a store behind it.
    pub fn with(
        records: G,
        capacity: usize,
        clock: Clock,
        metrics: &Metrics,
        store: Option<Arc<SealedStore>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            history: MintHistory::default(),
            tap: Tap::default(),
            records,
            index: Index::default(),
            clock,
            capacity: AtomicUsize::new(capacity),
            held: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            gauges: Gauges::new(metrics),
        })
    }

    /// The warm path: the held lease, if it may be sent, and whether [`Book::ahead`] should be called.
    pub fn held(&self, policy: &LeasePolicy, key: &LeaseKey, now: Moment) -> Option<(Arc<Lease>, bool)> {
        let found = self.records.look(key.owner(), |record| record.held(key.variant(), now, self.epoch())).flatten()?;
        if !found.0.spend() {
            return None;
        }
        policy.counts.hit.inc();
        Some(found)
    }

    /// The held lease, or the one mint that all who ask for this key wait for.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    pub async fn obtain(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        self.obtain_with(policy, key, Freshness::ANY, Reason::Miss, input).await
    }

    /// The same on somebody's terms: a held lease that does not meet them does not count. `reason` is told to who mints.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    pub async fn obtain_with(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        freshness: Freshness,
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.clock.moment(), self.next_id());
            let requirement = Requirement { freshness, epoch: self.epoch() };
            self.change_or_make(key, now, |record| record.ask(key.variant(), now, &policy.rules, requirement, id))
        };
        self.follow(policy, key, ask, reason, input).await
    }

    /// "Scan again": answers with a mint that began after this call. This owner's leases are given up when its URL has come; if it fails, they go
    /// on.
    ///
    /// Dropped while waiting: the mint goes on.
    pub async fn renew(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.clock.moment(), self.next_id());
            self.change_or_make(key, now, |record| record.renew(key.variant(), now, &policy.rules, id))
        };
        self.follow(policy, key, ask, Reason::Again, input).await
    }

    /// `reuse = "never"`: one mint for this request alone, neither joined nor kept.
    ///
    /// Dropped while waiting: the mint goes on, its URL is thrown away.
    pub async fn once(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.clock.moment();
        let seq = self.next_id();
        if let Some(wait) = self.change_or_make(key, now, |record| record.reserve(now.tick, &policy.rules)) {
            self.gauges.limited.inc();
            return Err(NoLease::Limited(wait));
        }
        let mut guard = FlightGuard { book: self.clone(), key: key.clone(), id: seq, open: true };
        let (result, landed) = watch::channel(None);
        let (plan_there, input) = (policy.clone(), policy.charge(Reason::Miss, input()));
        self.records.spawn(async move {
            let (outcome, _) = guard.book.mint(&plan_there, &input, seq).await;
            guard.done();
            let now = guard.book.clock.moment();
            guard.book.change(guard.key.owner(), now, |record| record.landed(now.tick, outcome.is_ok()));
            result.send_replace(Some(outcome));
        });
        let lease = wait(landed).await?;
        policy.counts.minted.inc();
        Ok((lease, Source::Minted))
    }

    /// Mints in the background for a held lease that has little life left. Does nothing if a mint is under way or failed lately, or if the vendor's
    /// calls are left to who waits: the lease serves on, and the next request asks again.
    pub fn ahead(self: &Arc<Self>, policy: &Arc<LeasePolicy>, key: &LeaseKey, input: impl FnOnce() -> MintInput) {
        if !policy.mint.take_ahead() {
            return;
        }
        let input = || {
            let mut input = input();
            input.context.prepaid = true;
            input
        };
        let now = self.clock.moment();
        let id = self.next_id();
        if let Some(ticket) =
            self.change_or_make(key, now, |record| record.ahead(key.variant(), now, &policy.rules, id))
        {
            self.fly(policy, key, ticket, Reason::Ahead, input);
        }
    }

    /// How many leases are held.
    pub fn len(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn follow(
        self: &Arc<Self>,
        policy: &Arc<LeasePolicy>,
        key: &LeaseKey,
        ask: impl Fn() -> Step,
        reason: Reason,
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
                    // What was said about another's session says nothing about this one: it asks for itself, or joins somebody else.
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
                    let landed = ticket.landed.clone();
                    self.fly(policy, key, ticket, reason, input);
                    let lease = wait(landed).await?;
                    if lease.version.shared {
                        return Ok((lease, Source::Shared));
                    }
                    policy.counts.minted.inc();
                    return Ok((lease, Source::Minted));
                }
                Step::Failed(failure) => return Err(NoLease::Mint(failure)),
                Step::Limited(wait) => {
                    self.gauges.limited.inc();
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
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) {
        // Before anything of others runs: from here on the flight is cleared away whatever happens.
        let mut guard = FlightGuard { book: self.clone(), key: key.clone(), id: ticket.id, open: true };
        let (policy, input) = (policy.clone(), policy.charge(reason, input()));
        self.records.spawn(async move {
            let before = match ticket.after.clone() {
                Some(after) => wait(after).await.err(),
                None => None,
            };
            let (book, key) = (&guard.book, &guard.key);
            let number = book.next_id();
            let begin = |record: &mut Record| record.begin(key.variant(), ticket.id, number);
            let begun = book.change(key.owner(), book.clock.moment(), begin).flatten().unwrap_or(ticket.begun);
            let (result, keep, start) = match before {
                // It failed this very moment: its failure answers, so that nobody waits past one time-out of the provider.
                Some(NoLease::Mint(failure)) if failure.is_everybodys() => (Err(failure), false, begun.start),
                _ => book.bring(&SharedMint { policy: &policy, key, input: &input, id: ticket.id }, begun).await,
            };
            if let (Ok(lease), false) = (&result, reason == Reason::Ahead) {
                // For the one who began it; who joined uses it himself.
                lease.spend();
            }
            let kept =
                book.land(key, (ticket.id, start), &result, keep) && !book.is_void(&policy, key, &input, &result);
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
            Some(store) if again => self.share_again(store, flight, begun.start).await,
            Some(store) => {
                let (result, keep) = self.share(store, flight).await;
                (result, keep, begun.start)
            }
            None => {
                let (result, keep) = self.mint(flight.policy, flight.input, flight.id).await;
                if again && result.is_ok() {
                    let dropped = self.change(flight.key.owner(), self.now(), |record| record.renewed(begun));
                    dropped.iter().flatten().for_each(|lease| self.forgotten(lease));
                }
                (result, keep, begun.start)
            }
        }
    }

    /// Writes a landing into the record and the index; whether its lease is held now.
    fn land(&self, key: &LeaseKey, flight: (u64, u64), result: &MintResult, keep: bool) -> bool {
        let now = self.clock.moment();
        let (landed, owner) = self
            .records
            .with(key.owner(), |owner, record| (record.land(key.variant(), flight, result, keep, now), owner.clone()));
        if let Some(replaced) = landed.replaced {
            self.forgotten(&replaced);
        }
        if let (true, Ok(lease)) = (landed.kept, result) {
            self.tap.tell(|| OwnerEvent::Changed(owner.clone()));
            self.index.add(lease.end, lease.seq, owner);
            self.count_held(1);
            self.evict(now);
        } else {
            self.change(&owner, now, |_| ());
        }
        landed.kept
    }

    /// Runs `act` on the record if it exists, and removes the record if nothing is left of it.
    pub(super) fn change<R>(&self, owner: &[u8], now: Moment, act: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let mut out = None;
        let mut visit = None;
        self.records.remove_if(owner, |record| {
            out = Some(act(record));
            let alive = record.tidy(now.tick);
            visit = record.claim_visit(now.tick).filter(|_| alive);
            !alive
        });
        if let Some(after) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner.into());
        }
        out
    }

    /// Runs `act` on the record, which is made if absent.
    fn change_or_make<R>(&self, key: &LeaseKey, now: Moment, act: impl FnOnce(&mut Record) -> R) -> R {
        let (out, visit) = self.records.with(key.owner(), |owner, record| {
            let out = act(record);
            (out, record.claim_visit(now.tick).map(|after| (after, owner.clone())))
        });
        if let Some((after, owner)) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner);
        }
        out
    }

    /// Since when a held lease must have been heard of.
    fn epoch(&self) -> Option<u32> {
        self.store.as_ref().map(|store| store.epoch())
    }

    /// The store behind the memory.
    pub fn store(&self) -> Option<&Arc<SealedStore>> {
        self.store.as_ref()
    }

    /// Drops an owner's leases from memory, and what is under way is not kept: another node has forgotten them. Whether any was held.
    pub fn forget_here(&self, owner: &[u8]) -> bool {
        self.tap.tell(|| OwnerEvent::Forgotten(owner.into()));
        let (now, number) = (self.clock.moment(), self.next_id());
        let dropped = self.change(owner, now, |record| record.forget(number)).unwrap_or_default();
        dropped.iter().for_each(|lease| self.forgotten(lease));
        !dropped.is_empty()
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits for a landing. Dropped: only this waiter is gone.
async fn wait(mut landed: watch::Receiver<Option<MintResult>>) -> Result<Arc<Lease>, NoLease> {
    let result = landed.wait_for(Option::is_some).await.map_err(|_| NoLease::Lost)?.clone();
    result.ok_or(NoLease::Lost)?.map_err(NoLease::Mint)
}

#[cfg(test)]
impl<G: Records> Book<G> {
    pub(super) fn records(&self) -> &G {
        &self.records
    }
}

#[cfg(test)]
impl Book<ShardedRecords> {
    /// What is in memory: records, names of leases, visits to come.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (ends, visits) = self.index.sizes();
        (self.records.len(), ends, visits)
    }

    /// How many variants of this owner are known.
    pub(super) fn slots(&self, key: &LeaseKey) -> usize {
        self.records.look(key.owner(), Record::len).unwrap_or(0)
    }
}
