//! Which addresses a call asks for, and which it gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::cloud::addresses::AddressSpace;
use crate::cloud::cause::Cause;
use crate::cloud::dice::Dice;

/// What a call asks for in addresses.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The primary address, when named.
    pub primary: Option<Ipv4Addr>,
    /// Named secondary addresses.
    pub v4: Vec<Ipv4Addr>,
    /// Secondary addresses to be chosen.
    pub v4_count: u32,
    /// Named IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// IPv6 addresses to be chosen.
    pub v6_count: u32,
    /// Named prefixes.
    pub prefixes: Vec<IpNet>,
    /// IPv4 prefixes to be chosen.
    pub p4_count: u32,
    /// IPv6 prefixes to be chosen.
    pub p6_count: u32,
    /// Named secondary IPv4 addresses may be taken away from other ENIs.
    pub reassign: bool,
}

/// Addresses chosen for a call.
#[derive(Debug, Default)]
pub struct Chosen {
    /// In the order of assignment.
    pub addresses: Vec<IpAddr>,
    /// In the order of assignment.
    pub prefixes: Vec<IpNet>,
}

impl Wanted {
    /// IPv4 slots that this takes.
    pub fn slots_v4(&self) -> usize {
        let named = self.v4.len() + self.prefixes.iter().filter(|p| p.addr().is_ipv4()).count();
        named + usize::try_from(self.v4_count + self.p4_count).unwrap_or(usize::MAX / 2)
    }

    /// IPv6 slots that this takes.
    pub fn slots_v6(&self) -> usize {
        let named = self.v6.len() + self.prefixes.iter().filter(|p| p.addr().is_ipv6()).count();
        named + usize::try_from(self.v6_count + self.p6_count).unwrap_or(usize::MAX / 2)
    }

    /// Whether any prefix is asked for.
    pub fn has_prefixes(&self) -> bool {
        !self.prefixes.is_empty() || self.p4_count + self.p6_count > 0
    }

    /// Why a full subnet does not give this.
    pub fn lacking(&self) -> Cause {
        if self.has_prefixes() { Cause::NoBlock } else { Cause::SubnetFull }
    }

    /// Chooses on a copy of the space, so that a refusal leaves nothing behind.
    pub fn choose(
        &self,
        space: &AddressSpace,
        new_eni: bool,
        dice: &mut Dice,
    ) -> Result<Chosen, Cause> {
        let mut space = space.clone();
        let mut chosen = Chosen::default();
        let mut take = |space: &mut AddressSpace, address: IpAddr| -> Result<(), Cause> {
            if chosen.addresses.contains(&address) {
                return Err(Cause::Repeated(address.to_string()));
            }
            space.hold(address, "chosen").map_err(|r| r.of(&address.to_string()))?;
            chosen.addresses.push(address);
            Ok(())
        };
        if let Some(primary) = self.primary {
            take(&mut space, primary.into())?;
        }
        // Named ones first: a chosen one must not take a named one's place. The primary still comes first in order.
        let mut named: Vec<IpAddr> = self.v4.iter().copied().map(IpAddr::V4).collect();
        named.extend(self.v6.iter().copied().map(IpAddr::V6));
        if new_eni && self.primary.is_none() {
            let mut reserved = space.clone();
            for address in &named {
                reserved.hold(*address, "named").map_err(|r| r.of(&address.to_string()))?;
            }
            let primary = reserved.find_v4().map_err(|r| r.of("address"))?;
            take(&mut space, primary.into())?;
        }
        for address in named {
            take(&mut space, address)?;
        }
        for _ in 0..self.v4_count {
            let address = space.find_v4().map_err(|r| r.of("address"))?;
            take(&mut space, address.into())?;
        }
        for _ in 0..self.v6_count {
            let address = space.find_v6(dice).map_err(|r| r.of("IPv6 address"))?;
            take(&mut space, address.into())?;
        }
        for prefix in &self.prefixes {
            space.hold_prefix(*prefix, "chosen").map_err(|r| r.of(&prefix.to_string()))?;
            chosen.prefixes.push(*prefix);
        }
        for (ipv6, count) in [(false, self.p4_count), (true, self.p6_count)] {
            for _ in 0..count {
                let prefix = space.find_prefix(ipv6).map_err(|r| r.of("prefix"))?;
                space.hold_prefix(prefix, "chosen").map_err(|r| r.of("prefix"))?;
                chosen.prefixes.push(prefix);
            }
        }
        Ok(chosen)
    }
}
