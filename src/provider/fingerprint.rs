//! A digest of everything that decides what a minted URL is, so that a changed recipe never finds a lease of the old one.

use aws_lc_rs::digest::{Context, SHA256};

use super::answer::{ExpiryRule, UrlRule, UsesRule};
use super::auth::Auth;
use super::body::Node;
use super::call::{CallTemplate, Content};
use super::recipe::{How, Parts};
use super::settings::AcceptIf;
use super::template::{Part, Template, TimeForm, Value};

/// SHA-256 over a canonical form: each text is preceded by its length, each list by its count, each choice by a tag.
pub(super) fn fingerprint(recipe: &Parts) -> [u8; 32] {
    let mut canon = Canon(Context::new(&SHA256));
    canon.text("valet recipe 1");
    canon.text(&recipe.base.origin());
    canon.text(&recipe.base.path);
    canon.auth(&recipe.auth);
    for name in &recipe.secret_headers {
        canon.tagged("secret header", name.as_str());
    }
    let hosts = recipe.redirect_hosts.canonical();
    canon.list(&hosts, |canon, host| canon.text(host));
    canon.list(recipe.register.as_slice(), |canon, register| {
        canon.call(&register.call);
        canon.list(&register.accept, |canon, status| canon.number((*status).into()));
        canon.accept_if(&register.accept_if);
    });
    canon.list(&recipe.mints, |canon, mint| {
        canon.text(&mint.name);
        canon.how(&mint.how);
        if mint.is_token {
            canon.text("token");
        }
        match &mint.url {
            UrlRule::Text => canon.text("text"),
            UrlRule::Json(pointer) => canon.tagged("json", pointer),
            UrlRule::Template(template) => {
                canon.text("address");
                canon.template(template);
            }
            UrlRule::Signed => canon.text("signed"),
        }
        match &mint.expires {
            ExpiryRule::Fixed => canon.text("fixed"),
            ExpiryRule::JwtPath => canon.text("jwt-path"),
            ExpiryRule::JwtFragment => canon.text("jwt-fragment"),
            ExpiryRule::Token => canon.text("token"),
            ExpiryRule::Signed => canon.text("signed"),
            ExpiryRule::Jwt(parameter) => canon.tagged("jwt", parameter),
            ExpiryRule::Json(pointer) => canon.tagged("json", pointer),
        }
        match &mint.uses {
            None => {}
            Some(UsesRule::Jwt(parameter, pointer)) => {
                canon.tagged("uses of jwt", parameter);
                canon.text(pointer);
            }
            Some(UsesRule::Token(pointer)) => canon.tagged("uses of token", pointer),
            Some(UsesRule::Json(pointer)) => canon.tagged("uses of json", pointer),
        }
        if !mint.accept_if.is_empty() {
            canon.text("accept_if");
            canon.accept_if(&mint.accept_if);
        }
    });
    let digest = canon.0.finish();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

struct Canon(Context);

impl Canon {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn tagged(&mut self, tag: &str, text: &str) {
        self.text(tag);
        self.text(text);
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn auth(&mut self, auth: &Auth) {
        match auth {
            Auth::Header(name, prefix) => {
                self.tagged("header", name.as_str());
                if !prefix.is_empty() {
                    self.tagged("prefix", prefix);
                }
            }
            Auth::Basic(user) => self.tagged("basic", user),
            Auth::Bearer => self.text("bearer"),
            Auth::None => self.text("none"),
            // They hold no secret.
            Auth::Token(_) | Auth::Hmac(_) | Auth::Sigv4(_) => self.tagged("auth", &format!("{auth:?}")),
            Auth::Query(name) => self.tagged("query", name),
        }
    }

    fn call(&mut self, call: &CallTemplate) {
        self.text(call.method.as_str());
        self.template(&call.path);
        self.list(&call.query, |canon, (name, template)| {
            canon.text(name);
            canon.template(template);
        });
        self.list(&call.headers, |canon, (name, template)| {
            canon.text(name.as_str());
            canon.template(template);
        });
        match &call.content {
            Content::None => self.text("none"),
            Content::Json(body) => self.members(&body.0),
            Content::Form(fields) => {
                self.text("form");
                self.list(fields, |canon, (name, template)| {
                    canon.text(name);
                    canon.template(template);
                });
            }
        }
    }

    fn members(&mut self, members: &std::collections::BTreeMap<String, Node>) {
        self.text("object");
        self.number(members.len() as u64);
        for (name, node) in members {
            self.text(name);
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text(template) => {
                self.text("text");
                self.template(template);
            }
            Node::Object(members) => self.members(members),
            Node::List(nodes) => {
                self.text("list");
                self.list(nodes, Self::node);
            }
            Node::Plain(json) => self.tagged("plain", &json.to_string()),
        }
    }

    fn template(&mut self, template: &Template) {
        self.list(template.parts(), |canon, part| match part {
            Part::Literal(text) => canon.tagged("literal", text),
            Part::Value(value) => canon.value(value),
        });
        if template.is_typed() {
            self.text("typed");
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Subject => self.text("subject"),
            Value::SubjectHash => self.text("subject_hash"),
            Value::Language => self.text("language"),
            Value::Claim { name, optional } => {
                self.tagged("claim", name);
                self.number((*optional).into());
            }
            Value::Param(name) => self.tagged("param", name),
            Value::Now(shift, form) => {
                self.tagged("now", &shift.to_string());
                self.text(match form {
                    TimeForm::Rfc3339 => "rfc3339",
                    TimeForm::Epoch => "epoch",
                    TimeForm::EpochMillis => "epoch_ms",
                });
            }
            Value::Seconds(seconds) => {
                self.text("seconds");
                self.number(*seconds);
            }
            Value::Register(pointer) => self.tagged("register", pointer),
            Value::Answer(pointer) => self.tagged("answer", pointer),
            Value::Jwt => self.text("jwt"),
            Value::BaseUrl => self.text("base_url"),
        }
    }

    fn how(&mut self, how: &How) {
        match how {
            How::Call(call) => self.call(call),
            How::Sign(jwt) => {
                self.tagged("sign", super::jwt::name(jwt.algorithm));
                self.members(&jwt.header.0);
                self.members(&jwt.claims.0);
            }
        }
    }

    fn accept_if(&mut self, rules: &[AcceptIf]) {
        self.list(rules, |canon, rule| {
            canon.number(rule.status.into());
            canon.text(&rule.body_contains);
        });
    }
}
