//! XML of the EC2 query API, made from the JSON values of the actions: a field is an element, a list is its `<item>`s,
//! null is left out.

use std::fmt::Write;

use serde_json::Value;

use crate::cloud::error::ApiError;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The answer of an action; the value holds the request's id already.
pub fn answer(action: &str, value: &Value) -> String {
    document(&format!("{action}Response"), NAMESPACE, value)
}

/// A document with this root.
pub fn document(root: &str, namespace: &str, value: &Value) -> String {
    let mut out = format!("{HEAD}<{root} xmlns=\"{namespace}\">");
    content(&mut out, value);
    out.extend(["</", root, ">"]);
    out
}

/// An error.
pub fn failure(error: &ApiError, request_id: &str) -> String {
    format!(
        "{HEAD}<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
         <RequestID>{}</RequestID></Response>",
        escaped(&error.code),
        escaped(&error.message),
        escaped(request_id)
    )
}

fn element(out: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    out.extend(["<", name, ">"]);
    content(out, value);
    out.extend(["</", name, ">"]);
}

fn content(out: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push_str(&escaped(text)),
        Value::Array(items) => items.iter().for_each(|item| element(out, "item", item)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| element(out, name, field)),
        // Writing to a string cannot fail.
        Value::Bool(_) | Value::Number(_) => write!(out, "{value}").unwrap_or_default(),
    }
}

/// Text that may stand in an element. What XML 1.0 cannot say at all becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A parser would make a line feed of it.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('?'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_become_items_and_nothing_becomes_no_element() {
        let value = json!({ "set": [{ "a": 1, "b": true, "c": null }, "x"], "none": [] });
        assert_eq!(
            answer("Do", &value).trim_start_matches(HEAD),
            "<DoResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><none></none><set><item><a>1</a><b>true</b>\
             </item><item>x</item></set></DoResponse>"
        );
    }

    #[test]
    fn text_of_a_client_cannot_break_out_of_its_element() {
        let value = json!({ "d": "</d><x a='&'>\u{1}中" });
        assert!(answer("Do", &value).contains("<d>&lt;/d&gt;&lt;x a='&amp;'&gt;?中</d>"));
        let error = ApiError::new(400, "C", "a<b");
        assert!(failure(&error, "r").contains("<Message>a&lt;b</Message>"));
    }
}
