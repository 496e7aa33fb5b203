//! `CreateTags` and `DeleteTags`: all resources or none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::codes::Failure;
use crate::cloud::cause::Cause;
use crate::cloud::operations::tag::{self, Tagged};
use crate::cloud::params::Params;
use crate::cloud::vpc::Vpc;

/// Tags per resource.
pub const TAGS: usize = 50;
/// Resources in one call.
const RESOURCES: usize = 1000;

/// Key and value of a tag.
pub fn check_tag(key: &str, value: &str) -> Result<(), Failure> {
    if key.starts_with("aws:") {
        return Err(Failure::value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    if !(1..=127).contains(&key.chars().count()) {
        return Err(Failure::value(format!("The tag key {key:?} has not 1 to 127 characters")));
    }
    if value.chars().count() > 255 {
        return Err(Failure::value(format!("The value of tag {key:?} is longer than 255")));
    }
    Ok(())
}

/// A resource of a call, and its tags.
struct Resource {
    kind: Tagged,
    id: String,
    tags: BTreeMap<String, String>,
}

fn resources(vpc: &Vpc, params: &Params) -> Result<Vec<Resource>, Failure> {
    let ids = params.list_up_to("ResourceId", RESOURCES)?;
    if ids.is_empty() {
        return Err(Cause::Missing("resourceIdSet".to_owned()).into());
    }
    let find = |id: String| {
        let (kind, missing): (Tagged, fn(String) -> Cause) = match id.split_once('-') {
            Some(("eni", _)) => (Tagged::Eni, Cause::NoEni),
            Some(("i", _)) => (Tagged::Instance, Cause::NoInstance),
            Some(("sg", _)) => (Tagged::Group, Cause::NoGroup),
            Some(("subnet", _)) => (Tagged::Subnet, Cause::NoSubnet),
            _ => return Err(Failure::bad("InvalidID", format!("The ID '{id}' is not valid"))),
        };
        match tag::of(vpc, kind, &id).cloned() {
            Some(tags) => Ok(Resource { kind, id, tags }),
            None => Err(missing(id).into()),
        }
    };
    ids.into_iter().map(find).collect()
}

/// `CreateTags`: adds tags, and overwrites those with the same key.
pub fn create(vpc: &mut Vpc, params: &Params) -> Result<Value, Failure> {
    let mut resources = resources(vpc, params)?;
    let new = params.tags(TAGS)?;
    if new.is_empty() {
        return Err(Cause::Missing("tagSet".to_owned()).into());
    }
    for (key, value) in &new {
        check_tag(key, value.as_deref().unwrap_or_default())?;
    }
    for Resource { tags, .. } in &mut resources {
        tags.extend(new.iter().map(|(k, v)| (k.clone(), v.clone().unwrap_or_default())));
        if tags.len() > TAGS {
            return Err(Cause::TooManyTags(TAGS).into());
        }
    }
    for Resource { kind, id, tags } in resources {
        tag::set(vpc, kind, &id, tags);
    }
    Ok(json!({ "return": true }))
}

/// `DeleteTags`: the given keys, those with a value only when they have it; without any, all.
pub fn delete(vpc: &mut Vpc, params: &Params) -> Result<Value, Failure> {
    let resources = resources(vpc, params)?;
    let named = params.tags(TAGS)?;
    for Resource { kind, id, mut tags } in resources {
        tags.retain(|key, value| {
            let hit = |(k, v): &(String, Option<String>)| {
                k == key && v.as_ref().is_none_or(|v| v.as_str() == value.as_str())
            };
            !named.is_empty() && !named.iter().any(hit)
        });
        tag::set(vpc, kind, &id, tags);
    }
    Ok(json!({ "return": true }))
}
