//! The policy of the role: what a caller may do, in the words of RAM and IAM.
//!
//! As much of the language as an ENI daemon's policy needs: statements that allow, actions and resources with `*`, and the
//! conditions `Null` and `StringEquals`. A document with anything else is refused when it is read, since a rule that is
//! passed over would make the judge mild. A condition on a key that a call does not have finds it absent, as in the clouds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::asked::Asked;

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Policy {
    version: String,
    statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    effect: Effect,
    action: Texts,
    resource: Texts,
    #[serde(default)]
    condition: Conditions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Effect {
    Allow,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct Conditions {
    /// Key, and `true` when it must be absent.
    null: BTreeMap<String, String>,
    string_equals: BTreeMap<String, Texts>,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn any(&self, fits: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(text) => fits(text),
            Self::Many(texts) => texts.iter().any(|text| fits(text)),
        }
    }
}

impl Policy {
    /// Whether a statement allows this.
    pub fn allows(&self, asked: &Asked) -> bool {
        self.statement.iter().any(|it| it.covers(asked))
    }
}

impl Statement {
    fn covers(&self, asked: &Asked) -> bool {
        let Conditions { null, string_equals } = &self.condition;
        let found = |key: &str| asked.facts.get(key).map(String::as_str);
        self.action.any(|pattern| fits(pattern, &asked.action))
            && self.resource.any(|pattern| fits(pattern, &asked.resource))
            && null.iter().all(|(key, absent)| found(key).is_none() == (absent == "true"))
            && string_equals.iter().all(|(key, texts)| {
                found(key).is_some_and(|value| texts.any(|wanted| wanted == value))
            })
    }
}

/// Whether the text is the pattern, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(tail) = text.strip_prefix(head) else { return false };
    (0..=tail.len()).filter_map(|at| tail.get(at..)).any(|tail| fits(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(action: &str, resource: &str, facts: &[(&str, &str)]) -> Asked {
        let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Asked { action: action.into(), resource: resource.into(), facts: facts.collect() }
    }

    fn policy(conditions: &str) -> Policy {
        let text = format!(
            r#"{{"Version": "1", "Statement": [{{"Effect": "Allow", "Action": ["s:A", "s:Get*"],
                "Resource": "arn:*:eni/*", "Condition": {conditions}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_no_statement_names_is_not_allowed() {
        let policy = policy("{}");
        for (action, resource, allowed) in [
            ("s:A", "arn:x:y:eni/1", true),
            ("s:GetOne", "arn::eni/", true),
            ("s:AA", "arn:x:eni/1", false),
            ("t:GetOne", "arn:x:eni/1", false),
            ("s:A", "arn:x:subnet/1", false),
            ("s:A", "*", false),
        ] {
            assert_eq!(
                policy.allows(&asked(action, resource, &[])),
                allowed,
                "{action} {resource}"
            );
        }
    }

    #[test]
    fn conditions_hold_together_and_an_absent_tag_fulfils_none_but_null() {
        let policy = policy(
            r#"{"Null": {"tag/a": "false", "tag/no": "true"}, "StringEquals": {"by": ["x", "y"]}}"#,
        );
        let allows = |facts: &[(&str, &str)]| policy.allows(&asked("s:A", "arn:x:eni/1", facts));
        assert!(allows(&[("tag/a", ""), ("by", "y")]));
        assert!(!allows(&[("by", "y")]), "the tag is absent");
        assert!(!allows(&[("tag/a", "1"), ("tag/no", "1"), ("by", "y")]), "the other one is there");
        assert!(!allows(&[("tag/a", "1"), ("by", "z")]));
        assert!(!allows(&[("tag/a", "1")]));
    }

    #[test]
    fn a_rule_that_the_lab_does_not_know_is_refused_and_not_passed_over() {
        for text in [
            r#"{"Version": "1", "Statement": [{"Effect": "Deny", "Action": "a", "Resource": "*"}]}"#,
            r#"{"Version": "1", "Statement": [{"Effect": "Allow", "NotAction": "a", "Resource": "*"}]}"#,
            r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "a", "Resource": "*",
                "Condition": {"StringLike": {"k": "v"}}}]}"#,
        ] {
            serde_json::from_str::<Policy>(text).unwrap_err();
        }
    }
}
