//! Describe of subnets, security groups and the VPC.

use serde_json::{Value, json};

use super::codes::Failure;
use super::filter::{Filters, of_tags};
use super::paging::{numbered, page};
use super::shape;
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::params::Params;
use crate::cloud::resources::{SecurityGroup, VSwitch};
use crate::cloud::vpc::Vpc;
use crate::config::{DirectionConfig, PolicyConfig, ProtocolConfig, RuleConfig};

fn available(vpc: &Vpc, subnet: &VSwitch, now: Millis) -> u32 {
    if vpc.subnet_is_full(subnet, now) { 0 } else { subnet.space.available_v4() }
}

/// `ipv6CidrBlockAssociationSet` of the owner of a block.
fn blocks(id: &str, block: Option<String>) -> Value {
    let association = |block: String| {
        json!({
            "associationId": format!("cidr-assoc-{}", id.rsplit('-').next().unwrap_or_default()),
            "ipv6CidrBlock": block,
            "ipv6CidrBlockState": { "state": "associated" },
        })
    };
    block.into_iter().map(association).collect()
}

fn subnet_item(vpc: &Vpc, subnet: &VSwitch, now: Millis) -> Value {
    json!({
        "subnetId": subnet.id,
        "vpcId": vpc.id,
        "state": "available",
        "cidrBlock": subnet.space.v4_block().to_string(),
        "ipv6CidrBlockAssociationSet":
            blocks(&subnet.id, subnet.space.v6_block().map(|b| b.to_string())),
        "availableIpAddressCount": available(vpc, subnet, now),
        "availabilityZone": subnet.zone,
        "defaultForAz": false,
        "mapPublicIpOnLaunch": false,
        "assignIpv6AddressOnCreation": false,
        "ipv6Native": false,
        "ownerId": vpc.owner,
        "subnetArn": format!("arn:aws:ec2:{}:{}:subnet/{}", vpc.config.region, vpc.owner, subnet.id),
        "tagSet": shape::tags(&subnet.tags),
    })
}

fn subnet_field(vpc: &Vpc, subnet: &VSwitch, name: &str, now: Millis) -> Option<Vec<String>> {
    let value = match name {
        "subnet-id" => subnet.id.clone(),
        "vpc-id" => vpc.id.clone(),
        "owner-id" => vpc.owner.clone(),
        "state" => "available".to_owned(),
        "availability-zone" | "availabilityZone" => subnet.zone.clone(),
        "cidr-block" | "cidr" | "cidrBlock" => subnet.space.v4_block().to_string(),
        "available-ip-address-count" => available(vpc, subnet, now).to_string(),
        "ipv6-cidr-block-association.ipv6-cidr-block" => {
            return Some(subnet.space.v6_block().map(|b| b.to_string()).into_iter().collect());
        }
        _ => return of_tags(&subnet.tags, name),
    };
    Some(vec![value])
}

/// `DescribeSubnets`.
pub fn subnets(vpc: &Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let ids = params.list("SubnetId");
    if let Some(id) = ids.iter().find(|id| !vpc.vswitches.contains_key(*id)) {
        return Err(Cause::NoSubnet(id.clone()).into());
    }
    let filters = Filters::read(params)?;
    let mut found = Vec::new();
    for subnet in vpc.vswitches.values() {
        let matches = filters.take(|name| subnet_field(vpc, subnet, name, now))?;
        if matches && (ids.is_empty() || ids.contains(&subnet.id)) {
            found.push(subnet);
        }
    }
    let (found, mut out) = page(numbered(found), params, "SubnetId", 1000)?;
    let items = found.into_iter().map(|subnet| subnet_item(vpc, subnet, now));
    out.insert("subnetSet".to_owned(), items.collect());
    Ok(Value::Object(out))
}

/// One rule as a permission; EC2 has only those that let through.
fn permission(vpc: &Vpc, rule: &RuleConfig) -> Value {
    let ports = rule.ports.as_deref().and_then(crate::cloud::network::ports);
    let protocol = match rule.protocol {
        ProtocolConfig::All => "-1",
        ProtocolConfig::Tcp => "tcp",
        ProtocolConfig::Udp => "udp",
        ProtocolConfig::Icmp => "icmp",
    };
    let group = rule.group.as_ref().and_then(|name| vpc.groups.values().find(|g| g.name == *name));
    let everybody = rule.group.is_none() && rule.cidr.is_none();
    let block = |ipv6: bool| {
        let named = rule.cidr.filter(|b| b.addr().is_ipv6() == ipv6).map(|b| b.to_string());
        let all = if ipv6 { "::/0" } else { "0.0.0.0/0" };
        named.or_else(|| everybody.then(|| all.to_owned()))
    };
    json!({
        "ipProtocol": protocol,
        "fromPort": ports.map(|p| p.first),
        "toPort": ports.map(|p| p.last),
        "groups": group
            .iter()
            .map(|g| json!({ "groupId": g.id, "userId": vpc.owner }))
            .collect::<Vec<_>>(),
        "ipRanges": block(false).iter().map(|b| json!({ "cidrIp": b })).collect::<Vec<_>>(),
        "ipv6Ranges": block(true).iter().map(|b| json!({ "cidrIpv6": b })).collect::<Vec<_>>(),
        "prefixListIds": [],
    })
}

fn group_item(vpc: &Vpc, group: &SecurityGroup) -> Value {
    let rules = |direction: DirectionConfig| {
        group
            .rules
            .iter()
            .filter(|r| r.direction == direction && r.policy == PolicyConfig::Accept)
            .map(|r| permission(vpc, r))
            .collect::<Vec<_>>()
    };
    json!({
        "groupId": group.id,
        "groupName": group.name,
        "groupDescription": group.name,
        "ownerId": vpc.owner,
        "vpcId": vpc.id,
        "ipPermissions": rules(DirectionConfig::Ingress),
        "ipPermissionsEgress": rules(DirectionConfig::Egress),
        "tagSet": shape::tags(&group.tags),
    })
}

/// `DescribeSecurityGroups`.
pub fn groups(vpc: &Vpc, params: &Params) -> Result<Value, Failure> {
    let ids = params.list("GroupId");
    let names = params.list("GroupName");
    if let Some(id) = ids.iter().find(|id| !vpc.groups.contains_key(*id)) {
        return Err(Cause::NoGroup(id.clone()).into());
    }
    let filters = Filters::read(params)?;
    let mut found = Vec::new();
    for group in vpc.groups.values() {
        let field = |name: &str| match name {
            "group-id" => Some(vec![group.id.clone()]),
            "group-name" | "description" => Some(vec![group.name.clone()]),
            "vpc-id" => Some(vec![vpc.id.clone()]),
            "owner-id" => Some(vec![vpc.owner.clone()]),
            _ => of_tags(&group.tags, name),
        };
        let wanted = (ids.is_empty() || ids.contains(&group.id))
            && (names.is_empty() || names.contains(&group.name));
        if filters.take(field)? && wanted {
            found.push(group);
        }
    }
    let (found, mut out) = page(numbered(found), params, "GroupId", 1000)?;
    let items = found.into_iter().map(|group| group_item(vpc, group));
    out.insert("securityGroupInfo".to_owned(), items.collect());
    Ok(Value::Object(out))
}

/// `DescribeVpcs`: there is one.
pub fn vpcs(vpc: &Vpc, params: &Params) -> Result<Value, Failure> {
    let ids = params.list("VpcId");
    if let Some(id) = ids.iter().find(|id| **id != vpc.id) {
        let message = format!("The vpc ID '{id}' does not exist");
        return Err(Failure::bad("InvalidVpcID.NotFound", message));
    }
    let v4 = vpc.config.vpc.ipv4.to_string();
    let field = |name: &str| match name {
        "vpc-id" => Some(vec![vpc.id.clone()]),
        "cidr" | "cidr-block-association.cidr-block" => Some(vec![v4.clone()]),
        "owner-id" => Some(vec![vpc.owner.clone()]),
        "state" => Some(vec!["available".to_owned()]),
        _ => of_tags(&std::collections::BTreeMap::new(), name),
    };
    let matches = Filters::read(params)?.take(field)?;
    let (found, mut out) = page(numbered(matches.then_some(())), params, "VpcId", 1000)?;
    let item = |()| {
        json!({
            "vpcId": vpc.id,
            "state": "available",
            "cidrBlock": v4,
            "cidrBlockAssociationSet": [{
                "associationId": vpc.id.replace("vpc-", "vpc-cidr-assoc-"),
                "cidrBlock": v4,
                "cidrBlockState": { "state": "associated" },
            }],
            "ipv6CidrBlockAssociationSet":
                blocks(&vpc.id, vpc.config.vpc.ipv6.map(|b| b.to_string())),
            "ownerId": vpc.owner,
            "instanceTenancy": "default",
            "isDefault": false,
            "tagSet": [],
        })
    };
    out.insert("vpcSet".to_owned(), found.into_iter().map(item).collect());
    Ok(Value::Object(out))
}
