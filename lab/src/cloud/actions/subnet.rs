//! The VPC API: vSwitches and the VPC itself. Page numbers only; tags are `Key`/`Value` here.

use serde_json::{Map, Value, json};

use super::check_region;
use super::paging::{PageRule, cut};
use crate::cloud::clock::{Millis, iso8601};
use crate::cloud::error::ApiError;
use crate::cloud::params::Params;
use crate::cloud::resources::VSwitch;
use crate::cloud::vpc::Vpc;

const PAGES: PageRule = PageRule { default: 10, floor: 1, ceiling: 50, tokens: false, pages: true };

fn item(vpc: &Vpc, vswitch: &VSwitch, now: Millis) -> Map<String, Value> {
    let available = if vpc.subnet_is_full(vswitch, now) { 0 } else { vswitch.space.available_v4() };
    let fields = json!({
        "VSwitchId": vswitch.id,
        "VSwitchName": vswitch.name,
        "VpcId": vpc.id,
        "ZoneId": vswitch.zone,
        "CidrBlock": vswitch.space.v4_block().to_string(),
        "Ipv6CidrBlock": vswitch.space.v6_block().map(|b| b.to_string()).unwrap_or_default(),
        "EnabledIpv6": vswitch.space.v6_block().is_some(),
        "AvailableIpAddressCount": available,
        "Status": "Available",
        "IsDefault": false,
        "Description": "",
        "CreationTime": iso8601(vswitch.created),
        "NetworkAclId": "",
        "OwnerId": vpc.owner.parse::<u64>().unwrap_or_default(),
        "ResourceGroupId": "",
        "RouteTable": { "RouteTableId": "vtb-lab", "RouteTableType": "System" },
        "ShareType": "",
        "Tags": { "Tag": [] },
    });
    match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// `DescribeVSwitches`. Needs `RegionId` or `VpcId`.
pub fn vswitches(vpc: &Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, params.get("VpcId").is_none())?;
    let ids: Vec<&str> =
        params.get("VSwitchId").map(|s| s.split(',').map(str::trim).collect()).unwrap_or_default();
    let same = |name: &str, value: &str| params.get(name).is_none_or(|want| want == value);
    let ipv6 = params.flag("EnableIpv6")?;
    let found = vpc.vswitches.values().filter(|v| {
        (ids.is_empty() || ids.contains(&v.id.as_str()))
            && same("VpcId", &vpc.id)
            && same("ZoneId", &v.zone)
            && same("VSwitchName", &v.name)
            && ipv6.is_none_or(|want| want == v.space.v6_block().is_some())
            && params.list("Tag.1").is_empty()
            && params.get("Tag.1.Key").is_none()
    });
    let page = cut((1_u32..).zip(found).collect(), params, PAGES)?;
    let items: Vec<Value> =
        page.items.into_iter().map(|v| Value::Object(item(vpc, v, now))).collect();
    let mut out = page.fields;
    out.insert("VSwitches".to_owned(), json!({ "VSwitch": items }));
    Ok(Value::Object(out))
}

/// `DescribeVSwitchAttributes`.
pub fn vswitch(vpc: &Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, false)?;
    let vswitch = vpc.vswitch(params.need("VSwitchId")?)?;
    Ok(Value::Object(item(vpc, vswitch, now)))
}

/// `DescribeVpcs`.
pub fn vpcs(vpc: &Vpc, params: &Params) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let ids: Vec<&str> =
        params.get("VpcId").map(|s| s.split(',').map(str::trim).collect()).unwrap_or_default();
    if ids.len() > 20 {
        return Err(ApiError::invalid("VpcId", "more than 20 ids"));
    }
    let matches = (ids.is_empty() || ids.contains(&vpc.id.as_str()))
        && params.get("VpcName").is_none_or(|name| name == vpc.config.id);
    let found: Vec<(u32, ())> = if matches { vec![(1, ())] } else { Vec::new() };
    let page = cut(found, params, PAGES)?;
    let vswitches: Vec<&String> = vpc.vswitches.keys().collect();
    let v6 = vpc.config.vpc.ipv6.map(|b| b.to_string());
    let blocks: Vec<Value> =
        v6.iter().map(|b| json!({ "Ipv6CidrBlock": b, "Ipv6Isp": "BGP" })).collect();
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|()| {
            json!({
                "VpcId": vpc.id,
                "VpcName": vpc.config.id,
                "RegionId": vpc.config.region,
                "Status": "Available",
                "CidrBlock": vpc.config.vpc.ipv4.to_string(),
                "Ipv6CidrBlock": v6.clone().unwrap_or_default(),
                "Ipv6CidrBlocks": { "Ipv6CidrBlock": blocks },
                "EnabledIpv6": v6.is_some(),
                "IsDefault": false,
                "Description": "",
                "CreationTime": iso8601(vpc.created),
                "OwnerId": vpc.owner.parse::<u64>().unwrap_or_default(),
                "ResourceGroupId": "",
                "VRouterId": "vrt-lab",
                "CenStatus": "Detached",
                "VSwitchIds": { "VSwitchId": vswitches },
                "RouterTableIds": { "RouterTableIds": ["vtb-lab"] },
                "NatGatewayIds": { "NatGatewayIds": [] },
                "SecondaryCidrBlocks": { "SecondaryCidrBlock": [] },
                "UserCidrs": { "UserCidr": [] },
                "Tags": { "Tag": [] },
            })
        })
        .collect();
    let mut out = page.fields;
    out.insert("Vpcs".to_owned(), json!({ "Vpc": items }));
    Ok(Value::Object(out))
}
