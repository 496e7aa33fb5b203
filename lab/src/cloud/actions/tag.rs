//! `TagResources` and `UntagResources`: all resources or none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::eni::TAGS;
use super::{check_region, check_tag};
use crate::cloud::error::ApiError;
use crate::cloud::params::Params;
use crate::cloud::vpc::Vpc;

const RESOURCES: usize = 50;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Eni,
    Instance,
    Group,
}

fn resources(vpc: &Vpc, params: &Params) -> Result<(Kind, Vec<String>), ApiError> {
    check_region(vpc, params, true)?;
    let kind = match params.get("ResourceType") {
        Some("eni") => Kind::Eni,
        Some("instance") => Kind::Instance,
        Some("securitygroup") => Kind::Group,
        Some(_) => {
            return Err(ApiError::not_found("InvalidResourceType.NotFound", "ResourceType"));
        }
        None => return Err(ApiError::missing("ResourceType")),
    };
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(ApiError::missing("ResourceId"));
    }
    if ids.len() > RESOURCES {
        return Err(ApiError::forbidden("NumberExceed.ResourceIds", "More than 50 resources."));
    }
    let missing = ids.iter().any(|id| tags_of(vpc, kind, id).is_none());
    if missing {
        return Err(ApiError::not_found("InvalidResourceId.NotFound", "ResourceId"));
    }
    Ok((kind, ids))
}

fn tags_of<'a>(vpc: &'a Vpc, kind: Kind, id: &str) -> Option<&'a BTreeMap<String, String>> {
    match kind {
        Kind::Eni => vpc.enis().get(id).map(|e| &e.tags),
        Kind::Instance => vpc.instances.get(id).map(|i| &i.tags),
        Kind::Group => vpc.groups.get(id).map(|g| &g.tags),
    }
}

fn store(vpc: &mut Vpc, kind: Kind, id: &str, tags: BTreeMap<String, String>) {
    match kind {
        Kind::Eni => {
            if let Some(mut eni) = vpc.enis().get(id).map(|e| e.as_ref().clone()) {
                eni.tags = tags;
                vpc.put(eni);
            }
        }
        Kind::Instance => {
            if let Some(instance) = vpc.instances.get_mut(id) {
                instance.tags = tags;
            }
        }
        Kind::Group => {
            if let Some(group) = vpc.groups.get_mut(id) {
                group.tags = tags;
            }
        }
    }
}

/// `TagResources`.
pub fn tag(vpc: &mut Vpc, params: &Params) -> Result<Value, ApiError> {
    let (kind, ids) = resources(vpc, params)?;
    let new = params.tags(TAGS)?;
    if new.is_empty() {
        return Err(ApiError::missing("Tag"));
    }
    for (key, value) in &new {
        check_tag(key, value.as_deref().unwrap_or_default())?;
    }
    let mut changed = Vec::new();
    for id in ids {
        let mut tags = tags_of(vpc, kind, &id).cloned().unwrap_or_default();
        for (key, value) in &new {
            tags.insert(key.clone(), value.clone().unwrap_or_default());
        }
        if tags.len() > TAGS {
            return Err(ApiError::forbidden(
                "NumberExceed.Tags",
                format!("{id} would have more than 20 tags."),
            ));
        }
        changed.push((id, tags));
    }
    for (id, tags) in changed {
        store(vpc, kind, &id, tags);
    }
    Ok(json!({}))
}

/// `UntagResources`: the given keys, or all with `All=true` and no key.
pub fn untag(vpc: &mut Vpc, params: &Params) -> Result<Value, ApiError> {
    let (kind, ids) = resources(vpc, params)?;
    let keys = params.list_up_to("TagKey", TAGS)?;
    let all = params.flag("All")?.unwrap_or(false) && keys.is_empty();
    if keys.is_empty() && !all {
        return Err(ApiError::missing("TagKey"));
    }
    for id in ids {
        let mut tags = tags_of(vpc, kind, &id).cloned().unwrap_or_default();
        tags.retain(|key, _| !all && !keys.contains(key));
        store(vpc, kind, &id, tags);
    }
    Ok(json!({}))
}
