//! The custom resource definitions of our types, as an API server takes them.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::NodeNetwork;

/// File name (below `manifests/crds`) and definition of every type of ours.
///
/// What the derived schema has and the API server has no use for is left out: Rust's number formats, which it does not know
/// and warns about, and defaults, which would come back with every object.
///
/// # Errors
/// When a definition cannot be put as JSON, which no value of it can cause.
pub fn definitions() -> serde_json::Result<Vec<(&'static str, Value)>> {
    let mut node_network = serde_json::to_value(NodeNetwork::crd())?;
    tidy(&mut node_network);
    Ok(vec![("nodenetworks.yaml", node_network)])
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A property may be called like a keyword of the schema: only texts are formats and descriptions.
            if fields.get("format").is_some_and(Value::is_string) {
                fields.insert("format".into(), "int64".into());
            }
            if fields.get("type").is_some_and(Value::is_string) {
                fields.remove("default");
            }
            if fields.get("minimum").and_then(Value::as_f64) == Some(0.0) {
                fields.insert("minimum".into(), 0.into());
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = plain(text);
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Without the marks of links to other Rust items, and on one line.
fn plain(text: &str) -> String {
    text.replace("[`", "").replace("`]", "").replace('`', "").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything below a value, itself included.
    fn all(value: &Value) -> Vec<&Value> {
        let below: Vec<&Value> = match value {
            Value::Object(fields) => fields.values().collect(),
            Value::Array(items) => items.iter().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
        };
        std::iter::once(value).chain(below.into_iter().flat_map(all)).collect()
    }

    #[test]
    fn the_schema_is_structural_and_prunes_no_field_of_the_status() {
        let (_, crd) = definitions().unwrap().remove(0);
        assert_eq!(crd["metadata"]["name"], "nodenetworks.tideway.dev");
        assert_eq!(crd["spec"]["scope"], "Cluster");
        let version = &crd["spec"]["versions"][0];
        assert!(version["subresources"]["status"].is_object());
        let schema = &version["schema"]["openAPIV3Schema"];
        for part in all(schema) {
            for banned in ["$ref", "oneOf", "definitions", "default"] {
                assert!(part.get(banned).is_none(), "{banned} in {part}");
            }
            assert!(part.get("format").is_none_or(|f| f == "int64"), "{part}");
        }
        let status = serde_json::to_value(crate::NodeNetworkStatus::default()).unwrap();
        check(&status, &schema["properties"]["status"], "status");
    }

    /// Every key of the value is a property of the schema.
    fn check(value: &Value, schema: &Value, path: &str) {
        for (key, inner) in value.as_object().into_iter().flatten() {
            let property = &schema["properties"][key];
            assert!(property["type"].is_string(), "{path}.{key} is not in the schema: {schema}");
            check(inner, property, &format!("{path}.{key}"));
        }
    }
}
