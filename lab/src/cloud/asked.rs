//! What a call asks of the role: actions on resources, each with what conditions may look at.
//!
//! RAM is asked once for a call. EC2 asks for each resource of it, and for that of tagging when something is created with
//! tags. Source: the pages "Actions, resources, and condition keys" of the service authorization reference.

use std::collections::BTreeMap;

use super::ApiCall;
use super::actions::dispatch::VPC_VERSION;
use super::ec2;
use super::operations::tag::{self, Tagged};
use super::vpc::Vpc;
use crate::config::CloudKind;

/// One permission that a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Service and action.
    pub action: String,
    /// Name of the resource as policies have it; `*` when the action knows none.
    pub resource: String,
    /// Condition keys that the call has, with their values.
    pub facts: BTreeMap<String, String>,
}

/// Tags as condition keys that begin so.
fn facts<'a>(
    key: &str,
    tags: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    tags.into_iter().map(|(tag, value)| (format!("aws:{key}/{tag}"), value.clone())).collect()
}

/// Everything that a call needs the permission for.
pub fn asked(vpc: &Vpc, call: &ApiCall) -> Vec<Asked> {
    let name = &call.action;
    match vpc.config.cloud {
        CloudKind::Aliyun => {
            let service = if call.version == VPC_VERSION { "vpc" } else { "ecs" };
            let what = call.params.get("NetworkInterfaceId").map(|id| format!("eni/{id}"));
            let what = what.unwrap_or_else(|| "*".to_owned());
            let resource = format!("acs:{service}:{}:{}:{what}", vpc.config.region, vpc.owner);
            vec![Asked { action: format!("{service}:{name}"), resource, facts: BTreeMap::new() }]
        }
        CloudKind::Aws if name == "CreateNetworkInterface" => of_create(vpc, call),
        CloudKind::Aws if name.starts_with("Describe") => {
            let resource = "*".to_owned();
            vec![Asked { action: format!("ec2:{name}"), resource, facts: BTreeMap::new() }]
        }
        CloudKind::Aws => {
            let on = |(resource, facts)| Asked { action: format!("ec2:{name}"), resource, facts };
            subjects(vpc, call).iter().filter_map(|id| found(vpc, id)).map(on).collect()
        }
    }
}

/// Ids of what a call of EC2 changes.
fn subjects(vpc: &Vpc, call: &ApiCall) -> Vec<String> {
    let params = &call.params;
    let at = params.get("AttachmentId").and_then(|id| {
        let mut enis = vpc.enis().values();
        enis.find(|eni| eni.attachment.as_ref().is_some_and(|it| it.id == id))
    });
    let at = at.into_iter().flat_map(|eni| eni.instance.iter().chain([&eni.id]).cloned());
    let one = ["NetworkInterfaceId", "InstanceId"].into_iter().filter_map(|name| params.get(name));
    let lists = ["InstanceId", "ResourceId"].into_iter().flat_map(|name| params.list(name));
    one.map(str::to_owned).chain(at).chain(lists).collect()
}

/// Name and tags of a resource. One that does not exist is not judged: the action itself says so.
fn found(vpc: &Vpc, id: &str) -> Option<(String, BTreeMap<String, String>)> {
    let (kind, word) = match id.split_once('-')?.0 {
        "eni" => (Tagged::Eni, "network-interface"),
        "i" => (Tagged::Instance, "instance"),
        "sg" => (Tagged::Group, "security-group"),
        "subnet" => (Tagged::Subnet, "subnet"),
        _ => return None,
    };
    Some((arn(vpc, word, id), facts("ResourceTag", tag::of(vpc, kind, id)?)))
}

fn arn(vpc: &Vpc, kind: &str, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:{kind}/{id}", vpc.config.region, vpc.owner)
}

fn of_create(vpc: &Vpc, call: &ApiCall) -> Vec<Asked> {
    let params = &call.params;
    // A call with bad tags is refused for them.
    let tags = ec2::eni::new_tags(params).unwrap_or_default();
    let requested = facts("RequestTag", &tags);
    let on =
        |action: &str, resource, facts| Asked { action: format!("ec2:{action}"), resource, facts };
    let new = arn(vpc, "network-interface", "*");
    let mut asked = vec![on(&call.action, new.clone(), requested.clone())];
    let places =
        params.get("SubnetId").map(str::to_owned).into_iter().chain(params.list("SecurityGroupId"));
    for (resource, mut facts) in places.filter_map(|id| found(vpc, &id)) {
        facts.extend(requested.clone());
        asked.push(on(&call.action, resource, facts));
    }
    if !tags.is_empty() {
        let mut facts = requested;
        facts.insert("ec2:CreateAction".to_owned(), call.action.clone());
        asked.push(on("CreateTags", new, facts));
    }
    asked
}
