//! Texts → a checked set, or every fault of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};

use super::alike::Named;
use super::annotation;
use super::entity::Types;
use super::evaluate;
use super::fault::Fault;
use super::nesting;
use super::reads::Reads;
use super::schema;
use super::settings::ClaimsFile;
use super::{Policies, Policy};

/// A longer policy is generated: nobody reviews it.
const MAX_POLICY_BYTES: usize = 32 * 1024;

/// More policies than that are no set that people review.
const MAX_POLICIES: usize = 10_000;

/// One file of policies.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, relative to the directory.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// What came of the texts.
#[derive(Debug)]
pub struct Compiled {
    /// The set, if there is no fault.
    pub policies: Option<Policies>,
    /// Every fault, in the order of the files and lines.
    pub faults: Vec<Fault>,
    /// What is worth a look.
    pub warnings: Vec<Fault>,
}

/// What a configuration has: policies about anything else are worth a look.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Each plug-in (on a minter, each name that an edge may ask for) with its provider.
    pub plugins: BTreeMap<String, String>,
    /// The providers.
    pub providers: BTreeSet<String>,
    /// The apps.
    pub apps: BTreeSet<String>,
}

/// A policy that was read, and where.
struct Read<'s> {
    source: &'s Source,
    offset: usize,
    policy: cedar_policy::Policy,
}

/// Reads and checks the policies. `sources` in the order of their names. `claims`: `None` where they are faulty themselves; then what
/// the policies do with claims is not checked, and there is no set. `inventory`: what the configuration has, if there is one.
pub fn compile(sources: &[Source], claims: Option<&ClaimsFile>, inventory: Option<&Inventory>) -> Compiled {
    let mut compiled = Compiled { policies: None, faults: Vec::new(), warnings: Vec::new() };
    let mut read = Vec::new();
    for source in sources {
        parse(source, &mut read, &mut compiled.faults);
    }
    if read.len() > MAX_POLICIES {
        let Read { source, offset, .. } = &read[MAX_POLICIES];
        compiled.faults.push(Fault::new(&source.file, *offset, format!("more than {MAX_POLICIES} policies")));
        return compiled;
    }
    let known = describe(&read, &mut compiled.faults);
    match claims {
        Some(claims) => validate(&read, claims, &mut compiled.faults, &mut compiled.warnings),
        None => {
            let mut found = Vec::new();
            validate(&read, &ClaimsFile::default(), &mut found, &mut Vec::new());
            // That a claim is not declared may be the fault of the file that declares them.
            compiled.faults.extend(found.into_iter().filter(|fault| !fault.message.contains("claims")));
        }
    }
    if let Ok(types) = Types::new() {
        let warn = |read: &Read<'_>, warnings: &mut Vec<Fault>| {
            inventory.into_iter().for_each(|inventory| strangers(read, inventory, &types, warnings));
            claims.into_iter().for_each(|claims| groupless(read, claims, &types, warnings));
        };
        read.iter().for_each(|read| warn(read, &mut compiled.warnings));
    }
    let order: BTreeMap<&str, usize> =
        sources.iter().enumerate().map(|(at, source)| (source.file.as_str(), at)).collect();
    for found in [&mut compiled.faults, &mut compiled.warnings] {
        found.sort_by_key(|fault| (order.get(fault.file.as_str()).copied(), fault.offset));
        found.dedup();
    }
    if let (Some(claims), true) = (claims, compiled.faults.is_empty()) {
        match finish(&read, known, claims) {
            Some(policies) => compiled.policies = Some(policies),
            // Not reached as far as we know; but nothing unchecked is in force.
            None => compiled.faults.push(Fault::new("", 0, "the policies can't be put together")),
        }
    }
    compiled
}

/// The policies of one file, in the order of its lines; or what is wrong with it.
fn parse<'s>(source: &'s Source, read: &mut Vec<Read<'s>>, faults: &mut Vec<Fault>) {
    let file = &source.file;
    if let Some((offset, message)) = nesting::too_deep(&source.text) {
        return faults.push(Fault::new(file, offset, message));
    }
    let set: PolicySet = match source.text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: &cedar_policy::ParseErrors = &errors;
            return faults.extend(errors.iter().map(|error| Fault::of(file, 0, error)));
        }
    };
    for template in set.templates() {
        let offset = template.as_ref().loc().map_or(0, |loc| loc.start());
        faults.push(Fault::new(
            file,
            offset,
            "a template (?principal, ?resource): nothing would fill it in; write the policy out",
        ));
    }
    let mut own = Vec::new();
    for policy in set.policies() {
        let (offset, end) = policy.as_ref().loc().map_or((0, 0), |loc| (loc.start(), loc.end()));
        if end - offset > MAX_POLICY_BYTES {
            faults.push(Fault::new(file, offset, "a policy of more than 32 KiB; write several"));
            continue;
        }
        own.push(Read { source, offset, policy: policy.clone() });
    }
    own.sort_by_key(|read| read.offset);
    for mut policy in own {
        policy.policy = policy.policy.new_id(evaluate::id(read.len()));
        read.push(policy);
    }
}

/// Name, demand and attributes of each, in their order.
fn describe(read: &[Read<'_>], faults: &mut Vec<Fault>) -> Vec<(Arc<str>, Option<crate::session::StepUp>)> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut known = Vec::with_capacity(read.len());
    for Read { source, offset, policy } in read {
        let place = format!("{}:{}", source.file, line(&source.text, *offset));
        let annotations = match annotation::read(policy) {
            Ok(annotations) => annotations,
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|message| Fault::new(&source.file, *offset, message)));
                continue;
            }
        };
        if let Some(id) = &annotations.id
            && let Some(earlier) = seen.insert(id.clone(), place.clone())
        {
            faults.push(Fault::new(&source.file, *offset, format!("@id({id:?}) stands at {earlier} already")));
        }
        known.push((annotations.id.unwrap_or(place).into(), annotations.step_up));
    }
    known
}

/// Checks the policies against the schema, strictly.
fn validate(read: &[Read<'_>], claims: &ClaimsFile, faults: &mut Vec<Fault>, warnings: &mut Vec<Fault>) {
    let schema = match Schema::from_cedarschema_str(&schema::text(claims)) {
        Ok((schema, _)) => schema,
        Err(fault) => return faults.push(Fault::new("claims.toml", 0, format!("makes no schema: {fault}"))),
    };
    let set = match PolicySet::from_policies(read.iter().map(|read| read.policy.clone())) {
        Ok(set) => set,
        Err(fault) => return faults.push(Fault::new("", 0, fault.to_string())),
    };
    let place = |id: &cedar_policy::PolicyId| {
        let at = AsRef::<str>::as_ref(id).parse::<usize>().ok();
        at.and_then(|at| read.get(at)).map_or(("", 0), |read| (read.source.file.as_str(), read.offset))
    };
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let (file, offset) = place(error.policy_id());
        faults.push(Fault::of(file, offset, error));
    }
    for warning in result.validation_warnings() {
        let (file, offset) = place(warning.policy_id());
        warnings.push(Fault::of(file, offset, warning));
    }
}

/// What the policy names and the configuration lacks.
fn strangers(read: &Read<'_>, inventory: &Inventory, types: &Types, warnings: &mut Vec<Fault>) {
    for uid in read.policy.entity_literals() {
        let name = AsRef::<str>::as_ref(uid.id()).to_owned();
        let (kind, there) = match uid.type_name() {
            kind if *kind == types.plugin => ("plug-in", inventory.plugins.contains_key(&name)),
            kind if *kind == types.provider => ("provider", inventory.providers.contains(&name)),
            kind if *kind == types.app => ("app", inventory.apps.contains(&name)),
            _ => continue,
        };
        if !there {
            let message = format!("the configuration has no {kind} {name:?}: this policy never concerns one");
            warnings.push(Fault::new(&read.source.file, read.offset, message));
        }
    }
}

/// That nobody is in the group that the policy names: no claim says who is.
fn groupless(read: &Read<'_>, claims: &ClaimsFile, types: &Types, warnings: &mut Vec<Fault>) {
    if claims.groups.is_none() && read.policy.entity_literals().iter().any(|uid| *uid.type_name() == types.group) {
        let message = "claims.toml has no `groups`, the claim that says who is in a group: nobody is in this one";
        warnings.push(Fault::new(&read.source.file, read.offset, message));
    }
}

fn finish(
    read: &[Read<'_>],
    known: Vec<(Arc<str>, Option<crate::session::StepUp>)>,
    claims: &ClaimsFile,
) -> Option<Policies> {
    /// 0 is the decider of no decision.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let types = Types::new().ok()?;
    let policy = |(read, (name, step_up)): (&Read<'_>, (Arc<str>, Option<crate::session::StepUp>))| Policy {
        name,
        named: Named::of(&read.policy, &types),
        step_up,
        // Without its tree it is taken to read everything.
        reads: read.policy.to_json().map_or(Reads::ALL, |tree| Reads::of(&tree)),
        cedar: read.policy.clone(),
    };
    Some(Policies {
        number: NEXT.fetch_add(1, Ordering::Relaxed),
        policies: read.iter().zip(known).map(policy).collect(),
        questions: AtomicU32::new(0),
        claims: claims.claims(),
        types,
    })
}

/// The line of an offset, from 1.
fn line(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
