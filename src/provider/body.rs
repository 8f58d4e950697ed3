//! A JSON body with `{…}` values in its strings.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;

use super::template::{Template, Unfit, Values};

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
    /// Reads `json`, which is a table. Names of members are taken as they are.
    pub(super) fn compile(json: &Json, fault: &mut impl FnMut(&str, &str)) -> Option<Self> {
        match node("json", json, 0, fault)? {
            Node::Object(members) => Some(Self(members)),
            Node::Text(_) | Node::List(_) | Node::Plain(_) => {
                fault("json", "expected a table");
                None
            }
        }
    }

    /// The body's bytes. A member whose value is absent is left out.
    pub(super) fn fill(&self, values: &Values<'_>) -> Result<Bytes, Unfit> {
        let json = Json::Object(fill_members(&self.0, values)?);
        serde_json::to_vec(&json).map(Bytes::from).map_err(|_| Unfit)
    }
}

fn node(key: &str, json: &Json, depth: usize, fault: &mut impl FnMut(&str, &str)) -> Option<Node> {
    if depth > MAX_DEPTH {
        fault("json", "nested too deep");
        return None;
    }
    match json {
        Json::String(text) => Template::parse(text).map_err(|message| fault(key, message)).map(Node::Text).ok(),
        // All of them are read, so that every fault is named.
        Json::Array(list) => {
            let nodes: Vec<_> = list.iter().map(|json| node(key, json, depth + 1, fault)).collect();
            nodes.into_iter().collect::<Option<_>>().map(Node::List)
        }
        Json::Object(members) => {
            if members.keys().any(|name| name.starts_with("$__toml_private")) {
                fault(key, "JSON knows no dates; write it as a string");
                return None;
            }
            let nodes: Vec<_> = members
                .iter()
                .map(|(name, json)| Some((name.clone(), node(&format!("{key}.{name}"), json, depth + 1, fault)?)))
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
        Node::Text(template) => template.fill_plain(values)?.map(Json::String),
        Node::Object(members) => Some(Json::Object(fill_members(members, values)?)),
        Node::List(nodes) => {
            let filled: Result<Vec<_>, _> = nodes.iter().map(|node| fill(node, values)).collect();
            Some(Json::Array(filled?.into_iter().flatten().collect()))
        }
        Node::Plain(json) => Some(json.clone()),
    })
}
