//! A subnet: which addresses are with whom. What was given back is given out again soon, as hostile a choice as there is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

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
}

impl Subnet {
    /// A subnet with `size` addresses of each family.
    pub fn new(plan: &SubnetPlan, size: u32) -> Self {
        let number = match plan.gateway_v4 {
            Some(IpAddr::V4(ip)) => ip.octets()[1],
            _ => 1,
        };
        Self { number, size, used: BTreeSet::new(), back: Vec::new(), others: BTreeSet::new() }
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
