//! A JSON body with `{…}` values in its strings.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;

use super::template::{Place, Template, Unfit, Values};

/// Deeper bodies are refused: the walk over them is recursive.
const MAX_DEPTH: usize = 32;

/// The members of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body(pub(super) BTreeMap<String, Node>);

/// A value in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(Template),
    Object(BTreeMap<String, Node>),
    List(Vec<Node>),
    /// A number, a boolean, null.
    Plain(Json),
}

/// Every string that is a template.
pub(super) fn texts<'a>(json: &'a Json, found: &mut Vec<&'a str>) {
    let mut waiting = vec![json];
    while let Some(json) = waiting.pop() {
        match json {
            Json::String(text) => found.push(text),
            Json::Array(list) => waiting.extend(list),
            Json::Object(members) => waiting.extend(members.values()),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

impl Body {
    /// Reads a table. Faults are named by `key` and below. Names of members are taken as they are.
    pub(super) fn compile(key: &str, json: &Json, place: Place, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        match node(key, json, (place.in_json(), 0), fault)? {
            Node::Object(members) => Some(Self(members)),
            Node::Text(_) | Node::List(_) | Node::Plain(_) => {
                fault(key, "expected a table");
                None
            }
        }
    }

    /// The body's bytes. A member whose value is absent is left out.
    pub(super) fn fill(&self, values: &Values<'_>) -> Result<Bytes, Unfit> {
        serde_json::to_vec(&Json::Object(self.members(values)?)).map(Bytes::from).map_err(|_| Unfit)
    }

    /// The members with their values.
    pub(super) fn members(&self, values: &Values<'_>) -> Result<serde_json::Map<String, Json>, Unfit> {
        fill_members(&self.0, values)
    }

    /// Every template in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let mut waiting: Vec<&Node> = self.0.values().collect();
        let mut found = Vec::new();
        while let Some(node) = waiting.pop() {
            match node {
                Node::Text(template) => found.push(template),
                Node::Object(members) => waiting.extend(members.values()),
                Node::List(nodes) => waiting.extend(nodes),
                Node::Plain(_) => {}
            }
        }
        found
    }
}

fn node(key: &str, json: &Json, (place, depth): (Place, usize), fault: &mut impl FnMut(&str, &str)) -> Option<Node> {
    let below = (place, depth + 1);
    if depth > MAX_DEPTH {
        fault(key, "nested too deep");
        return None;
    }
    match json {
        Json::String(text) => {
            Template::parse_for(text, place).map_err(|message| fault(key, message)).map(Node::Text).ok()
        }
        // All of them are read, so that every fault is named.
        Json::Array(list) => {
            let nodes: Vec<_> = list.iter().map(|json| node(key, json, below, fault)).collect();
            nodes.into_iter().collect::<Option<_>>().map(Node::List)
        }
        Json::Object(members) => {
            if members.keys().any(|name| name.starts_with("$__toml_private")) {
                fault(key, "JSON knows no dates; write it as a string");
                return None;
            }
            let nodes: Vec<_> = members
                .iter()
                .map(|(name, json)| Some((name.clone(), node(&format!("{key}.{name}"), json, below, fault)?)))
                .collect();
            nodes.into_iter().collect::<Option<_>>().map(Node::Object)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Some(Node::Plain(json.clone())),
    }
}

fn fill_members(members: &BTreeMap<String, Node>, values: &Values<'_>) -> Result<serde_json::Map<String, Json>, Unfit> {
    let mut filled = serde_json::Map::new();
    for (name, node) in members {
        if let Some(json) = fill(node, values)? {
            filled.insert(name.clone(), json);
        }
    }
    Ok(filled)
}

fn fill(node: &Node, values: &Values<'_>) -> Result<Option<Json>, Unfit> {
    Ok(match node {
        Node::Text(template) => template.fill_json(values)?,
        Node::Object(members) => Some(Json::Object(fill_members(members, values)?)),
        Node::List(nodes) => {
            let filled: Result<Vec<_>, _> = nodes.iter().map(|node| fill(node, values)).collect();
            Some(Json::Array(filled?.into_iter().flatten().collect()))
        }
        Node::Plain(json) => Some(json.clone()),
    })
}
