//! The addresses of one vSwitch: who holds which.
//!
//! Reserved as in the real VPC: some addresses at both ends of the block, the gateway among them. A free IPv4 address is found from
//! the bottom, so a released one is given again soon: the case that clients must survive. IPv6 addresses are drawn.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cause::Cause;
use super::dice::Dice;
use super::profile::Reserved;

/// Blocks and holders of one vSwitch.
#[derive(Debug, Clone)]
pub struct AddressSpace {
    v4: Ipv4Net,
    v6: Option<Ipv6Net>,
    reserved: Reserved,
    held: BTreeMap<IpAddr, String>,
    prefixes: BTreeMap<IpNet, String>,
}

/// Why an address cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is free.
    Full,
    /// No block for a prefix is free.
    NoBlock,
    /// Outside the block or reserved.
    Outside,
    /// Somebody holds it.
    Taken,
    /// The vSwitch has no IPv6 block.
    NoIpv6,
}

impl Refusal {
    /// The refusal of `what`, an address or a prefix.
    pub fn of(self, what: &str) -> Cause {
        match self {
            Self::Full => Cause::SubnetFull,
            Self::NoBlock => Cause::NoBlock,
            Self::Outside => Cause::Outside(what.to_owned()),
            Self::Taken => Cause::Taken(what.to_owned()),
            Self::NoIpv6 => Cause::NoIpv6,
        }
    }
}

impl AddressSpace {
    /// An empty space.
    pub fn new(v4: Ipv4Net, v6: Option<Ipv6Net>, reserved: Reserved) -> Self {
        Self { v4, v6, reserved, held: BTreeMap::new(), prefixes: BTreeMap::new() }
    }

    /// IPv4 block.
    pub fn v4_block(&self) -> Ipv4Net {
        self.v4
    }

    /// IPv6 block.
    pub fn v6_block(&self) -> Option<Ipv6Net> {
        self.v6
    }

    /// The gateway of the IPv4 block.
    pub fn gateway_v4(&self) -> Ipv4Addr {
        let away = self.reserved.gateway;
        let bits = if away < 0 {
            self.v4.broadcast().to_bits().saturating_add_signed(away + 1)
        } else {
            self.v4.network().to_bits().saturating_add_signed(away)
        };
        Ipv4Addr::from_bits(bits)
    }

    /// The gateway of the IPv6 block.
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        let away = i128::from(self.reserved.gateway);
        self.v6.map(|block| {
            let bits = if away < 0 {
                block.broadcast().to_bits().saturating_add_signed(away + 1)
            } else {
                block.network().to_bits().saturating_add_signed(away)
            };
            Ipv6Addr::from_bits(bits)
        })
    }

    /// Free IPv4 addresses.
    pub fn available_v4(&self) -> u32 {
        let size = 1_u64 << (32 - self.v4.prefix_len());
        let held = self.held.keys().filter(|a| a.is_ipv4()).count();
        let in_prefixes = self.prefixes.keys().filter(|p| p.addr().is_ipv4()).count() * 16;
        let used = u64::try_from(held + in_prefixes).unwrap_or(u64::MAX);
        let kept = u64::from(self.reserved.first + self.reserved.last);
        u32::try_from(size.saturating_sub(kept).saturating_sub(used)).unwrap_or(u32::MAX)
    }

    /// Who holds `address`.
    pub fn holder(&self, address: IpAddr) -> Option<&str> {
        self.held.get(&address).map(String::as_str)
    }

    /// Who holds `address` by itself or within a prefix.
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        let within = || self.prefixes.iter().find(|(prefix, _)| prefix.contains(&address));
        self.holder(address).or_else(|| within().map(|(_, eni)| eni.as_str()))
    }

    /// All addresses with their holders.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.held.iter().map(|(address, eni)| (*address, eni.as_str()))
    }

    /// Picks a free IPv4 address, without taking it.
    pub fn find_v4(&self) -> Result<Ipv4Addr, Refusal> {
        let last = self.v4.broadcast().to_bits().saturating_sub(self.reserved.last);
        let first = self.v4.network().to_bits().saturating_add(self.reserved.first);
        (first..=last)
            .map(Ipv4Addr::from_bits)
            .find(|a| !self.taken(IpAddr::V4(*a)))
            .ok_or(Refusal::Full)
    }

    /// Draws a free IPv6 address, without taking it.
    pub fn find_v6(&self, dice: &mut Dice) -> Result<Ipv6Addr, Refusal> {
        let block = self.v6.ok_or(Refusal::NoIpv6)?;
        for _ in 0..64 {
            let part = u128::from(dice.roll());
            let address = Ipv6Addr::from_bits(block.network().to_bits() | part);
            if self.usable(IpAddr::V6(address)) && !self.taken(IpAddr::V6(address)) {
                return Ok(address);
            }
        }
        Err(Refusal::Full)
    }

    /// Whether this address could be taken now.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if address.is_ipv6() && self.v6.is_none() {
            return Err(Refusal::NoIpv6);
        }
        if !self.usable(address) {
            return Err(Refusal::Outside);
        }
        if self.taken(address) {
            return Err(Refusal::Taken);
        }
        Ok(())
    }

    /// Takes `address` for `eni`.
    pub fn hold(&mut self, address: IpAddr, eni: &str) -> Result<(), Refusal> {
        self.check(address)?;
        self.held.insert(address, eni.to_owned());
        Ok(())
    }

    /// Gives `address` back; false when nobody held it.
    pub fn release(&mut self, address: IpAddr) -> bool {
        self.held.remove(&address).is_some()
    }

    /// Finds a free prefix: /28 in IPv4, /80 in IPv6, from the top of the block downwards.
    pub fn find_prefix(&self, ipv6: bool) -> Result<IpNet, Refusal> {
        if ipv6 {
            let block = self.v6.ok_or(Refusal::NoIpv6)?;
            let base = block.network().to_bits();
            let found = (1_u128..0x1_0000)
                .map(|n| Ipv6Net::new_assert(Ipv6Addr::from_bits(base | (n << 48)), 80))
                .map(IpNet::V6)
                .find(|p| self.prefix_free(*p));
            return found.ok_or(Refusal::NoBlock);
        }
        if self.v4.prefix_len() > 28 {
            return Err(Refusal::NoBlock);
        }
        let first = self.v4.network().to_bits();
        let blocks = 1_u32.checked_shl(u32::from(28 - self.v4.prefix_len())).unwrap_or(0);
        (0..blocks)
            .rev()
            .map(|n| Ipv4Net::new_assert(Ipv4Addr::from_bits(first + n * 16), 28))
            .map(IpNet::V4)
            .find(|p| self.prefix_free(*p))
            .ok_or(Refusal::NoBlock)
    }

    /// Takes a prefix for `eni`.
    pub fn hold_prefix(&mut self, prefix: IpNet, eni: &str) -> Result<(), Refusal> {
        let right = match prefix {
            IpNet::V4(p) => p.prefix_len() == 28 && self.v4.contains(&p),
            IpNet::V6(p) => p.prefix_len() == 80 && self.v6.is_some_and(|b| b.contains(&p)),
        };
        if !right || prefix.trunc() != prefix {
            return Err(Refusal::Outside);
        }
        if !self.prefix_free(prefix) {
            return Err(Refusal::Taken);
        }
        self.prefixes.insert(prefix, eni.to_owned());
        Ok(())
    }

    /// Gives a prefix back.
    pub fn release_prefix(&mut self, prefix: IpNet) -> bool {
        self.prefixes.remove(&prefix).is_some()
    }

    fn prefix_free(&self, prefix: IpNet) -> bool {
        let reserved = match prefix {
            IpNet::V4(p) => p.contains(&self.v4.network()) || p.contains(&self.v4.broadcast()),
            IpNet::V6(p) => {
                self.gateway_v6().is_some_and(|g| p.contains(&g))
                    || self.v6.is_some_and(|block| p.contains(&block.broadcast()))
            }
        };
        !reserved
            && !self.prefixes.keys().any(|p| p.contains(&prefix) || prefix.contains(p))
            && !self.held.keys().any(|a| prefix.contains(a))
    }

    fn taken(&self, address: IpAddr) -> bool {
        self.held.contains_key(&address) || self.prefixes.keys().any(|p| p.contains(&address))
    }

    fn usable(&self, address: IpAddr) -> bool {
        let Reserved { first, last, .. } = self.reserved;
        match address {
            IpAddr::V4(a) => {
                let (start, end) = (self.v4.network().to_bits(), self.v4.broadcast().to_bits());
                a.to_bits() >= start.saturating_add(first)
                    && a.to_bits() <= end.saturating_sub(last)
            }
            IpAddr::V6(a) => self.v6.is_some_and(|block| {
                let (start, end) = (block.network().to_bits(), block.broadcast().to_bits());
                a.to_bits() >= start.saturating_add(first.into())
                    && a.to_bits() <= end.saturating_sub(last.into())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::profile;

    fn space() -> AddressSpace {
        space_of(&profile::ALIYUN)
    }

    fn space_of(profile: &profile::Profile) -> AddressSpace {
        let v6 = Some("fd00:10::/64".parse().unwrap());
        AddressSpace::new("10.0.0.0/24".parse().unwrap(), v6, profile.reserved)
    }

    #[test]
    fn first_four_and_the_last_address_are_never_given_by_aws() {
        let mut space = space_of(&profile::AWS);
        let mut given = Vec::new();
        while let Ok(address) = space.find_v4() {
            space.hold(address.into(), "eni-1").unwrap();
            given.push(address);
        }
        assert_eq!((given.len(), space.available_v4()), (251, 0));
        assert_eq!((given[0], given[250]), ([10, 0, 0, 4].into(), [10, 0, 0, 254].into()));
        assert_eq!(space.gateway_v4(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(space.gateway_v6().unwrap(), "fd00:10::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(space.check("10.0.0.3".parse().unwrap()), Err(Refusal::Outside));
        assert_eq!(space.check("fd00:10::3".parse().unwrap()), Err(Refusal::Outside));
    }

    #[test]
    fn fragmented_block_gives_no_prefix_although_enough_is_free() {
        let mut space = space_of(&profile::AWS);
        for third in 0..16 {
            let address = Ipv4Addr::new(10, 0, 0, third * 16 + 8);
            space.hold(address.into(), "eni-1").unwrap();
        }
        assert_eq!(space.available_v4(), 251 - 16);
        assert_eq!(space.find_prefix(false), Err(Refusal::NoBlock));
        space.find_v4().unwrap();
    }

    #[test]
    fn first_and_last_three_addresses_are_never_given() {
        let mut space = space();
        let mut given = Vec::new();
        while let Ok(address) = space.find_v4() {
            space.hold(address.into(), "eni-1").unwrap();
            given.push(address);
        }
        assert_eq!(given.len(), 252);
        assert_eq!(space.available_v4(), 0);
        assert_eq!(given[0], Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(given[251], Ipv4Addr::new(10, 0, 0, 252));
        assert_eq!(space.gateway_v4(), Ipv4Addr::new(10, 0, 0, 253));
        assert_eq!(space.check("10.0.0.253".parse().unwrap()), Err(Refusal::Outside));
        assert_eq!(
            space.gateway_v6().unwrap(),
            "fd00:10::ffff:ffff:ffff:fffd".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn prefix_is_not_cut_out_of_held_addresses_nor_given_inside() {
        let mut space = space();
        space.hold("10.0.0.225".parse().unwrap(), "eni-1").unwrap();
        let prefix = space.find_prefix(false).unwrap();
        assert_eq!(prefix.to_string(), "10.0.0.208/28", "last block is reserved, next is held");
        space.hold_prefix(prefix, "eni-1").unwrap();
        assert_eq!(space.check("10.0.0.210".parse().unwrap()), Err(Refusal::Taken));
        assert_eq!(space.available_v4(), 252 - 1 - 16);
        space.find_prefix(true).unwrap();
    }
}
