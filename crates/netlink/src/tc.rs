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
    let mut options = vec![
        option(TCA_TBF_PARMS, parms(tbf)),
        option(TCA_TBF_BURST, tbf.burst.to_ne_bytes().to_vec()),
    ];
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

/// Link and rate (bytes per second) of an observed token bucket at the root of a link, from `struct tcmsg` {family, pad,
/// index, handle, parent, info} and its attributes.
pub(crate) fn root_bucket(payload: &[u8]) -> Option<(u32, u64)> {
    const TC_H_ROOT: u32 = u32::MAX;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    let attributes = payload.get(20..)?;
    if attr::u32_at(payload, 12)? != TC_H_ROOT || attr::find(attributes, TCA_KIND)? != b"tbf\0" {
        return None;
    }
    let options = attr::find(attributes, TCA_OPTIONS)?;
    let wide = attr::find(options, TCA_TBF_RATE64).and_then(|b| b.try_into().ok());
    let rate = match wide.map(u64::from_ne_bytes) {
        Some(rate) => rate,
        None => u64::from(attr::u32_at(attr::find(options, TCA_TBF_PARMS)?, 8)?),
    };
    Some((attr::u32_at(payload, 4)?, rate))
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
pub(crate) fn all() -> Request {
    Request::new(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()), 0)
}
