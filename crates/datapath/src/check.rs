//! CHECK: what of an attachment is missing or different in the kernel.

use std::fmt;

use serde::{Deserialize, Serialize};
use tideway_model::Attachment;

use crate::{HostFacts, Place, View, wanted};

/// Something that CHECK found. The text names the object and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Compares both sides of one attachment.
pub fn attachment(a: &Attachment, facts: &HostFacts, host: &View, pod: &View) -> Vec<Finding> {
    let mut found = missing(Place::Host, &wanted::host(a), host);
    found.extend(missing(Place::Pod, &wanted::pod(a, facts), pod));
    found
}

/// What of `wanted` is not so in `observed`. Further objects are not looked at.
pub fn missing(place: Place, wanted: &View, observed: &View) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |what: String| out.push(Finding { place, what });
    for (name, want) in &wanted.links {
        match observed.links.get(name) {
            None => say(format!("link {name} is missing")),
            Some(link) => {
                if !link.up {
                    say(format!("link {name} is down"));
                }
                if want.mac.is_some() && link.mac != want.mac {
                    say(format!("link {name} has another MAC address than was given to it"));
                }
                if link.mtu != want.mtu && want.mac.is_some() {
                    say(format!("link {name} has MTU {}, not {}", link.mtu, want.mtu));
                }
            }
        }
    }
    for x in wanted.addresses.difference(&observed.addresses) {
        say(format!("address {x} is missing"));
    }
    for x in wanted.routes.difference(&observed.routes) {
        say(format!("route {x} is missing"));
    }
    for x in wanted.neighbours.difference(&observed.neighbours) {
        say(format!("permanent neighbour {x} is missing"));
    }
    for x in wanted.rules.difference(&observed.rules) {
        say(format!("rule {x} is missing"));
    }
    for (link, rate) in &wanted.shapes {
        match observed.shapes.get(link) {
            Some(found) if found == rate => {}
            Some(found) => say(format!("{link} is limited to {found} byte/s, not {rate}")),
            None => say(format!("{link} is not limited to {rate} byte/s")),
        }
    }
    out
}
