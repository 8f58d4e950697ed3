//! The Cedar schema that policies are checked against.

use std::fmt::Write;

use super::settings::{ClaimType, ClaimsFile};

/// The namespace of everything in the schema.
pub(super) const NAMESPACE: &str = "Valet";

/// The schema, in Cedar's own language, with the claims that `claims.toml` declares.
pub fn text(claims: &ClaimsFile) -> String {
    let mut declared = String::new();
    for (name, settings) in &claims.claims {
        let kind = match settings.kind() {
            ClaimType::String => "String",
            ClaimType::Integer => "Long",
            ClaimType::Boolean => "Bool",
            ClaimType::Set => "Set<String>",
        };
        let _ = write!(declared, "\n      {}?: {kind},", quoted(name));
    }
    let claims = if declared.is_empty() { "{}".to_owned() } else { format!("{{{declared}\n    }}") };
    format!(
        r#"namespace {NAMESPACE} {{
  // A value of the claim that `groups` of claims.toml names.
  entity Group;

  // Who asks: the id is the issuer, one space, the subject; "anonymous" without a session.
  entity User in [Group] {{
    issuer: String,
    subject: String,
    session?: String,
    acr?: String,
    amr: Set<String>,
    scopes: Set<String>,
    auth_time?: datetime,
    issued_at?: datetime,
    // What claims.toml declares.
    claims: {claims},
  }};

  entity Provider;
  entity Plugin in [Provider];
  entity App;

  // What the gateway knows of a request. The path is percent-decoded, the host in lower case and without a port.
  type Request = {{
    method: String,
    path: String,
    host: String,
    language?: String,
    address: ipaddr,
    now: datetime,
  }};

  // What a minter knows of an edge's ask. The reason is "open", "renew" or "ahead".
  type Ask = {{
    edge: String,
    reason: String,
    now: datetime,
  }};

  action "use";
  // GET or HEAD of a plug-in; POST of it.
  action "open", "renew" in ["use"] appliesTo {{ principal: User, resource: Plugin, context: Request }};
  // On a minter.
  action "mint" in ["use"] appliesTo {{ principal: User, resource: Plugin, context: Ask }};
  // A request to an app.
  action "reach" appliesTo {{ principal: User, resource: App, context: Request }};
}}
"#
    )
}

/// A name as Cedar writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.escape_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_cedars_with_any_declared_claims() {
        let claims: ClaimsFile = toml::from_str(
            "groups = \"groups\"\n[claims]\nemail = \"string\"\nlevel = \"integer\"\nstaff = \"boolean\"\nroles = \"set\"\n\
             \"https://example.com/a \\\"b\\\" é\" = { claim = \"/a/b\", type = \"string\" }",
        )
        .unwrap();
        for claims in [ClaimsFile::default(), claims] {
            let text = text(&claims);
            let (_, warnings) = cedar_policy::Schema::from_cedarschema_str(&text).unwrap();
            assert_eq!(warnings.count(), 0);
        }
    }
}
