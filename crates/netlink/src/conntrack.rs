//! Removes conntrack entries of addresses (`linux/netfilter/nfnetlink_conntrack.h`), without a process.
//!
//! An entry of an address's former owner would carry its NAT and its mark over to the next one.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::errno::Errno;

use crate::{
    attr,
    socket::{NetlinkSocket, Request},
};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
/// `struct nfgenmsg`: family, version, resource id.
const HEADER: usize = 4;

/// Removes all entries in which one of the addresses takes part, in either direction; gives back how many.
pub(crate) fn flush(socket: &mut NetlinkSocket, addresses: &BTreeSet<IpAddr>) -> io::Result<usize> {
    let all = Request { kind: GET, flags: 0, payload: vec![0; HEADER] };
    let entries = socket.dump_raw(&all)?;
    let doomed: Vec<Request> = entries
        .iter()
        .filter(|(_, entry)| takes_part(entry, addresses))
        .filter_map(|(_, entry)| delete(entry))
        .collect();
    let mut removed = 0;
    for answer in socket.batch(&doomed)? {
        match answer {
            Ok(_) => removed += 1,
            Err(refused) if refused.errno == Errno::ENOENT => {}
            Err(refused) => return Err(refused.errno.into()),
        }
    }
    Ok(removed)
}

fn takes_part(entry: &[u8], addresses: &BTreeSet<IpAddr>) -> bool {
    let body = entry.get(HEADER..).unwrap_or_default();
    [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY]
        .iter()
        .filter_map(|kind| attr::find(attr::find(body, *kind)?, CTA_TUPLE_IP))
        .flat_map(attr::iter)
        .filter_map(|(_, bytes)| ip_of(bytes))
        .any(|ip| addresses.contains(&ip))
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

/// The request that removes exactly this entry: same tuple, zone and id.
fn delete(entry: &[u8]) -> Option<Request> {
    let mut payload = entry.get(..HEADER)?.to_vec();
    let body = entry.get(HEADER..)?;
    attr::push(&mut payload, CTA_TUPLE_ORIG | attr::NESTED, attr::find(body, CTA_TUPLE_ORIG)?);
    for kind in [CTA_ZONE, CTA_ID] {
        if let Some(value) = attr::find(body, kind) {
            attr::push(&mut payload, kind, value);
        }
    }
    Some(Request { kind: DELETE, flags: 0, payload })
}
