//! `TagResources` and `UntagResources`: all resources or none.

use serde_json::{Value, json};

use super::eni::TAGS;
use super::{check_region, check_tag};
use crate::cloud::error::ApiError;
use crate::cloud::operations::tag::{self as tags, Tagged};
use crate::cloud::params::Params;
use crate::cloud::vpc::Vpc;

const RESOURCES: usize = 50;

fn resources(vpc: &Vpc, params: &Params) -> Result<(Tagged, Vec<String>), ApiError> {
    check_region(vpc, params, true)?;
    let kind = match params.get("ResourceType") {
        Some("eni") => Tagged::Eni,
        Some("instance") => Tagged::Instance,
        Some("securitygroup") => Tagged::Group,
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
    let missing = ids.iter().any(|id| tags::of(vpc, kind, id).is_none());
    if missing {
        return Err(ApiError::not_found("InvalidResourceId.NotFound", "ResourceId"));
    }
    Ok((kind, ids))
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
        let mut all = tags::of(vpc, kind, &id).cloned().unwrap_or_default();
        for (key, value) in &new {
            all.insert(key.clone(), value.clone().unwrap_or_default());
        }
        if all.len() > TAGS {
            return Err(ApiError::forbidden(
                "NumberExceed.Tags",
                format!("{id} would have more than 20 tags."),
            ));
        }
        changed.push((id, all));
    }
    for (id, all) in changed {
        tags::set(vpc, kind, &id, all);
    }
    Ok(json!({}))
}

/// `UntagResources`: the given keys, or all with `All=true` and no key.
pub fn untag(vpc: &mut Vpc, params: &Params) -> Result<Value, ApiError> {
    let (kind, ids) = resources(vpc, params)?;
    let keys = params.list_up_to("TagKey", TAGS)?;
    let every = params.flag("All")?.unwrap_or(false) && keys.is_empty();
    if keys.is_empty() && !every {
        return Err(ApiError::missing("TagKey"));
    }
    for id in ids {
        let mut all = tags::of(vpc, kind, &id).cloned().unwrap_or_default();
        all.retain(|key, _| !every && !keys.contains(key));
        tags::set(vpc, kind, &id, all);
    }
    Ok(json!({}))
}
