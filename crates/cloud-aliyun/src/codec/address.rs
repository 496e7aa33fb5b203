//! Addresses and prefixes of an ENI: assign and unassign, of both families.
//!
//! Assign is asked by count and answers only what this call added. IPv6 calls take at most ten addresses, and all calls at
//! most ten prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use tideway_model::{EniId, Family};

use super::{
    Senseless,
    eni::{address, prefix},
    json, or_default,
};
use crate::{Api, ApiRequest};

/// Most addresses of an IPv6 assign or unassign (`Ipv6AddressCount`, `Ipv6Address.N`: 1–10).
pub const V6_PER_CALL: u16 = 10;
/// Most addresses of an IPv4 assign or unassign; what the API page allows for an ENI.
pub const V4_PER_CALL: u16 = 49;

/// Most prefixes of an assign, unassign or create (`Ipv4PrefixCount`, `Ipv6Prefix.N` and so on: 1–10).
pub const PREFIXES_PER_CALL: u16 = 10;

/// How many addresses one assign may ask for.
pub fn most(family: Family) -> u16 {
    match family {
        Family::V4 => V4_PER_CALL,
        Family::V6 => V6_PER_CALL,
    }
}

/// Asks for `count` addresses, at most [`most`]. The cut depends on `count` only, so a repetition with the same token has
/// the same parameters.
pub fn assign(region: &str, eni: &EniId, family: Family, count: u16, token: &str) -> ApiRequest {
    let (action, key) = match family {
        Family::V4 => ("AssignPrivateIpAddresses", "SecondaryPrivateIpAddressCount"),
        Family::V6 => ("AssignIpv6Addresses", "Ipv6AddressCount"),
    };
    ApiRequest::new(Api::Ecs, action, region)
        .with("NetworkInterfaceId", eni)
        .with(key, count.min(most(family)))
        .with("ClientToken", token)
}

/// Asks for `count` prefixes, at most [`PREFIXES_PER_CALL`]; cut as [`assign`] is.
pub fn assign_prefixes(
    region: &str,
    eni: &EniId,
    family: Family,
    count: u16,
    token: &str,
) -> ApiRequest {
    let (action, key) = match family {
        Family::V4 => ("AssignPrivateIpAddresses", "Ipv4PrefixCount"),
        Family::V6 => ("AssignIpv6Addresses", "Ipv6PrefixCount"),
    };
    ApiRequest::new(Api::Ecs, action, region)
        .with("NetworkInterfaceId", eni)
        .with(key, count.min(PREFIXES_PER_CALL))
        .with("ClientToken", token)
}

/// Gives IPv4 prefixes back.
pub fn unassign_prefixes_v4(region: &str, eni: &EniId, prefixes: &[Ipv4Net]) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "UnassignPrivateIpAddresses", region)
        .with("NetworkInterfaceId", eni)
        .with_list("Ipv4Prefix", prefixes)
}

/// Gives IPv6 prefixes back.
pub fn unassign_prefixes_v6(region: &str, eni: &EniId, prefixes: &[Ipv6Net]) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "UnassignIpv6Addresses", region)
        .with("NetworkInterfaceId", eni)
        .with_list("Ipv6Prefix", prefixes)
}

/// Gives IPv4 addresses back.
pub fn unassign_v4(region: &str, eni: &EniId, addresses: &[Ipv4Addr]) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "UnassignPrivateIpAddresses", region)
        .with("NetworkInterfaceId", eni)
        .with_list("PrivateIpAddress", addresses)
}

/// Gives IPv6 addresses back.
pub fn unassign_v6(region: &str, eni: &EniId, addresses: &[Ipv6Addr]) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "UnassignIpv6Addresses", region)
        .with("NetworkInterfaceId", eni)
        .with_list("Ipv6Address", addresses)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V4 {
    assigned_private_ip_addresses_set: V4Set,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V4Set {
    #[serde(default, deserialize_with = "or_default")]
    private_ip_set: V4List,
    #[serde(default, deserialize_with = "or_default")]
    ipv4_prefix_set: V4Prefixes,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V4List {
    #[serde(default, deserialize_with = "or_default")]
    private_ip_address: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V4Prefixes {
    #[serde(default, deserialize_with = "or_default")]
    ipv4_prefixes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V6 {
    #[serde(default, deserialize_with = "or_default")]
    ipv6_sets: V6List,
    #[serde(default, deserialize_with = "or_default")]
    ipv6_prefix_sets: V6Prefixes,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V6List {
    #[serde(default, deserialize_with = "or_default")]
    ipv6_address: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct V6Prefixes {
    #[serde(default, deserialize_with = "or_default")]
    ipv6_prefix: Vec<String>,
}

/// Decodes the answer to an assign of prefixes: what was added, never nothing.
pub fn decode_assigned_prefixes(body: &[u8], family: Family) -> Result<Vec<IpNet>, Senseless> {
    let texts = match family {
        Family::V4 => {
            let answer: V4 = json(body)?;
            answer.assigned_private_ip_addresses_set.ipv4_prefix_set.ipv4_prefixes
        }
        Family::V6 => json::<V6>(body)?.ipv6_prefix_sets.ipv6_prefix,
    };
    if texts.is_empty() {
        return Err(Senseless("it names no assigned prefix".into()));
    }
    texts.iter().map(|text| prefix(text, family)).collect()
}

/// Decodes the answer to an assign: what was added, never nothing.
pub fn decode_assigned(body: &[u8], family: Family) -> Result<Vec<IpAddr>, Senseless> {
    let (name, texts) = match family {
        Family::V4 => {
            let answer: V4 = json(body)?;
            let list = answer.assigned_private_ip_addresses_set.private_ip_set;
            ("PrivateIpAddress", list.private_ip_address)
        }
        Family::V6 => ("Ipv6Address", json::<V6>(body)?.ipv6_sets.ipv6_address),
    };
    if texts.is_empty() {
        return Err(Senseless("it names no assigned address".into()));
    }
    let own = |ip: IpAddr| {
        let other = || Senseless(format!("{name} is {ip}, which is of the other family"));
        (Family::of(ip) == family).then_some(ip).ok_or_else(other)
    };
    texts.iter().map(|ip| address(name, ip).and_then(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eni() -> EniId {
        "eni-1".try_into().unwrap()
    }

    #[test]
    fn a_repeated_assign_has_the_same_parameters_even_when_it_was_cut() {
        let once = assign("r", &eni(), Family::V6, 33, "t");
        assert_eq!(once, assign("r", &eni(), Family::V6, 33, "t"));
        assert_eq!(once.get("Ipv6AddressCount"), Some("10"));
        let v4 = assign("r", &eni(), Family::V4, 5, "t");
        assert_eq!(v4.get("SecondaryPrivateIpAddressCount"), Some("5"));
        assert_eq!(v4.get("ClientToken"), Some("t"));
    }

    #[test]
    fn unassign_lists_addresses_from_one() {
        let v4 = unassign_v4("r", &eni(), &[[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
        assert_eq!(v4.get("PrivateIpAddress.2"), Some("10.0.0.2"));
        let v6 = unassign_v6("r", &eni(), &["fd00::1".parse().unwrap()]);
        assert_eq!(v6.get("Ipv6Address.1"), Some("fd00::1"));
    }

    #[test]
    fn both_families_have_their_own_set_names() {
        let v4 = br#"{"RequestId":"x","AssignedPrivateIpAddressesSet":{"NetworkInterfaceId":"eni-1",
            "PrivateIpSet":{"PrivateIpAddress":["10.0.0.4","10.0.0.5"]},"Ipv4PrefixSet":{"Ipv4Prefixes":[]}}}"#;
        assert_eq!(decode_assigned(v4, Family::V4).unwrap().len(), 2);
        let v6 = br#"{"NetworkInterfaceId":"eni-1","Ipv6Sets":{"Ipv6Address":["fd00::5"]}}"#;
        assert_eq!(
            decode_assigned(v6, Family::V6).unwrap(),
            ["fd00::5".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn prefixes_are_asked_by_count_and_given_back_by_name() {
        let v4 = assign_prefixes("r", &eni(), Family::V4, 33, "t");
        assert_eq!(v4.get("Ipv4PrefixCount"), Some("10"), "cut to what one call takes");
        assert_eq!(v4.get("SecondaryPrivateIpAddressCount"), None);
        let v6 = assign_prefixes("r", &eni(), Family::V6, 1, "t");
        assert_eq!((v6.action, v6.get("Ipv6PrefixCount")), ("AssignIpv6Addresses", Some("1")));
        let v4 = unassign_prefixes_v4("r", &eni(), &["10.0.0.16/28".parse().unwrap()]);
        assert_eq!(v4.get("Ipv4Prefix.1"), Some("10.0.0.16/28"));
        let v6 = unassign_prefixes_v6("r", &eni(), &["fd00:0:0:0:1::/80".parse().unwrap()]);
        assert_eq!(v6.action, "UnassignIpv6Addresses");
        assert_eq!(v6.get("Ipv6Prefix.1"), Some("fd00::1:0:0:0/80"));
    }

    #[test]
    fn assigned_prefixes_of_both_families_are_read_from_their_own_sets() {
        let v4 =
            br#"{"AssignedPrivateIpAddressesSet":{"NetworkInterfaceId":"eni-1","PrivateIpSet":null,
            "Ipv4PrefixSet":{"Ipv4Prefixes":["10.0.0.16/28"]}}}"#;
        let want: IpNet = "10.0.0.16/28".parse().unwrap();
        assert_eq!(decode_assigned_prefixes(v4, Family::V4).unwrap(), [want]);
        decode_assigned(v4, Family::V4).unwrap_err();
        let v6 = br#"{"NetworkInterfaceId":"eni-1","Ipv6PrefixSets":{"Ipv6Prefix":["fd00:0:0:0:1::/80"]}}"#;
        assert_eq!(decode_assigned_prefixes(v6, Family::V6).unwrap().len(), 1);
    }

    #[test]
    fn a_prefix_of_another_length_or_family_makes_no_sense() {
        for text in ["10.0.0.16/27", "10.0.0.17/28", "10.0.0.16", "fd00:0:0:0:1::/80", "x", ""] {
            let body = format!(
                r#"{{"AssignedPrivateIpAddressesSet":{{"Ipv4PrefixSet":{{"Ipv4Prefixes":["{text}"]}}}}}}"#
            );
            assert!(decode_assigned_prefixes(body.as_bytes(), Family::V4).is_err(), "{text}");
        }
        let none = br#"{"AssignedPrivateIpAddressesSet":{"PrivateIpSet":{"PrivateIpAddress":["10.0.0.4"]}}}"#;
        decode_assigned_prefixes(none, Family::V4).unwrap_err();
    }

    #[test]
    fn an_assigned_address_of_the_other_family_makes_no_sense() {
        let body = br#"{"AssignedPrivateIpAddressesSet":{"PrivateIpSet":{"PrivateIpAddress":["fd00::5"]}}}"#;
        decode_assigned(body, Family::V4).unwrap_err();
        let body = br#"{"Ipv6Sets":{"Ipv6Address":["10.0.0.4"]}}"#;
        decode_assigned(body, Family::V6).unwrap_err();
    }

    #[test]
    fn success_without_an_address_is_no_success() {
        for body in [
            "{}",
            "null",
            r#"{"AssignedPrivateIpAddressesSet":{"PrivateIpSet":{"PrivateIpAddress":[]}}}"#,
            r#"{"AssignedPrivateIpAddressesSet":{"PrivateIpSet":{"PrivateIpAddress":["10.0.0"]}}}"#,
        ] {
            assert!(decode_assigned(body.as_bytes(), Family::V4).is_err(), "{body}");
        }
    }
}
