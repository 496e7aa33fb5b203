//! Before and after: the network state of an instance as a set of lines, and the differences by name.
//!
//! Left out, each with its reason: kube-proxy's own tables (it programs them at its own pace); what `portmap` makes once
//! a node and keeps (its top-level chains, not those of a pod); and, of each state, the links of the pool's ENIs then. What
//! the kernel has for an ENI beside its link must be what its daemon's books ask for, whatever its number.

use std::collections::{BTreeMap, BTreeSet};

use tideway_model::names;

/// A node at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The kernel's network state, as the lab writes it.
    pub network: String,
    /// The daemon's books.
    pub pool: PoolWords,
}

/// What belongs to the pool and not to a pod.
#[derive(Debug, Clone, Default)]
pub struct PoolWords {
    /// Names and MACs of ENIs: their links, addresses, routes and queues are left out.
    pub links: BTreeSet<String>,
    /// Routing tables of the shared ENIs that serve, each with the addresses that our nftables maps lead to it: these and
    /// no others. An address is left out there and nowhere else: a route or a neighbour of one is a pod's and must be gone.
    pub tables: BTreeMap<u16, BTreeSet<String>>,
    /// The same for addresses that are on their way back to the cloud: our maps may have them still.
    pub going: BTreeMap<u16, BTreeSet<String>>,
}

/// Elements of our maps, as [`Ruleset::take`] tells them.
fn elements(tables: &BTreeMap<u16, BTreeSet<String>>) -> BTreeSet<String> {
    let of_table = |(table, addresses): (&u16, &BTreeSet<String>)| {
        let chain = chain(*table);
        let element = |ip: &String| {
            let map = if ip.contains(':') { "eni6" } else { "eni4" };
            format!("nft: {OUR_TABLE} / map {map}: element {ip} : goto {chain}")
        };
        addresses.iter().map(element).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of_table).collect()
}

/// One line for each difference: `+` came, `-` went. Empty: equal.
pub fn differences(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let (before, after) = (Facts::of(before), Facts::of(after));
    let mut found = apart(&before.common, &after.common);
    // Each ENI has what those of the first pool had, also when it is another one with another table.
    let wanted = before.of_tables.into_values().flatten().collect();
    for (table, facts) in &after.of_tables {
        let lines = apart(&wanted, facts).into_iter();
        found.extend(lines.map(|line| format!("{line} (table {table})")));
    }
    found.extend(after.lacking.iter().map(|element| format!("- {element}")));
    found
}

fn apart(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let went = before.difference(after).map(|line| format!("- {line}"));
    let came = after.difference(before).map(|line| format!("+ {line}"));
    went.chain(came).collect()
}

/// The lines of a snapshot, by whose they are.
#[derive(Debug, Default)]
struct Facts {
    common: BTreeSet<String>,
    /// Rules, routes and chain of each table of the pool, told without its number.
    of_tables: BTreeMap<u16, BTreeSet<String>>,
    /// Elements that our maps must have and have not.
    lacking: BTreeSet<String>,
}

impl Facts {
    fn of(snapshot: &Snapshot) -> Self {
        let pool = &snapshot.pool;
        let none = |table: &u16| (*table, BTreeSet::new());
        let of_tables = pool.tables.keys().map(none).collect();
        let mut facts =
            Self { common: BTreeSet::new(), of_tables, lacking: elements(&pool.tables) };
        let going = elements(&pool.going);
        for line in lines(&snapshot.network, &pool.links) {
            if facts.lacking.remove(&line) || going.contains(&line) {
                continue;
            }
            let mut tables = facts.of_tables.iter_mut();
            match tables.find_map(|(table, own)| Some((own, without_number(&line, *table)?))) {
                Some((own, plain)) => own.insert(plain),
                None => facts.common.insert(line),
            };
        }
        facts
    }
}

fn lines(network: &str, links: &BTreeSet<String>) -> BTreeSet<String> {
    let mut section = "";
    let mut told = BTreeSet::new();
    let mut ruleset = Ruleset::default();
    for line in network.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            section = title;
        } else if section == "nft" {
            told.extend(ruleset.take(line, links));
        } else if !mentions(line, links) {
            told.insert(format!("{section}: {}", line.trim()));
        }
    }
    told
}

/// The chain that leads to the routing table of an ENI.
fn chain(table: u16) -> String {
    format!("eni_{}", slot(table))
}

fn slot(table: u16) -> u32 {
    u32::from(table).saturating_sub(names::TABLE_ENI)
}

/// A rule, route or chain of this routing table without the numbers that follow from it; none when it is not the table's.
fn without_number(line: &str, table: u16) -> Option<String> {
    let (slot, chain) = (slot(table), chain(table));
    let mark = slot << names::MARK_SHIFT;
    let numbers = [
        (format!("table=\"{table}\""), "table=its"),
        (format!("fwmark=\"{mark:#x}\""), "fwmark=its"),
        (format!("chain {chain}:"), "chain its:"),
        (format!("{:#010x}", !names::MARK_MASK | mark), "its mask"),
        (format!("{mark:#010x}"), "its mark"),
    ];
    let plain = numbers.iter().fold(line.to_owned(), |line, (own, any)| line.replace(own, any));
    (plain != line).then_some(plain)
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
    fn take(&mut self, line: &str, links: &BTreeSet<String>) -> Vec<String> {
        let line = line.trim();
        if line.is_empty() {
            return Vec::new();
        }
        let mut facts = Vec::new();
        if self.elements || line.starts_with("elements = {") {
            let list = line.trim_start_matches("elements = {");
            self.elements = !list.contains('}');
            let elements = list.trim_end_matches('}').split(',').map(str::trim);
            facts.extend(elements.filter(|e| !e.is_empty()).map(|e| format!("element {e}")));
        } else if let Some(header) = line.strip_suffix('{') {
            self.open.push(header.trim().to_owned());
            facts.push(String::new());
        } else if line == "}" {
            self.open.pop();
        } else {
            facts.push(line.to_owned());
        }
        facts.retain(|fact| !self.is_foreign(fact) && !mentions(fact, links));
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
mod tests;
