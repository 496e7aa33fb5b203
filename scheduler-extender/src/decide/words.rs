//! What a refusal says. A text that changes patches the pod's condition, and that patch wakes the pod: refused pods would spin.
//! So a text is kept for half a minute, and where many nodes were asked it is the same for all nodes and all pods of a kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::facts::Report;
use super::kind::{Kind, Wants};
use super::nodes::{Node, Nodes};
use super::sight::Room;

/// How each of our texts begins: the pod's condition shows by it that we refused the pod.
pub const OUR_WORDS: &str = "tideway: ";
/// How long a text stays.
const REST: Duration = Duration::from_secs(30);
/// From so many texts of single nodes on those that have stayed long enough are forgotten.
const MANY: usize = 4096;

/// A text, and since when it stays.
type Kept = (Arc<str>, Duration);

/// The texts in use.
#[derive(Debug, Default)]
pub(super) struct Words {
    coarse: HashMap<Kind, Kept>,
    /// Of nodes with books: there are not more of them than nodes and wishes.
    exact: HashMap<(Box<str>, Wants), Kept>,
    /// How many texts of single nodes there were, twice, when they were last gone through.
    many: usize,
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
        if let Some(text) = resting(self.coarse.get(&kind), now) {
            return text;
        }
        let text: Arc<str> = format!("{OUR_WORDS}{}", coarse(nodes, kind, careful)).into();
        self.coarse.insert(kind, (Arc::clone(&text), now));
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
        let Some(report) = node.and_then(|n| n.report.as_deref()) else {
            let unit = wants.kind.unit();
            return format!(
                "{OUR_WORDS}node {name} runs no Tideway (it has no NodeNetwork object): it has no {unit}"
            )
            .into();
        };
        let key = (name.into(), wants);
        if let Some(text) = resting(self.exact.get(&key), now) {
            return text;
        }
        if self.exact.len() >= self.many.max(MANY) {
            self.exact.retain(|_, (_, since)| now.saturating_sub(*since) < REST);
            self.many = self.exact.len() * 2;
        }
        let text = node.map(|node| exact(name, node, report, wants, room)).unwrap_or_default();
        let text: Arc<str> = format!("{OUR_WORDS}{text}").into();
        self.exact.insert(key, (Arc::clone(&text), now));
        text
    }
}

fn resting(kept: Option<&Kept>, now: Duration) -> Option<Arc<str>> {
    let (text, since) = kept?;
    (now.saturating_sub(*since) < REST).then(|| Arc::clone(text))
}

fn coarse(nodes: &Nodes, kind: Kind, careful: bool) -> String {
    let unit = kind.unit();
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
    if careful {
        text.push_str(", some kept for pods that may be on their way");
    }
    text
}

fn exact(name: &str, node: &Node, report: &Report, wants: Wants, room: Option<Room>) -> String {
    let (kind, units) = (wants.kind, wants.units);
    let unit = kind.unit();
    if !report.ready {
        return format!(
            "the network of node {name} is not ready: see kubectl describe nodenetwork {name}"
        );
    }
    let pods = node.load.pods.of(kind);
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
