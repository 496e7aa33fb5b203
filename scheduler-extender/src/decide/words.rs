//! What a refusal says. A text that changes patches the pod's condition, and that patch wakes the pod: refused pods would spin.
//! So a text is kept for half a minute, and where many nodes were asked it is the same for all nodes and all pods of a kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{Kind, PerKind, Wants};
use super::nodes::{Node, Nodes, Room};

/// How each of our texts begins: the pod's condition shows by it that we refused the pod.
pub const OUR_WORDS: &str = "tideway: ";
/// How long a text stays.
const REST: Duration = Duration::from_secs(30);
/// Texts of single nodes that are kept at most.
const EXACT: usize = 4096;

/// The texts in use.
#[derive(Debug, Default)]
pub(super) struct Words {
    coarse: HashMap<(Kind, bool), (Arc<str>, Duration)>,
    exact: HashMap<(Box<str>, Kind), (Arc<str>, Duration)>,
}

impl Words {
    /// For many nodes: coarse totals, no names, no times.
    pub(super) fn coarse(
        &mut self,
        now: Duration,
        nodes: &Nodes,
        kind: Kind,
        careful: bool,
    ) -> Arc<str> {
        let key = (kind, careful);
        if let Some((text, since)) = self.coarse.get(&key)
            && now.saturating_sub(*since) < REST
        {
            return Arc::clone(text);
        }
        let text: Arc<str> = format!("{OUR_WORDS}{}", coarse(nodes, kind, careful)).into();
        self.coarse.insert(key, (Arc::clone(&text), now));
        text
    }

    /// For one node: its numbers.
    pub(super) fn exact(
        &mut self,
        now: Duration,
        name: &str,
        node: Option<&Node>,
        wants: Wants,
        room: Option<Room>,
    ) -> Arc<str> {
        let key = (name.into(), wants.kind);
        if let Some((text, since)) = self.exact.get(&key)
            && now.saturating_sub(*since) < REST
        {
            return Arc::clone(text);
        }
        if self.exact.len() >= EXACT {
            self.exact.clear();
        }
        let text: Arc<str> = format!("{OUR_WORDS}{}", exact(name, node, wants, room)).into();
        self.exact.insert(key, (Arc::clone(&text), now));
        text
    }
}

fn coarse(nodes: &Nodes, kind: Kind, careful: bool) -> String {
    let unit = kind.unit();
    if careful {
        return format!(
            "no node with room for certain: the extender has just started and pods may be on their way (wait 10 s; {unit})"
        );
    }
    let mut soon: u64 = 0;
    let mut held: u64 = 0;
    for node in nodes.iter().filter(|n| n.report.is_some()) {
        soon += u64::from(node.standing.soon.of(kind));
        held += u64::from(node.load.held.of(kind));
    }
    let free = nodes.rooms.total(kind);
    let mut text = format!("no free {unit} on the nodes asked; cluster-wide: free {}", about(free));
    for (count, word) in [(soon, "cooling or leaving"), (held, "held for pods on their way")] {
        if count > 0 {
            text = format!("{text}, {word} {}", about(count));
        }
    }
    if nodes.rooms.is_short(kind) {
        text.push_str(", a subnet is full");
    }
    text
}

fn exact(name: &str, node: Option<&Node>, wants: Wants, room: Option<Room>) -> String {
    let (kind, units) = (wants.kind, wants.units);
    let unit = kind.unit();
    let Some((node, report)) = node.and_then(|n| Some((n, n.report.as_deref()?))) else {
        return format!(
            "node {name} runs no Tideway (it has no NodeNetwork object): it has no {unit}"
        );
    };
    if !report.ready {
        return format!(
            "the network of node {name} is not ready: see kubectl describe nodenetwork {name}"
        );
    }
    let PerKind { shared, exclusive, member } = node.load.pods;
    let pods = match kind {
        Kind::Shared => shared,
        Kind::Exclusive => exclusive,
        Kind::Member => member,
    };
    let free = room.map_or(0, |r| r.free);
    let mut text = format!("node {name}: needs {units} {unit}, free {free}, with pods {pods}");
    let leaving = node.standing.soon.of(kind);
    for (count, word) in [
        (leaving, "cooling or leaving"),
        (node.load.held.of(kind), "held for other pods"),
        (if kind == Kind::Shared { report.shared_unusable } else { 0 }, "unusable"),
    ] {
        if count > 0 {
            text = format!("{text}, {word} {count}");
        }
    }
    if free < node.standing.free.of(kind) {
        text.push_str(if report.grows {
            ", the subnet is full"
        } else {
            ", the cloud cannot be reached"
        });
    }
    text
}

/// A count by its first digit, so that it seldom changes.
fn about(count: u64) -> String {
    match count {
        0 => "none".to_owned(),
        1..=9 => "a few".to_owned(),
        _ => {
            let scale = 10_u64.pow(count.ilog10());
            format!("about {}", count / scale * scale)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_in_a_text_changes_seldom() {
        assert_eq!((about(0), about(1), about(9)), ("none".into(), "a few".into(), "a few".into()));
        assert_eq!(
            (about(10), about(19), about(470)),
            ("about 10".into(), "about 10".into(), "about 400".into())
        );
    }
}
