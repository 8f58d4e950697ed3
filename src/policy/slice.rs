//! The policies that can have a say about one action on one resource: the others need not be asked each time.

use cedar_policy::{ActionConstraint, EntityUid, PolicySet, ResourceConstraint};

use super::reads::Reads;
use super::{Policies, Policy};

/// A part of a set.
#[derive(Debug)]
pub(super) struct Slice {
    pub all: PolicySet,
    /// Without those that ask for a step-up, where there are any.
    pub without_step_up: Option<PolicySet>,
    pub reads: Reads,
}

/// What a question is about, with the entities that each is in.
pub(super) struct Subject<'a> {
    pub action: &'a EntityUid,
    pub action_groups: &'a [EntityUid],
    pub resource: &'a EntityUid,
    pub resource_parents: &'a [EntityUid],
}

impl Subject<'_> {
    /// Whether a policy's scope lets it have a say. Cedar looks at the scope first: of one that has none, no condition is evaluated, and none fails.
    fn concerns(&self, policy: &cedar_policy::Policy) -> bool {
        let action_in = |uid: &EntityUid| uid == self.action || self.action_groups.contains(uid);
        let resource_in = |uid: &EntityUid| uid == self.resource || self.resource_parents.contains(uid);
        let action = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::In(uids) => uids.iter().any(action_in),
            ActionConstraint::Eq(uid) => uid == *self.action,
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::In(uid) => resource_in(&uid),
            ResourceConstraint::Eq(uid) => uid == *self.resource,
            ResourceConstraint::Is(kind) => kind == *self.resource.type_name(),
            ResourceConstraint::IsIn(kind, uid) => kind == *self.resource.type_name() && resource_in(&uid),
        };
        action && resource
    }

    /// The places of the policies that have a say.
    pub fn select(&self, policies: &Policies) -> Vec<usize> {
        let concerned = policies.policies.iter().enumerate().filter(|(_, policy)| self.concerns(&policy.cedar));
        concerned.map(|(index, _)| index).collect()
    }
}

impl Slice {
    /// The part with these policies.
    pub fn new(policies: &Policies, indexes: &[usize]) -> Self {
        let chosen = || indexes.iter().filter_map(|index| policies.policies.get(*index));
        let set = |chosen: &mut dyn Iterator<Item = &Policy>| {
            // Their ids differ: they come from one set.
            PolicySet::from_policies(chosen.map(|policy| policy.cedar.clone())).unwrap_or_default()
        };
        let has_step_up = chosen().any(|policy| policy.step_up.is_some());
        Self {
            all: set(&mut chosen()),
            without_step_up: has_step_up.then(|| set(&mut chosen().filter(|policy| policy.step_up.is_none()))),
            reads: chosen().fold(Reads::default(), |reads, policy| reads | policy.reads),
        }
    }
}
