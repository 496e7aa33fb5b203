//! Describe of ENIs. Unknown ids in a filter are no error: they match nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::check_region;
use super::eni::TAGS;
use super::paging::{PageRule, cut};
use super::shape;
use crate::cloud::cause::Cause;
use crate::cloud::error::ApiError;
use crate::cloud::params::Params;
use crate::cloud::resources::{Eni, EniState};
use crate::cloud::vpc::{EniView, Vpc};

const PAGES: PageRule =
    PageRule { default: 10, floor: 10, ceiling: 500, tokens: true, pages: true };

#[derive(Debug)]
struct Filter<'a> {
    params: &'a Params,
    ids: Vec<String>,
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    status: Option<EniState>,
    tags: Vec<(String, Option<String>)>,
}

impl<'a> Filter<'a> {
    fn read(params: &'a Params) -> Result<Self, ApiError> {
        let status = match params.get("Status") {
            None => None,
            Some(word) => Some(
                EniState::parse(word)
                    .ok_or_else(|| ApiError::invalid("Status", "no state of an interface"))?,
            ),
        };
        if params
            .get("Type")
            .is_some_and(|kind| !["Primary", "Secondary", "Trunk", "Member"].contains(&kind))
        {
            return Err(ApiError::invalid("Type", "neither Primary nor Secondary"));
        }
        Ok(Self {
            params,
            ids: params.list_up_to("NetworkInterfaceId", 100)?,
            v4: params.v4_list("PrivateIpAddress", 100)?,
            v6: params.v6_list("Ipv6Address", 100)?,
            status,
            tags: params.tags(TAGS)?,
        })
    }

    fn takes(&self, vpc: &Vpc, eni: &Eni) -> bool {
        let same = |name: &str, value: &str| self.params.get(name).is_none_or(|want| want == value);
        let primary = eni.v4.first().map(ToString::to_string).unwrap_or_default();
        (self.ids.is_empty() || self.ids.contains(&eni.id))
            && (self.v4.is_empty() || self.v4.iter().any(|a| eni.v4.contains(a)))
            && (self.v6.is_empty() || self.v6.iter().any(|a| eni.v6.contains(a)))
            && self.status.is_none_or(|state| state == eni.state)
            && same("InstanceId", eni.instance.as_deref().unwrap_or_default())
            && same("NetworkInterfaceName", &eni.name)
            && same("PrimaryIpAddress", &primary)
            && same("ResourceGroupId", &eni.resource_group)
            && same("Type", eni.kind())
            && same("VSwitchId", &eni.vswitch)
            && same("VpcId", &vpc.id)
            && self.params.get("SecurityGroupId").is_none_or(|g| eni.groups.iter().any(|x| x == g))
            && self.params.flag("ServiceManaged").ok().flatten() != Some(true)
            && self.tags.iter().all(|(key, value)| {
                let found = eni.tags.get(key);
                match value.as_deref() {
                    None | Some("") => found.is_some(),
                    Some(value) => found.map(String::as_str) == Some(value),
                }
            })
    }
}

/// `DescribeNetworkInterfaces`.
pub fn interfaces(vpc: &Vpc, params: &Params, view: &EniView) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let filter = Filter::read(params)?;
    let mut found: Vec<(u32, &Eni)> = view
        .values()
        .map(AsRef::as_ref)
        .filter(|eni| filter.takes(vpc, eni))
        .map(|eni| (eni.index, eni))
        .collect();
    found.sort_by_key(|(index, _)| *index);
    let page = cut(found, params, PAGES)?;
    let items: Vec<Value> =
        page.items.into_iter().map(|eni| Value::Object(shape::eni_item(vpc, eni))).collect();
    let mut out = page.fields;
    out.insert("NetworkInterfaceSets".to_owned(), json!({ "NetworkInterfaceSet": items }));
    Ok(Value::Object(out))
}

/// `DescribeNetworkInterfaceAttribute`.
pub fn attribute(vpc: &Vpc, params: &Params, view: &EniView) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let id = params.need("NetworkInterfaceId")?;
    let eni = view.get(id).ok_or_else(|| Cause::NoEni(id.to_owned()))?;
    Ok(Value::Object(shape::eni_attribute(vpc, eni)))
}
