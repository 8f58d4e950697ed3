//! The JSON schema of the file, which editors complete and check by.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::Config;

/// The schema (JSON Schema draft 7, which TOML editors know best). `docs/valet.schema.json` is this, kept true by a test.
pub fn schema() -> Value {
    schema_of::<Config>()
}

/// The schema of a settings type.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with_transform(Plain);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// TOML has no null: an optional key is left out. And a choice of one key says at the key what it is.
#[derive(Clone, Debug)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".into(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| *choice != json!({ "type": "null" }));
            if let [only] = choices.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                schema.insert("allOf".into(), json!([only]));
            }
        }
        if let Some(description) = schema.get("description").cloned()
            && let Some(Value::Object(properties)) = schema.get_mut("properties")
            && properties.len() == 1
        {
            for property in properties.values_mut().filter_map(Value::as_object_mut) {
                property.entry("description").or_insert(description.clone());
            }
        }
        transform_subschemas(self, schema);
    }
}
