//! One plug-in or app as policies see it, with the policies that can have a say about each action on it.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Entity, EntityUid};

use super::alike::Alike;
use super::entity::{Circumstances, Person, uid};
use super::evaluate::{Decision, Question};
use super::slice::{Slice, Subject};
use super::{Action, Policies};

/// What is opened.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A plug-in, and its provider.
    Plugin(&'a str, &'a str),
    /// An app.
    App(&'a str),
}

/// A resource bound to a set of policies.
#[derive(Debug)]
pub(super) struct Resource {
    pub policies: Arc<Policies>,
    uid: EntityUid,
    actions: Vec<Asked>,
}

/// One action on it.
#[derive(Debug)]
pub(super) struct Asked {
    pub action: Action,
    uid: EntityUid,
    /// Action and resource, with what they are in.
    entities: Vec<Entity>,
    pub slice: Arc<Slice>,
    /// What was said about people who are alike, where it is the same for all of them.
    pub alike: Option<Alike>,
}

/// Slices by the policies in them: most resources share theirs.
pub(super) type Slices = HashMap<Vec<usize>, Arc<Slice>>;

impl Resource {
    pub fn new(policies: &Arc<Policies>, target: Target<'_>, slices: &mut Slices) -> Self {
        let types = &policies.types;
        let (own, parent, actions): (_, _, &[Action]) = match target {
            Target::Plugin(name, provider) => (
                uid(&types.plugin, name),
                Some(uid(&types.provider, provider)),
                &[Action::Open, Action::Renew, Action::Mint],
            ),
            Target::App(name) => (uid(&types.app, name), None, &[Action::Reach]),
        };
        let parents: Vec<EntityUid> = parent.into_iter().collect();
        let resource = Entity::new_no_attrs(own.clone(), parents.iter().cloned().collect());
        let asked = |action: &Action| {
            let name = uid(&types.action, action.name());
            let group = uid(&types.action, "use");
            let groups: &[EntityUid] = if *action == Action::Reach { &[] } else { std::slice::from_ref(&group) };
            let subject = Subject { action: &name, action_groups: groups, resource: &own, resource_parents: &parents };
            let chosen = subject.select(policies);
            let alike = Alike::new(chosen.iter().filter_map(|at| policies.policies.get(*at)));
            let slice =
                slices.entry(chosen).or_insert_with_key(|chosen| Arc::new(Slice::new(policies, chosen))).clone();
            let entities = vec![Entity::new_no_attrs(name.clone(), groups.iter().cloned().collect()), resource.clone()];
            Asked { action: *action, uid: name, entities, slice, alike }
        };
        let actions = actions.iter().map(asked).collect();
        Self { policies: policies.clone(), uid: own, actions }
    }

    /// `None`: the action is none for this resource.
    pub fn asked(&self, action: Action) -> Option<&Asked> {
        self.actions.iter().find(|asked| asked.action == action)
    }

    /// The policies' answer.
    pub fn decide(&self, asked: &Asked, person: &Person<'_>, circumstances: &Circumstances<'_>) -> Decision {
        let question = Question {
            types: &self.policies.types,
            action: &asked.uid,
            resource: &self.uid,
            entities: &asked.entities,
        };
        question.ask(&self.policies, &asked.slice, person, circumstances)
    }
}
