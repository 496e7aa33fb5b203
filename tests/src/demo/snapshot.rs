//! Before and after: the network state of an instance as a set of lines, and the differences by name.
//!
//! Left out, each with its reason: kube-proxy's own tables (it programs them at its own pace); what `portmap` makes once
//! a node and keeps (its top-level chains, not those of a pod); and, between two states of a pool, the pool's own ENIs.

use std::collections::BTreeSet;

/// What belongs to the pool and not to a pod.
#[derive(Debug, Clone, Default)]
pub struct PoolWords {
    /// Names and MACs of ENIs: their links, addresses, routes and queues are left out.
    pub links: BTreeSet<String>,
    /// Addresses: left out as elements of our own nftables maps, and nowhere else. A route or a neighbour of one is a
    /// pod's and must be gone.
    pub addresses: BTreeSet<String>,
}

impl PoolWords {
    /// Adds another state of the same pool.
    pub fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.addresses.extend(other.addresses);
    }
}

/// One line for each difference: `+` came, `-` went. Empty: equal.
pub fn differences(before: &str, after: &str, pool: &PoolWords) -> Vec<String> {
    let before = canonical(before, pool);
    let after = canonical(after, pool);
    let went = before.difference(&after).map(|line| format!("- {line}"));
    let came = after.difference(&before).map(|line| format!("+ {line}"));
    went.chain(came).collect()
}

fn canonical(text: &str, pool: &PoolWords) -> BTreeSet<String> {
    let mut section = "";
    let mut lines = BTreeSet::new();
    let mut ruleset = Ruleset::default();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            section = title;
        } else if section == "nft" {
            lines.extend(ruleset.take(line, pool));
        } else if !mentions(line, &pool.links) {
            lines.insert(format!("{section}: {}", line.trim()));
        }
    }
    lines
}

/// Whether a line names one of the links.
fn mentions(line: &str, links: &BTreeSet<String>) -> bool {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_')))
        .any(|word| links.contains(word.trim_end_matches(':')))
}

/// The only table of ours.
const OUR_TABLE: &str = "table inet tideway";

/// Where we are inside `nft list ruleset`.
#[derive(Debug, Default)]
struct Ruleset {
    /// Headers of the open blocks, outermost first.
    open: Vec<String>,
    /// Inside `elements = { … }`.
    elements: bool,
}

impl Ruleset {
    /// The facts of one line, each with the table and chain or set that it stands in.
    fn take(&mut self, line: &str, pool: &PoolWords) -> Vec<String> {
        let line = line.trim();
        if line.is_empty() {
            return Vec::new();
        }
        let mut facts = Vec::new();
        if self.elements || line.starts_with("elements = {") {
            let list = line.trim_start_matches("elements = {");
            self.elements = !list.contains('}');
            let elements = list.trim_end_matches('}').split(',').map(str::trim);
            let ours = self.open.first().is_some_and(|table| table == OUR_TABLE);
            let of_pool = |element: &str| {
                let key = element.split(' ').next().unwrap_or_default();
                ours && pool.addresses.contains(key)
            };
            let kept = elements.filter(|e| !e.is_empty()).filter(|e| !of_pool(e));
            facts.extend(kept.map(|e| format!("element {e}")));
        } else if let Some(header) = line.strip_suffix('{') {
            self.open.push(header.trim().to_owned());
            facts.push(String::new());
        } else if line == "}" {
            self.open.pop();
        } else {
            facts.push(line.to_owned());
        }
        facts.retain(|fact| !self.is_foreign(fact) && !mentions(fact, &pool.links));
        let place = self.open.join(" / ");
        facts.iter().map(|fact| format!("nft: {place}: {fact}")).collect()
    }

    fn is_foreign(&self, fact: &str) -> bool {
        let table = self.open.first().map(String::as_str).unwrap_or_default();
        match table {
            "table ip kube-proxy" | "table ip6 kube-proxy" => true,
            // portmap speaks iptables: its chains of a pod are CNI-DN-…, everything else it makes once and keeps.
            "table ip nat" | "table ip6 nat" => {
                !self.open.iter().any(|o| o.contains("CNI-DN-")) && !fact.contains("CNI-DN-")
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM: &str = "\
# link list -4
ifname=eth0 mtu=1500
ifname=eth1 mtu=1500
# rule list -4
priority=512 table=510
# nft
table inet tideway {
	map source {
		type ipv4_addr : mark
		elements = { 10.0.0.5 : 0x00010000,
			     10.0.0.6 : 0x00010000 }
	}
	chain mangle {
		ct mark set meta mark
	}
}
table ip kube-proxy {
	chain services {
		accept
	}
}
";

    fn pool() -> PoolWords {
        PoolWords {
            links: ["eth1".to_owned()].into(),
            addresses: ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn pool_addresses_and_foreign_tables_make_no_difference() {
        let after = WARM.replace("10.0.0.6", "10.0.0.7").replace("accept", "drop")
            + "table ip nat {\n\tchain CNI-HOSTPORT-DNAT {\n\t\tcounter\n\t}\n}\n";
        assert_eq!(differences(WARM, &after, &pool()), Vec::<String>::new());
    }

    #[test]
    fn a_leftover_link_rule_element_or_portmap_chain_is_named() {
        let leaks = [
            ("ifname=eth0 mtu=1500\n", "ifname=eth0 mtu=1500\nifname=tw1234 mtu=1500\n", "tw1234"),
            (
                "priority=512 table=510\n",
                "priority=512 table=510\npriority=2048 table=1001\n",
                "2048",
            ),
            // The address is the pool's, the route is a pod's.
            (
                "# rule list",
                "# route list\ndst=10.0.0.6 dev=tw1234 table=510\n# rule list",
                "tw1234",
            ),
            ("10.0.0.6 : 0x00010000", "10.0.0.99 : 0x00010000", "10.0.0.99"),
            (
                "table ip kube-proxy {",
                "table ip nat {\n\tchain CNI-DN-abc {\n\t\tdnat to 10.0.0.5:80\n\t}\n}\ntable ip kube-proxy {",
                "CNI-DN-abc",
            ),
        ];
        for (from, to, name) in leaks {
            let found = differences(WARM, &WARM.replace(from, to), &pool());
            assert!(!found.is_empty());
            assert!(found.iter().all(|f| f.contains(name)), "{found:?}");
        }
    }
}
