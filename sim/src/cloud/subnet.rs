//! A subnet: which addresses are with whom. What was given back is given out again soon, as hostile a choice as there is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tideway_model::{Family, SubnetPlan};

use crate::dice::Dice;

/// One subnet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subnet {
    number: u8,
    size: u32,
    used: BTreeSet<IpAddr>,
    /// Given back lately, the last one last.
    back: Vec<IpAddr>,
    /// Taken by instances that are none of our business.
    others: BTreeSet<IpAddr>,
    /// IPv6 prefixes that are with somebody.
    wide: BTreeSet<Ipv6Net>,
}

/// IPv6 prefixes that a subnet has.
const WIDE: u16 = 8;
/// Addresses of an IPv6 prefix that a run can come to use.
const SEATS: u128 = 128;

/// The addresses of a prefix, of an IPv6 one those that a run can come to use.
pub fn hosts(prefix: &IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(net) => {
            let first = u32::from(net.network());
            (first..=u32::from(net.broadcast())).map(|ip| IpAddr::V4(ip.into())).collect()
        }
        IpNet::V6(net) => {
            let first = u128::from(net.network());
            (first..first + SEATS).map(|ip| IpAddr::V6(ip.into())).collect()
        }
    }
}

impl Subnet {
    /// A subnet with `size` addresses of each family.
    pub fn new(plan: &SubnetPlan, size: u32) -> Self {
        let number = match plan.gateway_v4 {
            Some(IpAddr::V4(ip)) => ip.octets()[1],
            _ => 1,
        };
        Self {
            number,
            size,
            used: BTreeSet::new(),
            back: Vec::new(),
            others: BTreeSet::new(),
            wide: BTreeSet::new(),
        }
    }

    fn nth(&self, family: Family, n: u32) -> IpAddr {
        let [.., high, low] = n.to_be_bytes();
        match family {
            Family::V4 => Ipv4Addr::new(10, self.number, high, low).into(),
            Family::V6 => {
                let host = u16::from_be_bytes([high, low]);
                Ipv6Addr::new(0x2001, 0xdb8, self.number.into(), 0, 0, 0, 1, host).into()
            }
        }
    }

    /// Addresses of a family that can still be had.
    pub fn left(&self, family: Family) -> usize {
        let used = self.used.iter().filter(|ip| Family::of(**ip) == family).count();
        usize::try_from(self.size).unwrap_or(usize::MAX).saturating_sub(used)
    }

    /// Takes one address.
    pub fn take(&mut self, family: Family, dice: &mut Dice) -> Option<IpAddr> {
        let again = self.back.iter().rposition(|ip| Family::of(*ip) == family);
        if let Some(at) = again
            && dice.percent(60)
        {
            let ip = self.back.remove(at);
            self.used.insert(ip);
            return Some(ip);
        }
        let free = |ip: &IpAddr| !self.used.contains(ip);
        let ip = (1..=self.size).map(|n| self.nth(family, n)).find(free)?;
        self.back.retain(|old| *old != ip);
        self.used.insert(ip);
        Some(ip)
    }

    /// Whole prefixes of a family that can be had.
    pub fn whole(&self, family: Family) -> Vec<IpNet> {
        match family {
            Family::V4 => (1..=self.size / 16)
                .filter(|n| n * 16 + 15 <= self.size)
                .filter_map(|n| match self.nth(family, n * 16) {
                    IpAddr::V4(ip) => Ipv4Net::new(ip, 28).ok().map(IpNet::V4),
                    IpAddr::V6(_) => None,
                })
                .filter(|net| hosts(net).iter().all(|ip| !self.used.contains(ip)))
                .collect(),
            Family::V6 => (1..=WIDE)
                .filter_map(|n| {
                    let ip = Ipv6Addr::new(0x2001, 0xdb8, self.number.into(), 0, n, 0, 0, 0);
                    Ipv6Net::new(ip, 80).ok()
                })
                .filter(|net| !self.wide.contains(net))
                .map(IpNet::V6)
                .collect(),
        }
    }

    /// Takes one prefix.
    pub fn take_prefix(&mut self, family: Family) -> Option<IpNet> {
        let prefix = self.whole(family).into_iter().next()?;
        match prefix {
            IpNet::V4(_) => {
                let own = hosts(&prefix);
                self.back.retain(|ip| !own.contains(ip));
                self.used.extend(own);
            }
            IpNet::V6(net) => {
                self.wide.insert(net);
            }
        }
        Some(prefix)
    }

    /// Prefixes come back.
    pub fn give_back_prefixes(&mut self, prefixes: &[IpNet]) {
        for prefix in prefixes {
            match prefix {
                IpNet::V4(_) => self.give_back(&hosts(prefix)),
                IpNet::V6(net) => {
                    self.wide.remove(net);
                }
            }
        }
    }

    /// Addresses come back.
    pub fn give_back(&mut self, ips: &[IpAddr]) {
        for ip in ips {
            if self.used.remove(ip) {
                self.back.push(*ip);
            }
        }
    }

    /// Another instance takes an address.
    pub fn other_takes(&mut self, family: Family, dice: &mut Dice) {
        if let Some(ip) = self.take(family, dice) {
            self.others.insert(ip);
        }
    }

    /// Other instances take whatever is left.
    pub fn others_take_all(&mut self, dice: &mut Dice) {
        for family in Family::BOTH {
            for _ in 0..self.left(family) {
                self.other_takes(family, dice);
            }
        }
    }

    /// Another instance gives one back.
    pub fn other_gives(&mut self) {
        if let Some(ip) = self.others.pop_first() {
            self.give_back(&[ip]);
        }
    }

    /// All other instances leave.
    pub fn others_leave(&mut self) {
        let all: Vec<IpAddr> = std::mem::take(&mut self.others).into_iter().collect();
        self.give_back(&all);
    }
}
