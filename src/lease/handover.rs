//! Leases that go from one process to its successor, and those that no plug-in of the configuration in force has any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::{Moment, Tick};
use crate::lease::held::{Lease, StoreVersion};
use crate::lease::key::Scope;
use crate::lease::lease_policy::LeasePolicy;
use crate::lease::leases::Leases;
use crate::lease::owner_events::OwnerEvent;
use crate::lease::record::Record;
use crate::lease::records::{Records, ShardedRecords};
use crate::lease::rules::Rules;
use crate::lease::share::{entry, readmit};
use crate::lease::store::Entry;

/// How a book mints for each scope that a configuration has.
pub type Policies = HashMap<Scope, Arc<LeasePolicy>>;

/// One lease of one owner, in the clear: for a successor of the same user alone.
#[derive(Serialize, Deserialize)]
pub struct HandedLease {
    #[serde(rename = "v", with = "crate::units::base64_bytes")]
    variant: Vec<u8>,
    #[serde(rename = "e")]
    entry: Entry,
    /// How often it may still be handed out.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    /// The owner's generation in the store.
    #[serde(rename = "g")]
    generation: u64,
}

/// What is known of one owner: mints that `mints_per_subject` counts, and a lease.
#[derive(Serialize, Deserialize)]
pub struct HandedOwner {
    /// One person at one plug-in.
    #[serde(rename = "o", with = "crate::units::base64_bytes")]
    owner: Vec<u8>,
    /// How many milliseconds ago mints succeeded.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    minted_ms_ago: Vec<u64>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    lease: Option<HandedLease>,
}

impl<G: Records> Leases<G> {
    /// From now on each lease that comes and each owner that is forgotten is told there; `None`: to nobody.
    pub fn tell_of_owners(&self, sender: Option<UnboundedSender<OwnerEvent>>) {
        self.tap.set(sender);
    }

    /// What a successor should know of this owner: a part for each lease, the first one with the mints.
    pub fn hand_owner(&self, owner: &[u8]) -> Vec<HandedOwner> {
        let now = self.now();
        let (leases, minted) = self.records.look(owner, |record| record.handed(now)).unwrap_or_default();
        let mut parts: Vec<_> = leases
            .iter()
            .map(|(variant, lease)| HandedOwner {
                owner: owner.to_vec(),
                minted_ms_ago: Vec::new(),
                lease: Some(handed(variant, lease)),
            })
            .collect();
        if !minted.is_empty() {
            let bare = || vec![HandedOwner { owner: owner.to_vec(), minted_ms_ago: Vec::new(), lease: None }];
            if parts.is_empty() {
                parts = bare();
            }
            parts[0].minted_ms_ago = minted;
        }
        parts
    }

    /// Takes over what a predecessor has handed, judged as if it had come from a store. What no plug-in has any more is dropped.
    pub fn take_owner(&self, handed: HandedOwner, policies: &Policies) {
        let HandedOwner { owner, minted_ms_ago, lease } = handed;
        let Some(policy) = Scope::of(&owner).and_then(|scope| policies.get(&scope)) else { return };
        let (now, seq) = (self.now(), self.next_id());
        let lease = lease.and_then(|lease| {
            let HandedLease { variant, entry, uses, generation } = lease;
            let mut taken = readmit(policy, &entry, None, now, seq)?;
            taken.uses = uses.map(|left| Arc::new(AtomicU32::new(left)));
            taken.version = StoreVersion { epoch: 0, generation, shared: false };
            Some((variant, Arc::new(taken)))
        });
        let within = policy.rules.mints_per_subject.within.0;
        let (kept, replaced, name) = self.records.with(&owner, |name, record| {
            record.take_minted(now.tick, &minted_ms_ago, within);
            let (kept, replaced) = match &lease {
                Some((variant, lease)) => record.take(variant, seq, lease.clone(), now),
                None => (false, None),
            };
            (kept, replaced, name.clone())
        });
        if let Some(replaced) = replaced {
            self.forgotten(&replaced);
        }
        match lease {
            Some((_, lease)) if kept => {
                // A successor of this one's own may be listening.
                self.tap.tell(|| OwnerEvent::Changed(name.clone()));
                self.index.add(lease.end, lease.seq, name);
                self.count_held(1);
                self.evict(now);
            }
            _ => {
                self.change(&name, now, |_| ());
            }
        }
    }

    /// Judges what has just landed by the rules in force, if they are tighter than those by which its mint was judged: a reload came meanwhile.
    pub(super) fn tighten_landed(&self, owner: &[u8], judged_by: &Rules) {
        let in_force = self.rules.load();
        let rules = Scope::of(owner).and_then(|scope| in_force.get(&scope));
        if let Some(rules) = rules.filter(|rules| rules.are_tighter_than(judged_by)) {
            self.tighten_owner(&owner.into(), rules);
        }
    }

    /// Judges an owner's leases by rules that are tighter than those by which they were minted.
    pub(super) fn tighten_owner(&self, owner: &Arc<[u8]>, rules: &Rules) {
        let now = self.now();
        let judged = self.change(owner, now, |record| record.tighten(rules, now)).unwrap_or_default();
        for (before, after) in judged {
            match after {
                Some(after) if after.end != before.end => {
                    self.index.remove(before.end, before.seq);
                    self.index.add(after.end, after.seq, owner.clone());
                }
                Some(_) => {}
                None => self.forgotten(&before),
            }
        }
    }
}

impl Leases<ShardedRecords> {
    /// Everybody of whom something is known.
    pub fn owners(&self) -> Vec<Arc<[u8]>> {
        self.records.owners()
    }

    /// Drops the leases of scopes that are not among these from memory: the configuration in force asks for none of them. On a thread of its own: a hundred
    /// thousand names take longer than a request should wait.
    ///
    /// Dropped while it runs: it runs on.
    pub async fn keep_scopes(self: Arc<Self>, scopes: HashSet<Scope>) {
        let looking = tokio::task::spawn_blocking(move || {
            let gone = |owner: &[u8]| Scope::of(owner).is_none_or(|scope| !scopes.contains(&scope));
            self.each_lease(|owner| {
                if gone(owner) {
                    self.forget_here(owner);
                }
            });
        });
        // What a panic has left over is never sent, and goes at its end.
        let _ = looking.await;
    }

    /// From now on these are in force: a mint that began under others is judged by them, too, where they are tighter.
    pub fn set_rules(&self, rules: HashMap<Scope, Rules>) {
        self.rules.store(Arc::new(rules));
    }

    /// Judges the leases of these scopes by their new rules, which are tighter: nothing is held longer than the configuration in force says. Behind
    /// [`Self::set_rules`], so that what lands meanwhile is judged by one of the two. On a thread of its own, as [`Self::keep_scopes`].
    ///
    /// Dropped while it runs: it runs on.
    pub async fn tighten(self: Arc<Self>, rules: HashMap<Scope, Rules>) {
        let looking = tokio::task::spawn_blocking(move || {
            self.each_lease(|owner| {
                if let Some(rules) = Scope::of(owner).and_then(|scope| rules.get(&scope)) {
                    self.tighten_owner(owner, rules);
                }
            });
        });
        // What a panic has left over goes on by the rules of its mint.
        let _ = looking.await;
    }
}

fn handed(variant: &[u8], lease: &Lease) -> HandedLease {
    HandedLease {
        variant: variant.to_vec(),
        entry: entry(lease),
        uses: lease.uses.as_ref().map(|left| left.load(Ordering::Relaxed)),
        generation: lease.version.generation,
    }
}

/// Leases with their variants, and how many milliseconds ago mints succeeded.
pub(super) type Known = (Vec<(Box<[u8]>, Arc<Lease>)>, Vec<u64>);

impl Record {
    /// What a successor should know.
    fn handed(&self, now: Moment) -> Known {
        let ago = |minted: &Tick| u64::try_from(now.tick.since(*minted).as_millis()).unwrap_or(u64::MAX);
        (self.held_leases().collect(), self.minted().iter().map(ago).collect())
    }
}
