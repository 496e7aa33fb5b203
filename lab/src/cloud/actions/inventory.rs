//! Describe of instances, instance types and security groups.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::check_region;
use super::paging::{PageRule, cut};
use super::shape;
use crate::cloud::clock::iso8601;
use crate::cloud::error::ApiError;
use crate::cloud::params::Params;
use crate::cloud::resources::InstanceStatus;
use crate::cloud::vpc::{EniView, Vpc};

const PAGES: PageRule = PageRule { default: 10, floor: 1, ceiling: 100, tokens: true, pages: true };
const TYPE_PAGES: PageRule =
    PageRule { default: 1600, floor: 1, ceiling: 1600, tokens: true, pages: false };

fn numbered<T>(items: impl Iterator<Item = T>) -> Vec<(u32, T)> {
    (1_u32..).zip(items).collect()
}

fn tags_match(
    wanted: &[(String, Option<String>)],
    tags: &std::collections::BTreeMap<String, String>,
) -> bool {
    wanted.iter().all(|(key, value)| match value.as_deref() {
        None | Some("") => tags.contains_key(key),
        Some(value) => tags.get(key).map(String::as_str) == Some(value),
    })
}

/// `DescribeInstances`. `hidden`: the caller may see no instance, which is no error.
pub fn instances(
    vpc: &Vpc,
    params: &Params,
    view: &EniView,
    hidden: bool,
) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let ids = params.json_list("InstanceIds")?;
    let addresses = params.json_list("PrivateIpAddresses")?;
    let tags = params.tags(20)?;
    let same = |name: &str, value: &str| params.get(name).is_none_or(|want| want == value);
    let mut list: Vec<_> = vpc.instances.values().collect();
    list.sort_by_key(|i| view.get(&i.primary_eni).map(|e| e.index));
    let found = list.into_iter().filter(|i| {
        let enis = || view.values().filter(|e| e.instance.as_deref() == Some(i.id.as_str()));
        let has = |text: &String| {
            text.parse::<IpAddr>().is_ok_and(|a| enis().any(|e| e.addresses().any(|x| x == a)))
        };
        !hidden
            && i.status != InstanceStatus::Terminated
            && ids.as_ref().is_none_or(|ids| ids.contains(&i.id))
            && addresses.as_ref().is_none_or(|all| all.iter().any(has))
            && same("InstanceName", &i.name)
            && same("InstanceType", &i.instance_type)
            && same("Status", i.status.word())
            && same("VSwitchId", &i.vswitch)
            && same("VpcId", &vpc.id)
            && same("ZoneId", &i.zone)
            && same("InstanceNetworkType", "vpc")
            && params
                .get("SecurityGroupId")
                .is_none_or(|g| enis().any(|e| e.primary && e.groups.iter().any(|x| x == g)))
            && tags_match(&tags, &i.tags)
    });
    let page = cut(numbered(found), params, PAGES)?;
    let items: Vec<Value> =
        page.items.into_iter().map(|i| shape::instance_item(vpc, i, view)).collect();
    let mut out = page.fields;
    out.insert("Instances".to_owned(), json!({ "Instance": items }));
    Ok(Value::Object(out))
}

/// `DescribeInstanceTypes`. A type that does not exist is left out of the answer.
pub fn types(vpc: &Vpc, params: &Params) -> Result<Value, ApiError> {
    let wanted = params.list_up_to("InstanceTypes", 10)?;
    let family = params.get("InstanceTypeFamily");
    let least = params.int("MinimumEniQuantity")?.unwrap_or(0);
    let found = vpc.catalog.iter().filter(|t| {
        (wanted.is_empty() || wanted.contains(&t.instance_type_id))
            && family.is_none_or(|f| f == t.instance_type_family)
            && t.eni_quantity >= least
    });
    let mut page = cut(numbered(found), params, TYPE_PAGES)?;
    let mut items = Vec::new();
    for known in page.items {
        let mut one = serde_json::to_value(known).unwrap_or_default();
        if let Some(fields) = one.as_object_mut() {
            let cards: Vec<Value> = (0..known.network_card_quantity)
                .map(|n| json!({ "NetworkCardIndex": n }))
                .collect();
            fields.insert("NetworkCards".to_owned(), json!({ "NetworkCardInfo": cards }));
            fields.insert("GPUAmount".to_owned(), json!(0));
            fields.insert("GPUSpec".to_owned(), json!(""));
            fields.insert("LocalStorageCategory".to_owned(), json!(""));
            fields.insert("NvmeSupport".to_owned(), json!("unsupported"));
        }
        items.push(one);
    }
    page.fields.remove("TotalCount");
    let mut out = page.fields;
    out.insert("InstanceTypes".to_owned(), json!({ "InstanceType": items }));
    Ok(Value::Object(out))
}

/// `DescribeSecurityGroups`.
pub fn groups(vpc: &Vpc, params: &Params) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let ids = params.json_list("SecurityGroupIds")?;
    let tags = params.tags(20)?;
    let same = |name: &str, value: &str| params.get(name).is_none_or(|want| want == value);
    let found = vpc.groups.values().filter(|g| {
        ids.as_ref().is_none_or(|ids| ids.contains(&g.id))
            && same("SecurityGroupId", &g.id)
            && same("SecurityGroupName", &g.name)
            && same("VpcId", &vpc.id)
            && same("SecurityGroupType", "normal")
            && tags_match(&tags, &g.tags)
    });
    let page = cut(numbered(found), params, PAGES)?;
    let limit = usize::try_from(vpc.config.quotas.addresses_per_group).unwrap_or(usize::MAX);
    let items: Vec<Value> = page
        .items
        .into_iter()
        .map(|g| {
            let members = vpc.enis().values().filter(|e| e.groups.contains(&g.id));
            let used: usize = members.clone().map(|e| e.v4.len()).sum();
            json!({
                "SecurityGroupId": g.id,
                "SecurityGroupName": g.name,
                "SecurityGroupType": "normal",
                "Description": "",
                "VpcId": vpc.id,
                "CreationTime": iso8601(g.created),
                "EcsCount": members.filter(|e| e.primary).count(),
                "AvailableInstanceAmount": limit.saturating_sub(used),
                "RuleCount": g.rules.len(),
                "GroupToGroupRuleCount": g.rules.iter().filter(|r| r.group.is_some()).count(),
                "ResourceGroupId": "",
                "ServiceManaged": false,
                "ServiceID": 0,
                "Tags": shape::tags(&g.tags),
            })
        })
        .collect();
    let mut out = page.fields;
    out.insert("RegionId".to_owned(), json!(vpc.config.region));
    out.insert("SecurityGroups".to_owned(), json!({ "SecurityGroup": items }));
    Ok(Value::Object(out))
}
