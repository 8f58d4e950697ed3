//! The policies that can have a say about one action on one resource: the others need not be asked each time.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, PolicySet, PrincipalConstraint, ResourceConstraint};

use super::entity::Names;
use super::reads::Reads;
use super::{Policies, Policy};

/// A part of a set.
#[derive(Debug)]
pub(super) struct Slice {
    /// The policies that may have a say about anybody.
    anybody: PolicySet,
    /// The policies whose scope names one person or group, by that name: they have no say about anybody else.
    of: HashMap<EntityUid, PolicySet>,
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
        // Not reached as far as we know, for the ids come from one set; but without a part that forbids, no other part may permit.
        let nothing =
            || Self { anybody: PolicySet::new(), of: HashMap::new(), without_step_up: None, reads: Reads::default() };
        Self::of(policies, indexes).unwrap_or_else(nothing)
    }

    fn of(policies: &Policies, indexes: &[usize]) -> Option<Self> {
        let chosen = || indexes.iter().filter_map(|index| policies.policies.get(*index));
        let set = |chosen: &mut dyn Iterator<Item = &Policy>| {
            PolicySet::from_policies(chosen.map(|policy| policy.cedar.clone())).ok()
        };
        let has_step_up = chosen().any(|policy| policy.step_up.is_some());
        let mut of: HashMap<EntityUid, Vec<&Policy>> = HashMap::new();
        for policy in chosen() {
            if let Some(name) = named(&policy.cedar) {
                of.entry(name).or_default().push(policy);
            }
        }
        let of = of.into_iter().map(|(name, policies)| Some((name, set(&mut policies.into_iter())?)));
        let others = || set(&mut chosen().filter(|policy| policy.step_up.is_none()));
        Some(Self {
            anybody: set(&mut chosen().filter(|policy| named(&policy.cedar).is_none()))?,
            of: of.collect::<Option<_>>()?,
            without_step_up: if has_step_up { Some(others()?) } else { None },
            reads: chosen().fold(Reads::default(), |reads, policy| reads | policy.reads),
        })
    }

    /// All policies that may have a say about this person, in parts that have none in common.
    pub fn concerning<'s>(&'s self, names: &'s Names) -> impl Iterator<Item = &'s PolicySet> {
        let names = std::iter::once(&names.own).chain(&names.groups);
        std::iter::once(&self.anybody).chain(names.filter_map(|name| self.of.get(name)))
    }
}

/// The one person or group that the policy's scope names. Groups are in no groups, so nobody else is in it.
fn named(policy: &cedar_policy::Policy) -> Option<EntityUid> {
    match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        PrincipalConstraint::In(name) | PrincipalConstraint::Eq(name) | PrincipalConstraint::IsIn(_, name) => {
            Some(name)
        }
    }
}
