//! Names and MAC addresses that follow from an attachment's identity, so that they can be told without asking the kernel.
//!
//! The host end is named after the container, never after the pod: a pod that is created again never meets the link of its
//! predecessor.

use tideway_model::{AttachmentKey, IfName, Mac, Mode, names};

/// FNV-1a, 64 bit (draft-eastlake-fnv): stable over releases, which `std`'s hasher does not promise.
fn fnv1a(seed: &str, key: &AttachmentKey) -> u64 {
    let bytes = [seed, "\0", key.container.as_str(), "\0", key.ifname.as_str()];
    bytes.iter().flat_map(|s| s.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn hashed(prefix: &str, digits: usize, hash: u64) -> IfName {
    let hex: String = format!("{hash:016x}").chars().take(digits).collect();
    fixed(&format!("{prefix}{hex}"))
}

/// Name of the host end: `tw` + 12 hex digits for shared pods, `twx` + 11 for the peer of an exclusive pod.
pub fn host_link_name(key: &AttachmentKey, mode: Mode) -> IfName {
    match mode {
        Mode::Veth => hashed(names::VETH_PREFIX, 12, fnv1a("link", key)),
        Mode::Exclusive => hashed(names::PEER_PREFIX, 11, fnv1a("link", key)),
    }
}

/// Name of the ifb that shapes one direction: on the host for shared pods, in the pod for exclusive ones.
pub fn ifb_name(key: &AttachmentKey) -> IfName {
    hashed(names::IFB_PREFIX, 11, fnv1a("link", key))
}

/// Name under which an ENI comes back to the host: unique, since the MAC is.
pub fn parked_name(mac: Mac) -> IfName {
    let hex = mac.to_string().replace(':', "");
    fixed(&format!("{}{hex}", names::PARKED_PREFIX))
}

/// A name of at most 15 ASCII letters and digits, by construction of its callers.
fn fixed(text: &str) -> IfName {
    #[expect(clippy::expect_used, reason = "all texts are constants or constants with hex digits")]
    IfName::try_from(text).expect("a short ASCII name")
}

/// Name of the interface beside the ENI in an exclusive pod.
pub fn peer_in_pod() -> IfName {
    fixed(names::PEER_IN_POD)
}

/// Whether a host link is one that we make for pods (and therefore may delete when no attachment wants it).
pub fn is_pod_link(name: &IfName) -> bool {
    let hex = |rest: &str, digits: usize| {
        rest.len() == digits && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let name = name.as_str();
    name.strip_prefix(names::PEER_PREFIX).is_some_and(|rest| hex(rest, 11))
        || name.strip_prefix(names::IFB_PREFIX).is_some_and(|rest| hex(rest, 11))
        || name.strip_prefix(names::VETH_PREFIX).is_some_and(|rest| hex(rest, 12))
}

/// MAC addresses of the veth pair, host end first: locally administered, from the identity.
pub fn veth_macs(key: &AttachmentKey) -> (Mac, Mac) {
    let mac = |seed| {
        let [_, _, mut bytes @ ..] = fnv1a(seed, key).to_be_bytes();
        let [first, ..] = &mut bytes;
        *first = (*first & 0xfc) | 0x02;
        Mac(bytes)
    };
    (mac("host"), mac("pod"))
}

#[cfg(test)]
mod tests {
    use tideway_model::ContainerId;

    use super::*;

    fn key(container: &str) -> AttachmentKey {
        AttachmentKey {
            container: ContainerId::try_from(container).unwrap(),
            ifname: IfName::try_from("eth0").unwrap(),
        }
    }

    #[test]
    fn a_recreated_pod_never_meets_its_predecessors_link() {
        let (a, b) = (key("c1"), key("c2"));
        assert_ne!(host_link_name(&a, Mode::Veth), host_link_name(&b, Mode::Veth));
        assert_ne!(veth_macs(&a), veth_macs(&b));
    }

    #[test]
    fn names_of_the_kinds_never_collide_and_are_recognised() {
        let k = key("0123456789abcdef");
        let all =
            [host_link_name(&k, Mode::Veth), host_link_name(&k, Mode::Exclusive), ifb_name(&k)];
        for (i, name) in all.iter().enumerate() {
            assert!(is_pod_link(name), "{name}");
            assert!(all.iter().skip(i + 1).all(|other| other != name));
        }
        for foreign in ["twhost", "tw0", "twe00163e000005", "eth0", "twinkle12345ab"] {
            assert!(!is_pod_link(&IfName::try_from(foreign).unwrap()), "{foreign}");
        }
    }

    #[test]
    fn macs_are_local_unicast_and_differ() {
        let (host, pod) = veth_macs(&key("c"));
        assert_ne!(host, pod);
        for mac in [host, pod] {
            assert_eq!(mac.0[0] & 3, 2, "{mac}");
        }
    }
}
