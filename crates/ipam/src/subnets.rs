//! What the node's subnets refused lately, and where a new ENI comes from.

use std::{collections::BTreeMap, time::Duration};

use tideway_model::{SubnetId, SubnetPlan};

use crate::{Ipam, hold::Hold};

fn holds(of: &BTreeMap<SubnetId, Hold>, t: Duration, subnet: &SubnetId) -> bool {
    of.get(subnet).is_some_and(|h| h.holds(t))
}

impl Ipam {
    /// Whether the subnet refused a single address lately. One that only has no room for a whole ENI is not full.
    pub(crate) fn is_full(&self, t: Duration, subnet: &SubnetId) -> bool {
        holds(&self.subnet_holds, t, subnet)
    }

    /// Subnets that refused an address or an ENI lately, with what they said.
    pub(crate) fn refusing(&self, t: Duration) -> impl Iterator<Item = (&SubnetId, &Hold)> {
        let cramped = self.cramped.iter().filter(move |(subnet, _h)| !self.is_full(t, subnet));
        self.subnet_holds.iter().chain(cramped).filter(move |(_subnet, h)| h.holds(t))
    }

    /// Of the subnets that refused nothing lately the one with most room, the preferred one among equals.
    pub(crate) fn subnet_for_create(&self, t: Duration) -> Option<&SubnetPlan> {
        let open = |s: &&SubnetPlan| !self.is_full(t, &s.id) && !holds(&self.cramped, t, &s.id);
        let room = |s: &&SubnetPlan| self.room.get(&s.id).copied().unwrap_or(0);
        self.facts.subnets.iter().rev().filter(open).max_by_key(room)
    }

    /// Whether an ENI that is decided would be asked for now.
    pub(crate) fn can_create(&self, t: Duration) -> bool {
        !self.create_hold.holds(t) && self.subnet_for_create(t).is_some()
    }
}
