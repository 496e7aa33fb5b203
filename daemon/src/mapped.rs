//! Which addresses the kernel's source map sends to which shared ENI, as far as this run knows: an ADD asks here and pays no
//! system call. An address belongs to a table slot, so that one which left with its ENI, or moved to another, is mapped anew.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// Addresses in the map with the table slot that they lead to.
#[derive(Debug, Default)]
pub struct Mapped(BTreeMap<IpAddr, u16>);

impl Mapped {
    /// Those of `addresses` that do not lead to `slot` yet.
    pub fn missing(&self, slot: u16, addresses: &[IpAddr]) -> Vec<IpAddr> {
        addresses.iter().copied().filter(|ip| self.0.get(ip) != Some(&slot)).collect()
    }

    /// These lead to `slot` now.
    pub fn put(&mut self, slot: u16, addresses: &[IpAddr]) {
        self.0.extend(addresses.iter().map(|ip| (*ip, slot)));
    }

    /// These leave the map.
    pub fn remove(&mut self, addresses: &[IpAddr]) {
        self.0.retain(|ip, _slot| !addresses.contains(ip));
    }

    /// Those in the map that lie within these prefixes.
    pub fn within(&self, prefixes: &[IpNet]) -> Vec<IpAddr> {
        let inside = |ip: &&IpAddr| prefixes.iter().any(|p| p.contains(*ip));
        self.0.keys().filter(inside).copied().collect()
    }

    /// The ENI of `slot` goes, and all that led to it.
    pub fn forget(&mut self, slot: u16) {
        self.0.retain(|_ip, known| *known != slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 4));
    const LATER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    #[test]
    fn an_address_assigned_later_that_left_with_its_eni_is_mapped_again_on_another() {
        let mut mapped = Mapped::default();
        mapped.put(1, &[EARLY]);
        mapped.put(1, &[LATER]);
        assert!(mapped.missing(1, &[EARLY, LATER]).is_empty());
        mapped.forget(1);
        assert_eq!(mapped.missing(2, &[LATER]), [LATER]);
    }

    #[test]
    fn a_prefix_that_goes_takes_its_addresses_out_of_the_map_and_no_others() {
        let mut mapped = Mapped::default();
        let beyond: IpAddr = [10, 0, 0, 16].into();
        mapped.put(1, &[EARLY, beyond]);
        assert_eq!(mapped.within(&["10.0.0.0/28".parse().unwrap()]), [EARLY]);
    }

    #[test]
    fn an_address_that_moved_to_another_eni_does_not_count_as_mapped() {
        let mut mapped = Mapped::default();
        mapped.put(1, &[EARLY]);
        assert_eq!(mapped.missing(2, &[EARLY]), [EARLY]);
        mapped.remove(&[EARLY]);
        assert_eq!(mapped.missing(1, &[EARLY]), [EARLY]);
    }
}
