//! One question to Cedar, and what its answer means here.

use cedar_policy::{AuthorizationError, Authorizer, Entities, Entity, EntityUid, PolicyId, Request, Response};

use super::Policies;
use super::entity::{self, Circumstances, Names, NotCedar, Person, Types};
use super::slice::Slice;
use crate::session::StepUp;

/// What a set of policies says to one question. The numbers are places in the set: of the policies that decided, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A `permit` matches, and no `forbid`.
    Permit(Option<usize>),
    /// A `forbid` matches, or no `permit` does.
    Deny(Option<usize>),
    /// But for the policies that ask for a step-up the answer were permit.
    StepUp(usize, StepUp),
    /// A policy failed in evaluation.
    Error(Option<usize>),
}

impl Decision {
    /// The label of `valet_policy_decisions_total`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Permit(_) => "permit",
            Self::Deny(_) => "deny",
            Self::StepUp(..) => "step_up",
            Self::Error(_) => "error",
        }
    }

    /// The place of the policy that decided; `None`: none did, and the default denies.
    pub const fn policy(&self) -> Option<usize> {
        match self {
            Self::Permit(policy) | Self::Deny(policy) | Self::Error(policy) => *policy,
            Self::StepUp(policy, _) => Some(*policy),
        }
    }
}

/// What is asked about.
pub(super) struct Question<'a> {
    pub types: &'a Types,
    pub action: &'a EntityUid,
    pub resource: &'a EntityUid,
    /// Action and resource with what they are in.
    pub entities: &'a [Entity],
}

impl Question<'_> {
    /// Asks the policies of the slice.
    pub fn ask(
        &self,
        policies: &Policies,
        slice: &Slice,
        person: &Person<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Decision {
        let names = self.types.names(person);
        let asked = self.request(slice, person, &names, circumstances);
        // What Cedar does not take as a question, nobody has permitted.
        let Ok((request, entities)) = asked else { return Decision::Error(None) };
        let authorizer = Authorizer::new();
        let mut said = Said::default();
        for part in slice.concerning(&names) {
            said.add(&authorizer.is_authorized(&request, part, &entities));
        }
        let Said { failed, mut permits, forbidden, mut forbids } = said;
        if let Some(first) = failed.into_iter().min() {
            return Decision::Error(first);
        }
        permits.sort_unstable();
        forbids.sort_unstable();
        if let (Some(first), false) = (permits.first(), forbidden) {
            return Decision::Permit(Some(*first));
        }
        let demands: Option<Vec<&StepUp>> =
            forbids.iter().map(|at| policies.policies.get(*at)?.step_up.as_ref()).collect();
        if let (Some(first), Some(demands), Some(others)) = (forbids.first(), demands, &slice.without_step_up)
            && authorizer.is_authorized(&request, others, &entities).decision() == cedar_policy::Decision::Allow
            && let Some(step_up) = together(&demands)
        {
            return Decision::StepUp(*first, step_up);
        }
        Decision::Deny(forbids.first().copied())
    }

    fn request(
        &self,
        slice: &Slice,
        person: &Person<'_>,
        names: &Names,
        circumstances: &Circumstances<'_>,
    ) -> Result<(Request, Entities), NotCedar> {
        let user = self.types.user(person, names, slice.reads)?;
        let context = entity::context(circumstances, slice.reads)?;
        let request = Request::new(user.uid(), self.action.clone(), self.resource.clone(), context, None);
        let entities = Entities::from_entities([user].into_iter().chain(self.entities.iter().cloned()), None);
        Ok((request.map_err(|_| NotCedar)?, entities.map_err(|_| NotCedar)?))
    }
}

/// What the parts of a slice say to one question. Together they say what the whole would: a policy that fails denies, and a `forbid` wins.
#[derive(Default)]
struct Said {
    failed: Vec<Option<usize>>,
    permits: Vec<usize>,
    forbidden: bool,
    forbids: Vec<usize>,
}

impl Said {
    fn add(&mut self, response: &Response) {
        let diagnostics = response.diagnostics();
        self.failed.extend(diagnostics.errors().map(|fault| match fault {
            AuthorizationError::PolicyEvaluationError(fault) => place(fault.policy_id()),
        }));
        match response.decision() {
            cedar_policy::Decision::Allow => self.permits.extend(diagnostics.reason().filter_map(place)),
            // Where no `forbid` matches, it gives no reason.
            cedar_policy::Decision::Deny => {
                self.forbidden |= diagnostics.reason().next().is_some();
                self.forbids.extend(diagnostics.reason().filter_map(place));
            }
        }
    }
}

/// All `acr` values in order, each once; the shortest of the ages.
fn together(demands: &[&StepUp]) -> Option<StepUp> {
    let mut values: Vec<&str> = Vec::new();
    for value in demands.iter().flat_map(|demand| demand.acr_values.split(' ')) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    StepUp::new(&values.join(" "), demands.iter().filter_map(|demand| demand.max_age).min())
}

/// Under which id Cedar knows the policy at this place.
pub(super) fn id(place: usize) -> PolicyId {
    PolicyId::new(place.to_string())
}

fn place(id: &PolicyId) -> Option<usize> {
    AsRef::<str>::as_ref(id).parse().ok()
}

impl Policies {
    /// The name of the policy that decided.
    pub fn decisive(&self, decision: &Decision) -> Option<&str> {
        decision.policy().and_then(|at| self.name(at)).map(|name| &**name)
    }
}
