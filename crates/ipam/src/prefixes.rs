//! Prefixes: a /28 or /80 that the cloud gives and takes as a whole, for one place of the ENI.
//!
//! The books have no state of its own for a prefix. Each of its addresses is an address like any other that knows to be
//! `within` one; the prefix is there while one of them is. All sixteen of a /28 are in the books. Of a /80 there are as many
//! as pods can take ([`Ipam::pair_up`]), beginning with its second address, and it goes with its ENI.
//!
//! A /28 goes back when all of its addresses are free: what is in use, rests or waits for its identity keeps it. Pods get
//! addresses of the fullest one, so sparse ones empty out; single addresses are handed out last and go back first, since
//! each takes the place of a prefix.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tideway_cloud::EniView;
use tideway_model::{Family, IPV4_OF_PREFIX, IPV6_OF_PREFIX, Now, SubnetId};

use crate::{
    Effects, Ipam,
    eni::{Address, Eni, Held},
};

/// The block that would be the prefix of this address.
pub(crate) fn block(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(ip) => Ipv4Net::new_assert(ip, 28).trunc().into(),
        IpAddr::V6(ip) => Ipv6Net::new_assert(ip, 80).trunc().into(),
    }
}

/// The address of a prefix with this number.
fn nth(prefix: &IpNet, n: u16) -> IpAddr {
    match prefix {
        IpNet::V4(net) => IpAddr::V4(u32::from(net.network()).saturating_add(u32::from(n)).into()),
        IpNet::V6(net) => {
            IpAddr::V6(u128::from(net.network()).saturating_add(u128::from(n)).into())
        }
    }
}

/// The addresses that a new prefix brings into the books: all of an IPv4 one, the first that pods get of an IPv6 one.
pub fn hosts(prefix: &IpNet) -> impl Iterator<Item = IpAddr> {
    let numbers = match prefix {
        IpNet::V4(_) => 0..IPV4_OF_PREFIX,
        IpNet::V6(_) => 1..2,
    };
    numbers.map(move |n| nth(prefix, n))
}

/// What the cloud shows on an ENI, as addresses of the books: single ones, and those that its prefixes bring; with each
/// whether it is within one.
pub(crate) fn listed(view: &EniView) -> impl Iterator<Item = (IpAddr, bool)> {
    let single = view.addresses.iter().map(|ip| (*ip, false));
    single.chain(view.prefixes.iter().flat_map(hosts).map(|ip| (ip, true)))
}

impl Eni {
    /// Prefixes of a family.
    pub(crate) fn prefixes(&self, family: Family) -> BTreeSet<IpNet> {
        let own = self.addresses.iter().filter(|(ip, a)| a.within && Family::of(**ip) == family);
        own.map(|(ip, _a)| block(*ip)).collect()
    }

    /// What the books have of a prefix.
    pub(crate) fn of_prefix(&self, prefix: IpNet) -> impl Iterator<Item = (&IpAddr, &Address)> {
        let own = self.addresses.range(prefix.network()..=prefix.broadcast());
        own.filter(|(_ip, a)| a.within)
    }

    /// IPv6 prefixes that give more addresses: nobody took them away.
    pub(crate) fn wide(&self) -> Vec<IpNet> {
        let stands = |a: &Address| !a.lost && a.held != Held::Releasing;
        let all = self.prefixes(Family::V6).into_iter();
        all.filter(|p| self.of_prefix(*p).all(|(_ip, a)| stands(a))).collect()
    }

    /// IPv4 prefixes that nobody needs.
    pub(crate) fn empty_prefixes(&self) -> Vec<IpNet> {
        let idle =
            |a: &Address| matches!(a.held, Held::Free { .. }) && a.absent.is_none() && !a.lost;
        let all = self.prefixes(Family::V4).into_iter();
        all.filter(|p| self.of_prefix(*p).all(|(_ip, a)| idle(a))).collect()
    }

    /// Prefixes whose return was decided: nothing of them is anybody's.
    pub(crate) fn releasing_prefixes(&self, family: Family) -> Vec<IpNet> {
        let all = self.prefixes(family).into_iter();
        all.filter(|p| self.of_prefix(*p).all(|(_ip, a)| a.held == Held::Releasing)).collect()
    }

    /// The address of a family to hand out next: of the fullest prefix, a single one when there is none, the longest-free
    /// among these.
    pub(crate) fn next_free(&self, family: Family) -> Option<IpAddr> {
        let mut users: BTreeMap<IpNet, usize> = BTreeMap::new();
        for (ip, _a) in self.addresses.iter().filter(|(_ip, a)| a.within && a.is_taken()) {
            *users.entry(block(*ip)).or_default() += 1;
        }
        let full =
            |ip: IpAddr, a: &Address| a.within.then(|| users.get(&block(ip)).copied().unwrap_or(0));
        let free = self.addresses.iter().filter(|(ip, a)| Family::of(**ip) == family && a.usable());
        let since = |a: &Address| match a.held {
            Held::Free { since } => since,
            Held::Assigned(_)
            | Held::Cooling { .. }
            | Held::Leased
            | Held::Releasing
            | Held::Reserved => Duration::MAX,
        };
        let free = free.map(|(ip, a)| (std::cmp::Reverse(full(*ip, a)), since(a), *ip));
        free.min().map(|(_full, _since, ip)| ip)
    }
}

impl Ipam {
    /// Whether prefixes are asked for in this subnet now.
    pub(crate) fn asks_prefixes(&self, t: Duration, subnet: &SubnetId) -> bool {
        self.settings.prefixes && !self.fragmented.get(subnet).is_some_and(|h| h.holds(t))
    }

    /// Addresses of a family that can be had on an ENI beside those that it has.
    pub(crate) fn places(&self, eni: &Eni, family: Family) -> u16 {
        let slots = self.slots(eni, family);
        let prefix = self.asks_prefixes(self.looks.clock, &eni.subnet);
        match family {
            Family::V4 if prefix => slots.saturating_mul(IPV4_OF_PREFIX),
            Family::V6 if !eni.wide().is_empty() || (prefix && slots > 0) => {
                IPV6_OF_PREFIX.saturating_sub(eni.total(family))
            }
            Family::V4 | Family::V6 => slots,
        }
    }

    /// Units that one more shared ENI can carry, or one that is filled; `prefixes`: with whole prefixes.
    pub(crate) fn units(&self, prefixes: bool) -> u16 {
        let limits = &self.facts.limits;
        let primary = u16::from(self.settings.use_primary_address);
        let of = |f: &Family| match f {
            Family::V4 => {
                let secondary = limits.ipv4_per_eni.saturating_sub(1);
                let each = if prefixes { IPV4_OF_PREFIX } else { 1 };
                primary.min(limits.ipv4_per_eni).saturating_add(secondary.saturating_mul(each))
            }
            Family::V6 if prefixes && limits.ipv6_per_eni > 0 => IPV6_OF_PREFIX,
            Family::V6 => limits.ipv6_per_eni,
        };
        self.facts.families.list().iter().map(of).min().unwrap_or(0)
    }

    /// Every IPv4 address has its partner in the ENI's IPv6 prefix: that costs no call.
    pub(crate) fn pair_up(&mut self, now: Now, out: &mut Effects) {
        if !Family::BOTH.iter().all(|f| self.facts.families.has(*f)) {
            return;
        }
        let lacking = |e: &Eni| {
            let lacking = e.total(Family::V4).saturating_sub(e.total(Family::V6));
            (lacking > 0 && e.is_shared() && !e.leaving).then_some((e.number, lacking))
        };
        let lacking: Vec<(u32, u16)> = self.enis.values().filter_map(lacking).collect();
        for (number, n) in lacking {
            self.seat(now.boot, number, n, out);
        }
    }

    /// A prefix that was to be given back, and that the cloud gave once more with addresses that the books did not have, stays:
    /// it cannot leave in part.
    pub(crate) fn keep_whole(&mut self, t: Duration, number: u32, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let leaves = |a: &Address| a.held == Held::Releasing;
        let all = Family::BOTH.iter().flat_map(|f| eni.prefixes(*f));
        let torn = all.filter(|p| !eni.of_prefix(*p).all(|(_ip, a)| leaves(a)));
        let own = torn.flat_map(|p| eni.of_prefix(p)).filter(|(_ip, a)| leaves(a));
        let ips: Vec<IpAddr> = own.map(|(ip, _a)| *ip).collect();
        let Some(eni) = self.eni_mut(number) else { return };
        for ip in &ips {
            // It has left the host's map.
            eni.addresses.entry(*ip).and_modify(|a| a.mapped = false);
        }
        self.rest(t, number, &ips, out);
    }

    /// Takes `n` more addresses of the ENI's IPv6 prefixes into the books, as far as it has one. They are as old as the
    /// prefix: what looks say of it counts for them too. Of an ENI that was found they rest first, since a pod may have had
    /// them just before.
    pub(crate) fn seat(&mut self, t: Duration, number: u32, n: u16, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let mut new = Vec::new();
        for prefix in eni.wide() {
            // Of one that the last look did not show nothing is handed out before a look decides.
            let own = || eni.of_prefix(prefix).map(|(_ip, a)| a);
            let shown = own().all(|a| a.absent.is_none());
            let Some(born) = own().map(|a| a.born).min().filter(|_| shown) else { continue };
            let known = |ip: &IpAddr| {
                self.enis.values().any(|e| e.addresses.contains_key(ip))
                    || self.buried.contains_key(&(number, *ip))
            };
            let free = (1..=IPV6_OF_PREFIX).map(|n| nth(&prefix, n)).filter(|ip| !known(ip));
            new.extend(free.map(|ip| (ip, born)).take(usize::from(n).saturating_sub(new.len())));
        }
        if new.is_empty() {
            return;
        }
        let Some(eni) = self.eni_mut(number) else { return };
        let usual =
            |born| Address { within: true, ..Address::new(Held::Free { since: t }, false, born) };
        eni.addresses.extend(new.iter().map(|(ip, born)| (*ip, usual(*born))));
        if eni.adopted {
            let ips: Vec<IpAddr> = new.into_iter().map(|(ip, _born)| ip).collect();
            self.rest(t, number, &ips, out);
        }
    }
}
