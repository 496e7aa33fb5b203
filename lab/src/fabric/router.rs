//! The namespace of the VPC: a router between ports, with anti-spoofing and the cloud's services on `lo`.
//!
//! Anti-spoofing is one rule: what comes in by a port must have a source whose route leads back to that port. The
//! kernel's `rp_filter` would do the same and also refuse ARP requests whose sender address sits on another ENI of the
//! same instance, which real clouds answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{FabricError, netns, tool};

/// The metadata service of Alibaba Cloud, as instances see it.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// The metadata service of AWS, as instances see it.
pub const METADATA_ADDRESS_EC2: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The cloud's APIs, as instances see them.
pub const API_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 100, 0, 10);

/// A host beyond the VPC in `IPv4` (a documentation address). It sees sources as they leave the VPC, before any NAT, and
/// is subject to the egress rules of security groups.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A host beyond the VPC in `IPv6`, see [`OUTSIDE_V4`].
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Settings of the router. Those under `default` reach every port that is plugged later.
const SYSCTLS: [(&str, &str); 15] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    // The VPC answers ARP for every address that it knows on another port.
    ("net.ipv4.conf.default.proxy_arp", "1"),
    // Two addresses of one ENI speak through the same port: no reason to tell them a shorter way.
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.forwarding", "1"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    // Ports get the router's link-local address and nothing made up from the MAC.
    ("net.ipv6.conf.default.addr_gen_mode", "1"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv4.conf.all.accept_redirects", "0"),
    ("net.ipv6.conf.default.accept_redirects", "0"),
];

/// Tracking starts here, before any security group exists and across every change of them: what was open stays open.
const FILTER: &str = "
table inet antispoof {
  chain ports {
    type filter hook prerouting priority raw; policy accept;
    iif lo accept
    ip6 saddr { ::, fe80::/10 } accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    fib saddr . iif oif missing drop
  }
  chain tracking {
    type filter hook forward priority raw; policy accept;
    ct state established counter
  }
  chain services {
    type filter hook output priority filter; policy accept;
    icmpv6 type nd-redirect drop
  }
}
";

/// Makes the namespace of the VPC.
pub(super) fn create(namespace: &str) -> Result<(), FabricError> {
    let io = |source| FabricError::Io { doing: format!("making namespace {namespace}"), source };
    netns::create(namespace).map_err(io)?;
    let sysctls: Vec<_> = SYSCTLS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    netns::set_sysctls(namespace, &sysctls).map_err(io)?;
    let mut lines: Vec<_> = [METADATA_ADDRESS, METADATA_ADDRESS_EC2, API_ADDRESS, OUTSIDE_V4]
        .iter()
        .map(|service| format!("address add {service}/32 dev lo"))
        .collect();
    lines.push(format!("address add {OUTSIDE_V6}/128 dev lo nodad"));
    // Nobody answers for an address that no ENI has.
    lines.push("route add blackhole default metric 4096".to_owned());
    lines.push("route add blackhole ::/0 metric 4096".to_owned());
    tool::ip(namespace, "giving the cloud's services their addresses", &lines)?;
    tool::nft(namespace, "anti-spoofing", FILTER).map_err(|error| FabricError::Unsupported {
        problems: vec![format!(
            "the kernel refuses the anti-spoofing filter ({error}): it needs nf_tables with the fib and ct expressions \
             for inet (CONFIG_NF_TABLES_INET, CONFIG_NFT_FIB_INET, CONFIG_NFT_CT)"
        )],
    })
}
