use proptest::prelude::*;

use super::*;

const ENI: &str = r#"{
    "NetworkInterfaceId":"eni-1","MacAddress":"00:16:3e:00:00:01","Status":"InUse","Type":"Secondary",
    "InstanceId":"i-1","Attachment":{"InstanceId":"i-1","DeviceIndex":0},"VSwitchId":"vsw-1","VpcId":"vpc-1",
    "PrivateIpAddress":"10.0.0.7","SecurityGroupIds":{"SecurityGroupId":["sg-1","sg-2"]},
    "PrivateIpSets":{"PrivateIpSet":[{"PrivateIpAddress":"10.0.0.8","Primary":false},
        {"PrivateIpAddress":"10.0.0.7","Primary":true,"AssociatedPublicIp":{}}]},
    "Ipv6Sets":{"Ipv6Set":[{"Ipv6Address":"fd00::7"}]},
    "Ipv4PrefixSets":{"Ipv4PrefixSet":[{"Ipv4Prefix":"10.0.0.16/28"},{"Ipv4Prefix":"10.0.0.64/28"}]},
    "Ipv6PrefixSets":{"Ipv6PrefixSet":[{"Ipv6Prefix":"fd00:0:0:0:1::/80"}]},
    "Tags":{"Tag":[{"TagKey":"tideway.dev/cluster","TagValue":"c1"},{"TagKey":"empty","TagValue":""}]},
    "SomethingNew":{"a":[1,2]}}"#;

fn page(enis: &str, token: &str) -> String {
    format!(
        r#"{{"RequestId":"r","NextToken":{token},"NetworkInterfaceSets":{{"NetworkInterfaceSet":[{enis}]}}}}"#
    )
}

#[test]
fn an_eni_is_read_with_both_families_and_the_primary_address_first() {
    let page = decode_page(page(ENI, "\"more\"").as_bytes()).unwrap();
    assert_eq!(page.next_token.as_deref(), Some("more"));
    let eni = &page.enis[0];
    let want: Vec<IpAddr> =
        ["10.0.0.7", "10.0.0.8", "fd00::7"].iter().map(|ip| ip.parse().unwrap()).collect();
    assert_eq!(eni.addresses, want);
    assert_eq!(eni.primary_ip, Some(want[0]));
    let prefixes: Vec<String> = eni.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.16/28", "10.0.0.64/28", "fd00::1:0:0:0/80"]);
    assert_eq!((eni.status, eni.primary), (EniStatus::InUse, false));
    assert_eq!(eni.instance.as_ref().unwrap().as_str(), "i-1");
    assert_eq!(eni.tags["tideway.dev/cluster"], "c1");
    assert_eq!(eni.security_groups.len(), 2);
}

#[test]
fn an_age_that_is_not_understood_is_unknown_and_breaks_no_node() {
    let aged = |field: &str| {
        let body = page(&ENI.replacen('{', &format!("{{{field}"), 1), "null");
        decode_page(body.as_bytes()).unwrap().enis[0].created
    };
    let moment = UnixMillis(1_769_072_265_000);
    assert_eq!(aged(r#""CreationTime":"2026-01-22T08:57:45Z","#), Some(moment));
    for field in ["", r#""CreationTime":null,"#, r#""CreationTime":"","#] {
        assert_eq!(aged(field), None, "{field}");
    }
    assert_eq!(aged(r#""CreationTime":"yesterday","#), None);
    assert_eq!(aged(r#""CreationTime":"1960-01-01T00:00:00Z","#), None);
}

#[test]
fn a_detached_eni_has_no_instance() {
    let eni = r#"{"NetworkInterfaceId":"eni-1","MacAddress":"00:16:3e:00:00:01","Status":"Available","VSwitchId":"vsw-1",
        "InstanceId":"","Attachment":{},"PrivateIpSets":null,"Ipv6Sets":null,"Tags":null,"SecurityGroupIds":null}"#;
    let page = decode_page(page(eni, "\"\"").as_bytes()).unwrap();
    assert_eq!((page.next_token, page.enis[0].instance.clone()), (None, None));
}

#[test]
fn one_eni_that_is_not_understood_fails_the_list_and_is_named() {
    for (from, to) in [
        ("\"InUse\"", "\"Levitating\""),
        ("00:16:3e:00:00:01", "00:16:3e"),
        ("10.0.0.8", "10.0.0.256"),
        ("\"fd00::7\"", "\"fd00:::7\""),
        ("10.0.0.16/28", "10.0.0.17/28"),
        ("fd00:0:0:0:1::/80", "fd00:0:0:0:1::/64"),
        ("\"vsw-1\"", "\"\""),
    ] {
        let broken = ENI.replace(from, to);
        let error = decode_page(page(&broken, "null").as_bytes()).unwrap_err();
        assert!(error.0.starts_with("eni-1: "), "{error}");
    }
}

#[test]
fn an_answer_without_the_list_is_not_an_empty_list() {
    for body in ["{}", r#"{"RequestId":"r"}"#, r#"{"NetworkInterfaceSets":null}"#, "[]", ""] {
        assert!(decode_page(body.as_bytes()).is_err(), "{body:?}");
    }
    assert!(decode_page(page("", "null").as_bytes()).unwrap().enis.is_empty());
}

fn asked() -> CreateEni {
    CreateEni {
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: vec!["sg-1".try_into().unwrap()],
        secondary_v4: 60,
        v6: 11,
        prefixes_v4: 12,
        prefixes_v6: 1,
        tags: BTreeMap::from([("tideway.dev/intent".to_owned(), "7".to_owned())]),
        token: "tok".into(),
    }
}

#[test]
fn a_create_carries_tags_and_token_and_stays_within_the_limits_of_the_api() {
    let request = create("r", &asked());
    for (key, value) in [
        ("VSwitchId", "vsw-1"),
        ("SecurityGroupIds.1", "sg-1"),
        ("SecondaryPrivateIpAddressCount", "49"),
        ("Ipv6AddressCount", "10"),
        ("Ipv4PrefixCount", "10"),
        ("Ipv6PrefixCount", "1"),
        ("DeleteOnRelease", "true"),
        ("ClientToken", "tok"),
        ("Tag.1.Key", "tideway.dev/intent"),
        ("Tag.1.Value", "7"),
    ] {
        assert_eq!(request.get(key), Some(value), "{key}");
    }
    let bare = CreateEni { secondary_v4: 0, v6: 0, prefixes_v4: 0, prefixes_v6: 0, ..asked() };
    let none = create("r", &bare);
    assert_eq!((none.get("Ipv4PrefixCount"), none.get("Ipv6PrefixCount")), (None, None));
    assert_eq!(none.get("SecondaryPrivateIpAddressCount"), None);
    assert_eq!(none.get("Ipv6AddressCount"), None);
}

#[test]
fn a_create_that_names_no_eni_has_not_succeeded() {
    let body = r#"{"RequestId":"r","NetworkInterfaceId":"","MacAddress":"00:16:3e:00:00:01"}"#;
    decode_created(body.as_bytes(), &asked()).unwrap_err();
    let body = r#"{"NetworkInterfaceId":"eni-9","MacAddress":"00:16:3e:00:00:01","PrivateIpAddress":"10.0.0.9"}"#;
    let eni = decode_created(body.as_bytes(), &asked()).unwrap();
    assert_eq!((eni.status, eni.subnet.as_str()), (EniStatus::Available, "vsw-1"));
    assert_eq!(eni.tags["tideway.dev/intent"], "7");
}

#[test]
fn a_describe_names_all_its_conditions() {
    let filter = EniFilter {
        instance: Some("i-1".try_into().unwrap()),
        status: Some(EniStatus::Available),
        tags: asked().tags,
        ..EniFilter::default()
    };
    let request = describe("r", &filter, &["eni-1".try_into().unwrap()], Some("t=/"));
    for (key, value) in [
        ("InstanceId", "i-1"),
        ("Status", "Available"),
        ("NetworkInterfaceId.1", "eni-1"),
        ("NextToken", "t=/"),
        ("MaxResults", "500"),
        ("Tag.1.Key", "tideway.dev/intent"),
    ] {
        assert_eq!(request.get(key), Some(value), "{key}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..1200) {
        let whole = page(ENI, "\"t\"");
        let cut = &whole.as_bytes()[..cut.min(whole.len().saturating_sub(1))];
        prop_assert!(decode_page(cut).is_err(), "a torn answer was taken for whole");
        prop_assert!(decode_page(&bytes).is_err());
        prop_assert!(decode_created(&bytes, &asked()).is_err());
    }
}
