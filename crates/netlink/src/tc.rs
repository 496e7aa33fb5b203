//! Rate limits as traffic-control requests. Token buckets and the u32 filter are raw bytes: the library has no types for
//! them (`linux/pkt_sched.h`, `linux/pkt_cls.h`, `linux/tc_act/tc_mirred.h`).

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use tideway_datapath::Tbf;

use crate::{attr, socket::Request};

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RTAB: u16 = 2;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const ETH_P_ALL: u32 = 0x0003;
/// `cell_log`: one entry of the rate table stands for 8 bytes; the kernel only checks that the table is there.
const CELL_LOG: u8 = 3;

fn message(index: u32, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(i32::MAX));
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

fn option(kind: u16, value: Vec<u8>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value))
}

/// Token bucket at the root of a link; replaces what is there.
pub(crate) fn tbf(index: u32, tbf: Tbf) -> Request {
    let mut message = message(index, "tbf");
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: 1, minor: 0 };
    let mut options =
        vec![option(TCA_TBF_PARMS, parms(tbf)), option(TCA_TBF_BURST, tbf.burst.to_ne_bytes().to_vec())];
    let rates: Vec<u32> = (1..=256u64).map(|cell| tbf.ticks(cell << CELL_LOG)).collect();
    options.push(option(TCA_TBF_RTAB, attr::words(&rates)));
    if tbf.rate > u64::from(u32::MAX) {
        options.push(option(TCA_TBF_RATE64, tbf.rate.to_ne_bytes().to_vec()));
    }
    message.attributes.push(TcAttribute::Options(options));
    Request::new(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// `struct tc_tbf_qopt`: rate, peak rate (12 bytes each), limit, buffer in ticks, mtu.
fn parms(tbf: Tbf) -> Vec<u8> {
    let mut out = vec![CELL_LOG, 1, 0, 0, 0, 0, 0, 0];
    out.extend(u32::try_from(tbf.rate).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend([0; 12]);
    out.extend(attr::words(&[tbf.limit, tbf.ticks(u64::from(tbf.burst)), 0]));
    out
}

/// Rate of an observed token bucket in bytes per second.
pub(crate) fn rate_of(message: &TcMessage) -> Option<u64> {
    let is_tbf = |a: &TcAttribute| matches!(a, TcAttribute::Kind(kind) if kind == "tbf");
    if message.header.parent != TcHandle::ROOT || !message.attributes.iter().any(is_tbf) {
        return None;
    }
    let options = message.attributes.iter().find_map(|a| match a {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let raw = |kind: u16| {
        options.iter().find_map(|o| match o {
            TcOption::Other(nla) => {
                use netlink_packet_core::Nla;
                let mut bytes = vec![0; nla.value_len()];
                nla.emit_value(&mut bytes);
                (nla.kind() == kind).then_some(bytes)
            }
            _ => None,
        })
    };
    if let Some(wide) = raw(TCA_TBF_RATE64).and_then(|b| b.try_into().ok()) {
        return Some(u64::from_ne_bytes(wide));
    }
    attr::u32_at(&raw(TCA_TBF_PARMS)?, 8).map(u64::from)
}

/// Hook for filters on what enters and leaves a link.
pub(crate) fn clsact(index: u32) -> Request {
    let mut message = message(index, "clsact");
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    Request::new(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Filter at ingress that matches every packet and redirects it to the egress of another link.
pub(crate) fn redirect(index: u32, to: u32) -> Request {
    const PRIORITY: u32 = 1;
    let mut message = message(index, "u32");
    message.header.parent = TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS };
    message.header.info = PRIORITY << 16 | u32::from(u16::try_from(ETH_P_ALL).unwrap_or(3).to_be());
    // A fixed handle makes a second run fail with EEXIST instead of adding a second filter.
    message.header.handle = TcHandle { major: 0x8000, minor: 0x0800 };
    let options = vec![option(TCA_U32_ACT, mirred(to)), option(TCA_U32_SEL, match_all())];
    message.attributes.push(TcAttribute::Options(options));
    Request::new(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// `struct tc_u32_sel` with one key that has an empty mask.
fn match_all() -> Vec<u8> {
    const TERMINAL: u8 = 1;
    let mut out = vec![TERMINAL, 0, 1, 0];
    out.extend([0; 12]);
    out.extend([0; 16]);
    out
}

/// One action: `struct tc_mirred` {index, capab, action, refcnt, bindcnt, eaction, ifindex}.
fn mirred(to: u32) -> Vec<u8> {
    const TC_ACT_STOLEN: u32 = 4;
    const TCA_EGRESS_REDIR: u32 = 1;
    let mut options = Vec::new();
    attr::push(&mut options, 2, &attr::words(&[0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to]));
    let mut action = Vec::new();
    attr::push(&mut action, 1, b"mirred\0");
    attr::push(&mut action, 2, &options);
    let mut list = Vec::new();
    attr::push(&mut list, 1, &action);
    list
}

/// Asks for all queueing disciplines.
pub(crate) fn all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default())
}
