//! The least policies of the daemon's role in `manifests/policies`, generated from the table in `crates/cloud`.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tideway_cloud::{Ask, actions};
use tideway_model::names::TAG_CLUSTER;

const ENIS: &str = "arn:aws:ec2:*:*:network-interface/*";
const INSTANCES: &str = "arn:aws:ec2:*:*:instance/*";

/// Writes the files, or with `check` compares them with what would be written.
pub(crate) fn policies(check: bool) -> anyhow::Result<String> {
    let dir = crate::root()?.join("manifests/policies");
    let files = [("ram.json", ram()), ("iam.json", iam())];
    for (name, policy) in &files {
        let path = dir.join(name);
        let text = format!("{policy:#}\n");
        if !check {
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            bail!(
                "manifests/policies/{name} is not what crates/cloud says; run `cargo run -p xtask -- policies` and commit the result"
            );
        }
    }
    let state = if check { "are up to date" } else { "written" };
    Ok(format!("policies: {} files {state}", files.len()))
}

/// RAM. Without conditions: see docs/permissions.md.
fn ram() -> Value {
    json!({
        "Version": "1",
        "Statement": [{ "Effect": "Allow", "Action": actions(Ask::ram), "Resource": "*" }],
    })
}

/// IAM. What changes an ENI is allowed only for ENIs that carry our tag; they get it when they are created, and at no other
/// time.
fn iam() -> Value {
    let all = actions(Ask::iam);
    let (reads, changes): (Vec<&str>, Vec<&str>) =
        all.iter().partition(|action| action.starts_with("ec2:Describe"));
    let of_enis: Vec<&str> =
        changes.iter().copied().filter(|action| !action.starts_with("ec2:Create")).collect();
    let of_instances: Vec<&str> = of_enis
        .iter()
        .copied()
        .filter(|action| {
            ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"].contains(action)
        })
        .collect();
    let ours = |key: &str| json!({ "Null": { format!("aws:{key}/{TAG_CLUSTER}"): "false" } });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Sid": "Look", "Effect": "Allow", "Action": reads, "Resource": "*" },
            {
                "Sid": "CreateTagged",
                "Effect": "Allow",
                "Action": "ec2:CreateNetworkInterface",
                "Resource": ENIS,
                "Condition": ours("RequestTag"),
            },
            {
                "Sid": "CreateIn",
                "Effect": "Allow",
                "Action": "ec2:CreateNetworkInterface",
                "Resource": ["arn:aws:ec2:*:*:subnet/*", "arn:aws:ec2:*:*:security-group/*"],
            },
            {
                "Sid": "TagAtCreation",
                "Effect": "Allow",
                "Action": "ec2:CreateTags",
                "Resource": ENIS,
                "Condition": { "StringEquals": { "ec2:CreateAction": "CreateNetworkInterface" } },
            },
            {
                "Sid": "ChangeOurs",
                "Effect": "Allow",
                "Action": of_enis,
                "Resource": ENIS,
                "Condition": ours("ResourceTag"),
            },
            { "Sid": "PlugIn", "Effect": "Allow", "Action": of_instances, "Resource": INSTANCES },
        ],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_policies_in_the_manifests_are_those_of_the_code() {
        policies(true).unwrap();
    }

    #[test]
    fn every_action_stands_in_a_statement() {
        for (policy, all) in [(ram(), actions(Ask::ram)), (iam(), actions(Ask::iam))] {
            let statements = policy["Statement"].as_array().unwrap();
            let listed = statements.iter().flat_map(|it| {
                let many = it["Action"].as_array().cloned();
                many.unwrap_or_else(|| vec![it["Action"].clone()])
            });
            let listed: BTreeSet<String> =
                listed.map(|it| it.as_str().unwrap().to_owned()).collect();
            assert!(listed.iter().map(String::as_str).eq(all), "{policy:#}");
        }
    }
}
