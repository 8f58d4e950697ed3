//! The authorizer of one plug-in or app: it asks the policies, remembers the answers that last, and counts them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::IntCounter;

use super::entity::{Circumstances, Person};
use super::evaluate::Decision;
use super::resource::{Asked, Resource, Slices, Target};
use super::{Action, Policies};
use crate::clock::{Clock, Timestamp};
use crate::session::{Session, StepUp};
use crate::telemetry::Metrics;

/// The proof that policies were asked and permit it, or that none are asked. What redirects, mints or forwards needs one.
#[derive(Debug)]
pub struct Permit(());

/// Why there is no [`Permit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The policies say no.
    Denied,
    /// A policy failed in evaluation: what it would have said is not known.
    Failed,
    /// A stronger or more recent sign-in would do.
    StepUp(StepUp),
}

/// What came of a question.
#[derive(Debug)]
pub struct Judged {
    /// The name of the policy that decided; `None`: none did, or there are none.
    pub policy: Option<Arc<str>>,
    /// The proof, or what stands against it.
    pub outcome: Result<Permit, Denied>,
}

/// Asks about one resource.
#[derive(Debug)]
pub struct Authorizer(Option<Inner>);

#[derive(Debug)]
struct Inner {
    resource: Resource,
    /// Under which numbers a session remembers the answers: this and those that follow it.
    question: u32,
    counts: Vec<(Action, Counts)>,
}

/// `valet_policy_decisions_total` of one action on the resource.
#[derive(Debug)]
struct Counts {
    permit: IntCounter,
    deny: IntCounter,
    step_up: IntCounter,
    error: IntCounter,
}

/// Makes the authorizers of one set, which share what is the same.
pub struct Authorizers {
    policies: Option<Arc<Policies>>,
    slices: Slices,
    metrics: Metrics,
}

impl Authorizers {
    /// Without a set everything is permitted.
    pub fn new(policies: Option<Arc<Policies>>, metrics: &Metrics) -> Self {
        Self { policies, slices: Slices::new(), metrics: metrics.clone() }
    }

    /// Of one resource, for these actions on it.
    pub fn of(&mut self, target: Target<'_>, actions: &[Action]) -> Authorizer {
        let Some(policies) = &self.policies else { return Authorizer(None) };
        let resource = Resource::new(policies, target, &mut self.slices);
        let (Target::Plugin(name, _) | Target::App(name)) = target;
        let counts = |action: &Action| (*action, Counts::new(&self.metrics, *action, name));
        // Also between the gateway and the minter of one process: their sessions are the same.
        let question = policies.questions.fetch_add(actions.len() as u32, Ordering::Relaxed);
        Authorizer(Some(Inner { resource, question, counts: actions.iter().map(counts).collect() }))
    }
}

impl Authorizer {
    /// Where policies have no say: an app that asks for no session.
    pub const fn not_asked() -> Self {
        Self(None)
    }

    /// Asks the policies, or remembers what they said about this session. `readings`: the request, in each way in which it may be read. All must be
    /// permitted; the first that is not decides. It is called only where the answer depends on it.
    pub fn judge<'a>(
        &self,
        action: Action,
        session: Option<&Session>,
        clock: &Clock,
        readings: impl FnOnce(Timestamp) -> Vec<Circumstances<'a>>,
    ) -> Judged {
        let Some(inner) = &self.0 else { return Judged { policy: None, outcome: Ok(Permit(())) } };
        inner.judge(action, session, clock, readings)
    }

    /// The decision itself, neither counted nor remembered; `None`: there are no policies.
    pub fn decide<'a>(
        &self,
        action: Action,
        person: &Person<'_>,
        readings: impl FnOnce() -> Vec<Circumstances<'a>>,
    ) -> Option<Decision> {
        let Inner { resource, .. } = self.0.as_ref()?;
        let asked = resource.asked(action)?;
        Some(worst(readings().iter().map(|reading| resource.decide(asked, person, reading))))
    }

    /// The attributes that decide about this action.
    pub fn reads(&self, action: Action) -> Vec<String> {
        let asked = self.0.as_ref().and_then(|inner| inner.resource.asked(action));
        asked.map(|asked| asked.slice.reads.names().collect()).unwrap_or_default()
    }

    /// The name of the policy that decided.
    pub fn name(&self, decision: &Decision) -> Option<&str> {
        self.0.as_ref()?.resource.policies.decisive(decision)
    }
}

impl Inner {
    fn judge<'a>(
        &self,
        action: Action,
        session: Option<&Session>,
        clock: &Clock,
        readings: impl FnOnce(Timestamp) -> Vec<Circumstances<'a>>,
    ) -> Judged {
        let at = self.counts.iter().position(|(counted, _)| *counted == action);
        let (Some(at), Some(asked)) = (at, self.resource.asked(action)) else {
            // Nobody asks this of it; if somebody did, nobody has permitted it.
            return Judged { policy: None, outcome: Err(Denied::Failed) };
        };
        let counts = &self.counts[at].1;
        // Where no policy asks for it, the time is not looked at.
        let now = if asked.slice.reads.has_time() { clock.now() } else { Timestamp::from_secs(0) };
        let (policies, question) = (&self.resource.policies, self.question + at as u32);
        let lasting = session.filter(|_| !asked.slice.reads.differs_each_time());
        if let Some(kept) = lasting.and_then(|session| session.memo().get(policies.number, question, now)) {
            return self.answer(counts, unpack(kept));
        }
        let person = session.map_or_else(Person::anonymous, Person::from);
        let decision = if asked.slice.reads.differs_each_time() {
            worst(readings(now).iter().map(|reading| self.resource.decide(asked, &person, reading)))
        } else {
            self.ask(asked, &person, now)
        };
        if let (Some(session), Some(answer)) = (lasting, pack(&decision)) {
            let at = asked.slice.reads.has_time().then_some(now);
            session.memo().put(policies.number, question, answer, at);
        }
        self.answer(counts, decision)
    }

    /// Asks about a person, of whom nothing of the request matters; or knows what was said about people who are alike.
    fn ask(&self, asked: &Asked, person: &Person<'_>, now: Timestamp) -> Decision {
        let kind = asked.alike.as_ref().and_then(|alike| Some((alike, alike.kind(person)?)));
        if let Some(kept) = kind.as_ref().and_then(|(alike, kind)| alike.get(kind)) {
            return unpack(kept);
        }
        let decision = self.resource.decide(asked, person, &Circumstances::at(now));
        if let (Some((alike, kind)), Some(answer)) = (kind, pack(&decision)) {
            alike.put(kind, answer);
        }
        decision
    }

    fn answer(&self, counts: &Counts, decision: Decision) -> Judged {
        let policy = decision.policy().and_then(|at| self.resource.policies.name(at)).cloned();
        let (counter, outcome) = match decision {
            Decision::Permit(_) => (&counts.permit, Ok(Permit(()))),
            Decision::Deny(_) => (&counts.deny, Err(Denied::Denied)),
            Decision::StepUp(_, step_up) => (&counts.step_up, Err(Denied::StepUp(step_up))),
            Decision::Error(_) => (&counts.error, Err(Denied::Failed)),
        };
        counter.inc();
        Judged { policy, outcome }
    }
}

/// The first that is no permit; of permits the first. Without a reading there is nothing to permit.
fn worst(decisions: impl Iterator<Item = Decision>) -> Decision {
    let mut permit = None;
    for decision in decisions {
        match decision {
            Decision::Permit(_) => drop(permit.get_or_insert(decision)),
            other => return other,
        }
    }
    permit.unwrap_or(Decision::Error(None))
}

/// A decision as a session remembers it: two bits for the kind, the rest for the policy. `None`: it is not remembered, for it is more than that.
fn pack(decision: &Decision) -> Option<u32> {
    let kind = match decision {
        Decision::Permit(_) => 0,
        Decision::Deny(_) => 1,
        Decision::Error(_) => 2,
        Decision::StepUp(..) => return None,
    };
    let policy = decision.policy().map_or(Some(0), |at| u32::try_from(at + 1).ok())?;
    Some(policy.checked_mul(4)? | kind)
}

fn unpack(kept: u32) -> Decision {
    let policy = (kept / 4).checked_sub(1).map(|at| at as usize);
    match kept % 4 {
        0 => Decision::Permit(policy),
        1 => Decision::Deny(policy),
        _ => Decision::Error(policy),
    }
}

impl Counts {
    fn new(metrics: &Metrics, action: Action, resource: &str) -> Self {
        let counter = |decision: &str| metrics.policy_decisions.with_label_values(&[action.name(), resource, decision]);
        Self { permit: counter("permit"), deny: counter("deny"), step_up: counter("step_up"), error: counter("error") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_decision_is_the_same() {
        for policy in [None, Some(0), Some(1), Some(1 << 20)] {
            for decision in [Decision::Permit(policy), Decision::Deny(policy), Decision::Error(policy)] {
                assert_eq!(unpack(pack(&decision).unwrap()), decision);
            }
        }
        assert_eq!(pack(&Decision::Permit(Some(usize::MAX - 1))), None);
    }

    #[test]
    fn of_several_readings_the_first_that_is_not_permitted_decides() {
        let of = |decisions: &[Decision]| worst(decisions.iter().cloned());
        let (permit, deny, error) = (Decision::Permit(Some(1)), Decision::Deny(Some(2)), Decision::Error(None));
        assert_eq!(of(&[permit.clone(), Decision::Permit(Some(3))]), permit);
        assert_eq!(of(&[permit.clone(), deny.clone(), error.clone()]), deny);
        assert_eq!(of(&[error.clone(), permit]), error);
        assert_eq!(of(&[]), error);
    }
}
