//! What the runtime hands to the plugin: environment and stdin.

use std::collections::BTreeMap;

use serde_json::Value;
use tideway_cni::{Question, question};

use crate::requests::add;

/// Lines `NAME=value` up to an empty one, then stdin.
pub(crate) fn input(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(end);
    let mut stdin = rest.get(2..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let pairs = head.lines().filter_map(|line| line.split_once('='));
    let env: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match question(&env, &mut stdin) {
        Ok(question) => is_understood(question),
        Err(error) => {
            let shown: Value =
                serde_json::from_str(&error.to_json(None)).expect("an error is a JSON object");
            assert!(shown.get("code").is_some_and(Value::is_u64), "an error has a code: {shown}");
            assert!(
                !error.msg.is_empty() && !error.details.is_empty(),
                "cause and remedy: {shown}"
            );
        }
    }
}

/// What the plugin lets through, the daemon takes.
fn is_understood(question: Question) {
    match question {
        Question::Add(request) => {
            let has_netns = !request.netns.is_empty();
            assert_eq!(add(request).is_ok(), has_netns, "the daemon takes what the plugin passes");
        }
        Question::Gc(request) => {
            tidewayd::asked::valid(&request).expect("the daemon takes what the plugin passes");
        }
        Question::Delete(_) | Question::Check(_) | Question::Status => {}
    }
}
