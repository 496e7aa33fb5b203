//! vSwitches and VPCs.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use tideway_cloud::SubnetView;
use tideway_model::{SubnetId, SubnetPlan};

use super::{Senseless, field, json, or_default};
use crate::{Api, ApiRequest};

/// Asks for one vSwitch.
pub fn describe_subnet(region: &str, id: &SubnetId) -> ApiRequest {
    ApiRequest::new(Api::Vpc, "DescribeVSwitchAttributes", region).with("VSwitchId", id)
}

/// Asks for one VPC.
pub fn describe_vpc(region: &str, vpc: &str) -> ApiRequest {
    ApiRequest::new(Api::Vpc, "DescribeVpcs", region).with("VpcId", vpc)
}

/// Gateway of a vSwitch: the third address from the end of its block, in both families. None when the block is too small.
pub fn gateway(block: IpNet) -> Option<IpAddr> {
    match block {
        IpNet::V4(net) => {
            let last = u32::from(net.broadcast());
            let gateway = last.checked_sub(2)?.into();
            (net.prefix_len() <= 29).then_some(IpAddr::V4(gateway))
        }
        IpNet::V6(net) => {
            let last = u128::from(net.broadcast());
            let gateway = last.checked_sub(2)?.into();
            (net.prefix_len() <= 125).then_some(IpAddr::V6(gateway))
        }
    }
}

/// Decodes a vSwitch; none when the answer is about none (the API answers so for an unknown id).
pub fn decode_subnet(body: &[u8]) -> Result<Option<SubnetView>, Senseless> {
    #[derive(Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    #[derive(Default)]
    struct Answer {
        #[serde(deserialize_with = "or_default")]
        v_switch_id: String,
        #[serde(deserialize_with = "or_default")]
        zone_id: String,
        #[serde(deserialize_with = "or_default")]
        cidr_block: String,
        #[serde(deserialize_with = "or_default")]
        ipv6_cidr_block: String,
        #[serde(deserialize_with = "or_default")]
        available_ip_address_count: u64,
    }
    let answer: Answer = json(body)?;
    if answer.v_switch_id.is_empty() {
        return Ok(None);
    }
    let id = answer.v_switch_id.as_str();
    let id = field("VSwitchId", id, SubnetId::try_from(id))?;
    let ipv4 = block("CidrBlock", &answer.cidr_block)?;
    let ipv6 = block("Ipv6CidrBlock", &answer.ipv6_cidr_block)?;
    if ipv4.is_none() && ipv6.is_none() {
        return Err(Senseless(format!("{id} has no block")));
    }
    Ok(Some(SubnetView {
        plan: SubnetPlan {
            id,
            ipv4,
            ipv6,
            gateway_v4: ipv4.and_then(gateway),
            gateway_v6: ipv6.and_then(gateway),
        },
        zone: answer.zone_id,
        available: answer.available_ip_address_count,
    }))
}

/// Decodes the blocks of the VPC with this id, IPv4 first; none when the list lacks it.
pub fn decode_vpc_blocks(body: &[u8], vpc: &str) -> Result<Option<Vec<IpNet>>, Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        vpcs: List,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        #[serde(default, deserialize_with = "or_default")]
        vpc: Vec<Wire>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        vpc_id: String,
        #[serde(default, deserialize_with = "or_default")]
        cidr_block: String,
        #[serde(default, deserialize_with = "or_default")]
        secondary_cidr_blocks: Secondary,
        #[serde(default, deserialize_with = "or_default")]
        ipv6_cidr_block: String,
        #[serde(default, deserialize_with = "or_default")]
        ipv6_cidr_blocks: Ipv6List,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Secondary {
        #[serde(default, deserialize_with = "or_default")]
        secondary_cidr_block: Vec<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Ipv6List {
        #[serde(default, deserialize_with = "or_default")]
        ipv6_cidr_block: Vec<Ipv6>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Ipv6 {
        #[serde(default, deserialize_with = "or_default")]
        ipv6_cidr_block: String,
    }
    let answer: Answer = json(body)?;
    let Some(found) = answer.vpcs.vpc.into_iter().find(|v| v.vpc_id == vpc) else {
        return Ok(None);
    };
    let v4 =
        std::iter::once(found.cidr_block).chain(found.secondary_cidr_blocks.secondary_cidr_block);
    let v6 = std::iter::once(found.ipv6_cidr_block)
        .chain(found.ipv6_cidr_blocks.ipv6_cidr_block.into_iter().map(|b| b.ipv6_cidr_block));
    let mut blocks = Vec::new();
    for text in v4.chain(v6) {
        if let Some(block) = block("CidrBlock", &text)?
            && !blocks.contains(&block)
        {
            blocks.push(block);
        }
    }
    Ok(Some(blocks))
}

fn block(name: &str, text: &str) -> Result<Option<IpNet>, Senseless> {
    if text.is_empty() {
        return Ok(None);
    }
    field(name, text, text.parse::<IpNet>()).map(|net| Some(net.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_gateway_is_the_third_address_from_the_end() {
        let of = |text: &str| gateway(net(text)).map(|ip| ip.to_string());
        assert_eq!(of("10.0.1.0/24").as_deref(), Some("10.0.1.253"));
        assert_eq!(of("192.168.0.16/29").as_deref(), Some("192.168.0.21"));
        assert_eq!(of("fd00:1::/64").as_deref(), Some("fd00:1::ffff:ffff:ffff:fffd"));
        assert_eq!(of("0.0.0.0/32"), None);
        assert_eq!(of("10.0.0.0/31"), None);
    }

    #[test]
    fn a_dual_stack_subnet_has_both_gateways() {
        let body = br#"{"RequestId":"x","VSwitchId":"vsw-1","ZoneId":"z-a","CidrBlock":"10.0.1.0/24",
            "Ipv6CidrBlock":"fd00:1::/64","AvailableIpAddressCount":252,"EnabledIpv6":true,"Tags":{"Tag":[]}}"#;
        let view = decode_subnet(body).unwrap().unwrap();
        assert_eq!(view.available, 252);
        assert_eq!(view.plan.gateway_v4, Some([10, 0, 1, 253].into()));
        assert!(view.plan.gateway_v6.is_some());
    }

    #[test]
    fn a_subnet_without_ipv6_has_null_or_empty_text_there() {
        for v6 in ["null", "\"\""] {
            let body = format!(
                r#"{{"VSwitchId":"vsw-1","ZoneId":"z","CidrBlock":"10.0.1.0/24","Ipv6CidrBlock":{v6}}}"#
            );
            assert_eq!(decode_subnet(body.as_bytes()).unwrap().unwrap().plan.ipv6, None);
        }
        assert_eq!(decode_subnet(br#"{"RequestId":"x","VSwitchId":""}"#).unwrap(), None);
        decode_subnet(br#"{"VSwitchId":"vsw-1","CidrBlock":"10.0.1.0"}"#).unwrap_err();
    }

    #[test]
    fn secondary_blocks_of_a_vpc_count() {
        let body = br#"{"Vpcs":{"Vpc":[{"VpcId":"vpc-1","CidrBlock":"10.0.0.0/16",
            "SecondaryCidrBlocks":{"SecondaryCidrBlock":["172.16.0.0/16","10.0.0.0/16"]},"Ipv6CidrBlock":"fd00::/56",
            "Ipv6CidrBlocks":{"Ipv6CidrBlock":[{"Ipv6CidrBlock":"fd00::/56","Ipv6Isp":"BGP"}]}}]}}"#;
        let blocks = decode_vpc_blocks(body, "vpc-1").unwrap().unwrap();
        assert_eq!(blocks, [net("10.0.0.0/16"), net("172.16.0.0/16"), net("fd00::/56")]);
        assert_eq!(decode_vpc_blocks(body, "vpc-2").unwrap(), None);
    }
}
