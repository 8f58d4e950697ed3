//! The lease book: one mint for any number of callers, owned by the book and not by a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::lease::answer::{NoLease, Source, Terms};
use crate::lease::duty::Duty;
use crate::lease::gauges::Gauges;
use crate::lease::ground::{Ground, Shelves};
use crate::lease::held::Lease;
use crate::lease::index::Index;
use crate::lease::key::LeaseKey;
use crate::lease::ledger::{Ledger, MintRecord};
use crate::lease::plan::Plan;
use crate::lease::record::{Begun, Landing, Record, Step, Ticket, Wanted};
use crate::lease::share::Errand;
use crate::lease::store::Vault;
use crate::provider::{MintFailure, MintInput, Minted, Reason};
use crate::telemetry::Metrics;

/// All leases of this process.
pub struct Book<G: Ground = Shelves> {
    pub(super) ground: G,
    pub(super) index: Index,
    pub(super) clock: Clock,
    pub(super) capacity: usize,
    /// Signed: a lease may be forgotten a moment before its landing has counted it.
    pub(super) held: AtomicI64,
    ids: AtomicU64,
    pub(super) gauges: Gauges,
    pub(super) ledger: Ledger,
    /// Behind the memory.
    vault: Option<Arc<Vault>>,
}

impl<G: Ground> Book<G> {
    /// An empty book that holds at most `capacity` leases.
    pub fn new(ground: G, capacity: usize, clock: Clock, metrics: &Metrics) -> Arc<Self> {
        Self::with(ground, capacity, clock, metrics, None)
    }

    /// The same with a store behind it.
    pub fn with(ground: G, capacity: usize, clock: Clock, metrics: &Metrics, vault: Option<Arc<Vault>>) -> Arc<Self> {
        Arc::new(Self {
            vault,
            ledger: Ledger::default(),
            ground,
            index: Index::default(),
            clock,
            capacity,
            held: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            gauges: Gauges::new(metrics),
        })
    }

    /// The warm path: the held lease, if it may be sent, and whether [`Book::ahead`] should be called.
    pub fn held(&self, plan: &Plan, key: &LeaseKey, now: Moment) -> Option<(Arc<Lease>, bool)> {
        let found = self.ground.look(key.owner(), |record| record.held(key.variant(), now, self.epoch())).flatten()?;
        plan.counts.hit.inc();
        Some(found)
    }

    /// The held lease, or the one mint that all who ask for this key wait for.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    pub async fn obtain(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        self.obtain_with(plan, key, Terms::ANY, Reason::Miss, input).await
    }

    /// The same on somebody's terms: a held lease that does not meet them does not count. `reason` is told to who mints.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    pub async fn obtain_with(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        terms: Terms,
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.clock.moment(), self.next_id());
            let wanted = Wanted { terms, epoch: self.epoch() };
            self.change_or_make(key, now, |record| record.ask(key.variant(), now, &plan.rules, wanted, id))
        };
        self.follow(plan, key, ask, reason, input).await
    }

    /// "Scan again": answers with a mint that began after this call. This owner's leases are given up when its URL has come; if it fails, they go
    /// on.
    ///
    /// Dropped while waiting: the mint goes on.
    pub async fn renew(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let ask = || {
            let (now, id) = (self.clock.moment(), self.next_id());
            self.change_or_make(key, now, |record| record.renew(key.variant(), now, &plan.rules, id))
        };
        self.follow(plan, key, ask, Reason::Again, input).await
    }

    /// `reuse = "never"`: one mint for this request alone, neither joined nor kept.
    ///
    /// Dropped while waiting: the mint goes on, its URL is thrown away.
    pub async fn once(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.clock.moment();
        let seq = self.next_id();
        if let Some(wait) = self.change_or_make(key, now, |record| record.reserve(now.tick, &plan.rules)) {
            self.gauges.limited.inc();
            return Err(NoLease::Limited(wait));
        }
        let mut duty = Duty { book: self.clone(), key: key.clone(), id: seq, open: true };
        let (landing, landed) = watch::channel(None);
        let (plan_there, input) = (plan.clone(), plan.charge(Reason::Miss, input()));
        self.ground.spawn(async move {
            let (outcome, _) = duty.book.mint(&plan_there, &input, seq).await;
            duty.done();
            let now = duty.book.clock.moment();
            duty.book.change(duty.key.owner(), now, |record| record.landed(now.tick, outcome.is_ok()));
            landing.send_replace(Some(outcome));
        });
        let lease = wait(landed).await?;
        plan.counts.minted.inc();
        Ok((lease, Source::Minted))
    }

    /// Mints in the background for a held lease that has little life left. Does nothing if a mint is under way or failed lately.
    pub fn ahead(self: &Arc<Self>, plan: &Arc<Plan>, key: &LeaseKey, input: impl FnOnce() -> MintInput) {
        let now = self.clock.moment();
        let id = self.next_id();
        if let Some(ticket) = self.change_or_make(key, now, |record| record.ahead(key.variant(), now, &plan.rules, id))
        {
            self.fly(plan, key, ticket, Reason::Ahead, input);
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
        plan: &Arc<Plan>,
        key: &LeaseKey,
        ask: impl Fn() -> Step,
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        loop {
            match ask() {
                Step::Held(lease) => {
                    plan.counts.hit.inc();
                    return Ok((lease, Source::Hit));
                }
                Step::Join(landed) => match wait(landed).await {
                    // What was said about another's session says nothing about this one: it asks for itself, or joins somebody else.
                    Err(NoLease::Mint(failure)) if !failure.is_everybodys() => {}
                    landed => {
                        let lease = landed?;
                        plan.counts.joined.inc();
                        return Ok((lease, Source::Joined));
                    }
                },
                Step::Start(ticket) => {
                    let landed = ticket.landed.clone();
                    self.fly(plan, key, ticket, reason, input);
                    let lease = wait(landed).await?;
                    if lease.tie.shared {
                        return Ok((lease, Source::Shared));
                    }
                    plan.counts.minted.inc();
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
        plan: &Arc<Plan>,
        key: &LeaseKey,
        ticket: Ticket,
        reason: Reason,
        input: impl FnOnce() -> MintInput,
    ) {
        // Before anything of others runs: from here on the flight is cleared away whatever happens.
        let mut duty = Duty { book: self.clone(), key: key.clone(), id: ticket.id, open: true };
        let (plan, input) = (plan.clone(), plan.charge(reason, input()));
        self.ground.spawn(async move {
            let before = match ticket.after.clone() {
                Some(after) => wait(after).await.err(),
                None => None,
            };
            let (book, key) = (&duty.book, &duty.key);
            let number = book.next_id();
            let begin = |record: &mut Record| record.begin(key.variant(), ticket.id, number);
            let begun = book.change(key.owner(), book.clock.moment(), begin).flatten().unwrap_or(ticket.begun);
            let (landing, keep, start) = match before {
                // It failed this very moment: its failure answers, so that nobody waits past one time-out of the provider.
                Some(NoLease::Mint(failure)) if failure.is_everybodys() => (Err(failure), false, begun.start),
                _ => book.bring(&Errand { plan: &plan, key, input: &input, id: ticket.id }, begun).await,
            };
            let kept =
                book.land(key, (ticket.id, start), &landing, keep) && !book.is_void(&plan, key, &input, &landing);
            if reason == Reason::Ahead && kept {
                plan.counts.ahead.inc();
            }
            duty.done();
            ticket.landing.send_replace(Some(landing));
        });
    }

    /// What a flight brings, from the store or from the vendor; whether its lease may be held; and where it counts as begun.
    async fn bring(&self, errand: &Errand<'_>, begun: Begun) -> (Landing, bool, u64) {
        let again = errand.input.errand.reason == Reason::Again;
        match &self.vault {
            Some(vault) if again => self.share_again(vault, errand, begun.start).await,
            Some(vault) => {
                let (landing, keep) = self.share(vault, errand).await;
                (landing, keep, begun.start)
            }
            None => {
                let (landing, keep) = self.mint(errand.plan, errand.input, errand.id).await;
                if again && landing.is_ok() {
                    let dropped = self.change(errand.key.owner(), self.now(), |record| record.renewed(begun));
                    dropped.iter().flatten().for_each(|lease| self.forgotten(lease));
                }
                (landing, keep, begun.start)
            }
        }
    }

    /// One call of the mint, judged: the landing, and whether its lease may be held.
    pub(super) async fn mint(&self, plan: &Plan, input: &MintInput, seq: u64) -> (Landing, bool) {
        let began = self.clock.moment();
        let minted = plan.mint.mint(input).await;
        let (landing, keep) = self.judge(plan, minted, began, seq);
        let now = self.clock.moment();
        self.ledger.note(MintRecord {
            time: began.wall,
            plugin: plan.plugin.clone(),
            issuer: input.issuer.clone(),
            subject: input.subject.clone(),
            reason: input.errand.reason,
            took: now.tick.since(began.tick),
            outcome: landing.as_ref().map(|lease| lease.remaining(now.wall)).map_err(|failure| *failure),
        });
        (landing, keep)
    }

    fn judge(&self, plan: &Plan, minted: Result<Minted, MintFailure>, began: Moment, seq: u64) -> (Landing, bool) {
        let minted = match minted {
            Ok(minted) => minted,
            Err(failure) => return (Err(failure), false),
        };
        match plan.rules.judge(minted, began, self.clock.moment(), seq) {
            Ok(judged) => {
                if judged.short { &plan.counts.short } else { &plan.counts.ok }.inc();
                (Ok(Arc::new(judged.lease)), !judged.short)
            }
            Err(failure) => {
                plan.counts.nonsense.inc();
                (Err(failure), false)
            }
        }
    }

    /// Writes a landing into the record and the index; whether its lease is held now.
    fn land(&self, key: &LeaseKey, flight: (u64, u64), landing: &Landing, keep: bool) -> bool {
        let now = self.clock.moment();
        let (landed, owner) = self
            .ground
            .with(key.owner(), |owner, record| (record.land(key.variant(), flight, landing, keep, now), owner.clone()));
        if let Some(replaced) = landed.replaced {
            self.forgotten(&replaced);
        }
        if let (true, Ok(lease)) = (landed.kept, landing) {
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
        self.ground.remove_if(owner, |record| {
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
        let (out, visit) = self.ground.with(key.owner(), |owner, record| {
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
        self.vault.as_ref().map(|vault| vault.epoch())
    }

    /// The store behind the memory.
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// Drops an owner's leases from memory, and what is under way is not kept: another node has forgotten them.
    pub fn forget_here(&self, owner: &[u8]) {
        let (now, number) = (self.clock.moment(), self.next_id());
        for lease in self.change(owner, now, |record| record.forget(number)).unwrap_or_default() {
            self.forgotten(&lease);
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits for a landing. Dropped: only this waiter is gone.
async fn wait(mut landed: watch::Receiver<Option<Landing>>) -> Result<Arc<Lease>, NoLease> {
    let landing = landed.wait_for(Option::is_some).await.map_err(|_| NoLease::Lost)?.clone();
    landing.ok_or(NoLease::Lost)?.map_err(NoLease::Mint)
}

#[cfg(test)]
impl<G: Ground> Book<G> {
    pub(super) fn ground(&self) -> &G {
        &self.ground
    }
}

#[cfg(test)]
impl Book<Shelves> {
    /// What is in memory: records, names of leases, visits to come.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (ends, visits) = self.index.sizes();
        (self.ground.len(), ends, visits)
    }

    /// How many variants of this owner are known.
    pub(super) fn slots(&self, key: &LeaseKey) -> usize {
        self.ground.look(key.owner(), Record::len).unwrap_or(0)
    }
}
