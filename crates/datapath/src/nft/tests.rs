use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;

use super::*;
use crate::fixture::facts;

#[test]
fn the_base_is_what_is_documented() {
    let expected = r#"add table inet tideway
add map inet tideway eni4 { type ipv4_addr : verdict; }
add map inet tideway eni6 { type ipv6_addr : verdict; }
add chain inet tideway prerouting { type filter hook prerouting priority mangle; policy accept; }
flush chain inet tideway prerouting
add chain inet tideway afterdnat { type filter hook prerouting priority dstnat + 1; policy accept; }
flush chain inet tideway afterdnat
add chain inet tideway postrouting { type nat hook postrouting priority srcnat; policy accept; }
flush chain inet tideway postrouting
add rule inet tideway prerouting ct mark & 0x00ff0000 { 0x00ff0000, 0x00fe0000, 0x00fd0000 } return
add rule inet tideway prerouting iifname "eth0" ct state new ct mark set ct mark & 0xff00ffff | 0x00ff0000 return
add rule inet tideway prerouting iifname "twx*" ct state new ct mark set ct mark & 0xff00ffff | 0x00fe0000 return
add rule inet tideway prerouting ip saddr vmap @eni4
add rule inet tideway prerouting ip6 saddr vmap @eni6
add rule inet tideway afterdnat ct state new meta mark & 0x00ff0000 != 0x00000000 meta mark & 0x00004000 == 0x00004000 ct mark set ct mark & 0xff00ffff | 0x00ff0000 meta mark set meta mark & 0xff00ffff
add rule inet tideway postrouting ct mark & 0x00ff0000 == 0x00fe0000 oifname "eth0" masquerade
add rule inet tideway postrouting oifname "twx*" ct status dnat masquerade
add rule inet tideway postrouting ct mark & 0x00ff0000 == 0x00ff0000 oifname "eth0" ct status dnat masquerade
"#;
    assert_eq!(base(&facts()), expected);
}

#[test]
fn what_leaves_the_vpc_is_masqueraded_only_when_the_vpc_does_not() {
    assert!(!base(&facts()).contains("daddr"));
    let mut own = facts();
    own.external_snat = false;
    own.vpc_blocks.push("10.0.4.0/24".parse().unwrap());
    let text = base(&own);
    assert!(
        text.contains("ip daddr != { 10.0.0.0/16 } ct mark set ct mark & 0xff00ffff | 0x00fd0000"),
        "{text}"
    );
    assert!(text.contains("ip6 daddr != { fd00:10::/56 }"), "{text}");
    assert!(text.contains("== 0x00fd0000 oifname \"eth0\" masquerade"), "{text}");
}

#[test]
fn an_unchanged_map_needs_no_script_and_an_unused_chain_goes() {
    let one: BTreeMap<IpAddr, u16> = [("10.0.0.1".parse().unwrap(), 3)].into();
    assert_eq!(map_change(&one, &one), "");
    let text = map_change(&one, &BTreeMap::new());
    assert_eq!(
        text,
        "delete element inet tideway eni4 { 10.0.0.1 : goto eni_3 }\ndelete chain inet tideway eni_3\n"
    );
}

fn maps() -> impl Strategy<Value = BTreeMap<IpAddr, u16>> {
    let ip = prop_oneof![
        (0..20u8).prop_map(|n| IpAddr::from([10, 0, 0, n])),
        (0..20u16).prop_map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
    ];
    proptest::collection::btree_map(ip, 1..4u16, 0..12)
}

proptest! {
    /// Every script, line by line on a model of the maps, ends in the wanted state and never refers to a missing chain.
    #[test]
    fn a_change_ends_in_the_wanted_state(now in maps(), wanted in maps()) {
        let mut model = now.clone();
        let mut chains: BTreeSet<u16> = now.values().copied().collect();
        for line in map_change(&now, &wanted).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["add", "chain", _, _, chain] => { chains.insert(slot_of_chain(chain).unwrap()); }
                ["delete", "chain", _, _, chain] => {
                    let slot = slot_of_chain(chain).unwrap();
                    prop_assert!(!model.values().any(|s| *s == slot), "chain in use: {line}");
                    chains.remove(&slot);
                }
                [verb, "element", _, _, _map, "{", ..] => {
                    let inner = line.split_once('{').unwrap().1.trim_end_matches(" }");
                    for element in inner.split(',') {
                        let (ip, chain) = element.trim().split_once(" : goto ").unwrap();
                        let (ip, slot): (IpAddr, u16) = (ip.parse().unwrap(), slot_of_chain(chain).unwrap());
                        if *verb == "add" {
                            prop_assert!(chains.contains(&slot), "no chain: {line}");
                            prop_assert_eq!(model.insert(ip, slot), None, "exists: {}", line);
                        } else {
                            prop_assert_eq!(model.remove(&ip), Some(slot), "not there: {}", line);
                        }
                    }
                }
                _ => {}
            }
        }
        prop_assert_eq!(&model, &wanted);
        prop_assert_eq!(chains, wanted.values().copied().collect::<BTreeSet<_>>());
    }
}
