//! Tags of whatever has some.

use std::collections::BTreeMap;

use crate::cloud::vpc::Vpc;

/// What can have tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// An ENI.
    Eni,
    /// An instance.
    Instance,
    /// A security group.
    Group,
    /// A subnet.
    Subnet,
}

/// The tags of a resource; nothing when there is no such resource.
pub fn of<'a>(vpc: &'a Vpc, kind: Tagged, id: &str) -> Option<&'a BTreeMap<String, String>> {
    match kind {
        Tagged::Eni => vpc.enis().get(id).map(|e| &e.tags),
        Tagged::Instance => vpc.instances.get(id).map(|i| &i.tags),
        Tagged::Group => vpc.groups.get(id).map(|g| &g.tags),
        Tagged::Subnet => vpc.vswitches.get(id).map(|v| &v.tags),
    }
}

/// Gives a resource these tags instead of those that it has.
pub fn set(vpc: &mut Vpc, kind: Tagged, id: &str, tags: BTreeMap<String, String>) {
    let place = match kind {
        Tagged::Eni => {
            if let Some(mut eni) = vpc.enis().get(id).map(|e| e.as_ref().clone()) {
                eni.tags = tags;
                vpc.put(eni);
            }
            return;
        }
        Tagged::Instance => vpc.instances.get_mut(id).map(|i| &mut i.tags),
        Tagged::Group => vpc.groups.get_mut(id).map(|g| &mut g.tags),
        Tagged::Subnet => vpc.vswitches.get_mut(id).map(|v| &mut v.tags),
    };
    if let Some(place) = place {
        *place = tags;
    }
}
