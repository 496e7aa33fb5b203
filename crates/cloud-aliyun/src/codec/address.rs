//! Addresses of an ENI: assign and unassign, of both families.
//!
//! Assign is asked by count and answers only what this call added. IPv6 calls take at most ten addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use tideway_model::{EniId, Family};

use super::{Senseless, eni::address, json, or_default};
use crate::{Api, ApiRequest};

/// Most addresses of an IPv6 assign or unassign (`Ipv6AddressCount`, `Ipv6Address.N`: 1–10).
pub const V6_PER_CALL: u16 = 10;
/// Most addresses of an IPv4 assign or unassign; what the API page allows for an ENI.
pub const V4_PER_CALL: u16 = 49;

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

/// Decodes the answer to an assign: what was added, never nothing.
pub fn decode_assigned(body: &[u8], family: Family) -> Result<Vec<IpAddr>, Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct V4 {
        assigned_private_ip_addresses_set: V4Set,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct V4Set {
        private_ip_set: V4List,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct V4List {
        #[serde(default, deserialize_with = "or_default")]
        private_ip_address: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct V6 {
        ipv6_sets: V6List,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct V6List {
        #[serde(default, deserialize_with = "or_default")]
        ipv6_address: Vec<String>,
    }
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
