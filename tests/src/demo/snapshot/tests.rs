use super::*;

/// A node with an ENI that has this table slot, this link and these addresses.
fn node(slot: u16, link: &str, addresses: [&str; 2]) -> Snapshot {
    let (table, [a, b]) = (1000 + slot, addresses);
    let network = format!(
        "\
# link list -4
ifname=eth0 mtu=1500
ifname={link} mtu=1500
# route list table all -4
dev=\"{link}\" dst=\"default\" protocol=\"84\" table=\"{table}\"
# rule list -4
fwmark=\"0x{slot}0000\" fwmask=\"0xff0000\" priority=1024 protocol=\"84\" src=\"all\" table=\"{table}\"
priority=512 protocol=\"84\" src=\"all\" table=\"510\"
# nft
table inet tideway {{
	map eni4 {{
		type ipv4_addr : verdict
		elements = {{ {a} : goto eni_{slot},
			     {b} : goto eni_{slot} }}
	}}
	chain prerouting {{
		ct mark & 0x00ff0000 == 0x00ff0000 return
	}}
	chain eni_{slot} {{
		meta mark set meta mark & 0xff0{slot}ffff | 0x000{slot}0000
	}}
}}
table ip kube-proxy {{
	chain services {{
		accept
	}}
}}
"
    );
    let tables = [(table, addresses.map(str::to_owned).into())].into();
    Snapshot {
        network,
        pool: PoolWords { links: [link.to_owned()].into(), tables, ..PoolWords::default() },
    }
}

fn warm() -> Snapshot {
    node(1, "eth1", ["10.0.0.5", "10.0.0.6"])
}

/// The same books, another kernel.
fn changed(mut snapshot: Snapshot, from: &str, to: &str) -> Snapshot {
    assert!(snapshot.network.contains(from), "{from}");
    snapshot.network = snapshot.network.replacen(from, to, 1);
    snapshot
}

#[test]
fn another_eni_with_other_addresses_and_foreign_tables_make_no_difference() {
    let mut after = changed(node(3, "eth2", ["10.0.0.7", "10.0.0.5"]), "accept", "drop");
    after.network += "table ip nat {\n\tchain CNI-HOSTPORT-DNAT {\n\t\tcounter\n\t}\n}\n";
    assert_eq!(differences(&warm(), &after), Vec::<String>::new());
}

#[test]
fn two_enis_of_which_each_has_its_own_make_no_difference() {
    let (mut both, second) = (warm(), node(2, "eth2", ["10.0.0.8", "10.0.0.9"]));
    both.network += &second.network;
    both.pool.links.extend(second.pool.links);
    both.pool.tables.extend(second.pool.tables);
    assert_eq!(differences(&warm(), &both), Vec::<String>::new());
    // Without the books' word the second one is left over, whole.
    both.pool.tables.remove(&1002);
    both.pool.links.remove("eth2");
    let found = differences(&warm(), &both);
    for word in ["ifname=eth2", "table=\"1002\"", "chain eni_2", "10.0.0.8", "10.0.0.9"] {
        assert!(found.iter().any(|f| f.starts_with('+') && f.contains(word)), "{word}: {found:?}");
    }
}

#[test]
fn a_leftover_link_rule_element_or_chain_is_named() {
    let leaks = [
        ("ifname=eth0 mtu=1500\n", "ifname=eth0 mtu=1500\nifname=tw1234 mtu=1500\n", "tw1234"),
        ("# rule list -4\n", "# rule list -4\npriority=2048 table=\"1003\"\n", "2048"),
        ("# rule list -4\n", "# rule list -4\nfwmark=\"0x70000\" table=\"1007\"\n", "1007"),
        (
            "# route list table all -4\n",
            "# route list table all -4\ndst=10.9.9.9 table=\"1003\"\n",
            "10.9.9.9",
        ),
        // The address is the pool's, the route is a pod's.
        ("# rule list", "# route list\ndst=10.0.0.6 dev=tw1234 table=510\n# rule list", "tw1234"),
        ("elements = {", "elements = { 10.0.0.99 : goto eni_3,", "10.0.0.99"),
        ("\tchain prerouting {", "\tchain eni_9 {\n\t}\n\tchain prerouting {", "eni_9"),
        (
            "table ip kube-proxy {",
            "table ip nat {\n\tchain CNI-DN-abc {\n\t\tdnat to 10.0.0.5:80\n\t}\n}\ntable ip kube-proxy {",
            "CNI-DN-abc",
        ),
    ];
    for (from, to, name) in leaks {
        let after = changed(node(3, "eth2", ["10.0.0.5", "10.0.0.6"]), from, to);
        let found = differences(&warm(), &after);
        assert!(!found.is_empty(), "{name}");
        assert!(found.iter().all(|f| f.starts_with('+') && f.contains(name)), "{found:?}");
    }
}

#[test]
fn what_an_eni_of_the_books_lacks_is_named() {
    let lacks = [
        ("10.0.0.5 : goto eni_3,", "", "10.0.0.5"),
        ("10.0.0.5 : goto eni_3,", "10.0.0.5 : goto eni_1,", "10.0.0.5"),
        ("fwmark=\"0x30000\"", "fwmark=\"0x10000\"", "fwmark"),
        ("meta mark set meta mark & 0xff03ffff | 0x00030000", "", "meta mark"),
        ("\tchain eni_3 {", "\tchain eni_1 {", "chain"),
    ];
    for (from, to, name) in lacks {
        let after = changed(node(3, "eth2", ["10.0.0.5", "10.0.0.6"]), from, to);
        let found = differences(&warm(), &after);
        assert!(found.iter().any(|f| f.starts_with('-') && f.contains(name)), "{name}: {found:?}");
    }
}
