//! A blocking netlink socket that sends many requests with one system call.
//!
//! The kernel executes a request within `send`, so nothing is gained by waiting asynchronously: an async socket would stall its
//! executor for as long as the kernel holds the RTNL lock. All work runs on blocking threads instead. A socket belongs for life
//! to the namespace in which it was opened. After an error of the socket itself it must be dropped: answers may be in flight.

use std::{io, os::fd::AsRawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols};
use nix::{
    errno::Errno,
    sys::{socket::setsockopt, socket::sockopt::ReceiveTimeout, time::TimeVal},
};

use crate::attr;

/// Largest part of a dump that the kernel sends at once is 32 KiB; batches of acknowledgements are smaller.
const INBOX: usize = 64 * 1024;
/// Header of every netlink message.
const HEADER: usize = 16;
/// Requests in one send: stays far below the default receive buffer with all their answers.
const BATCH: usize = 64;
/// The kernel answers at once except when the RTNL lock is held; longer than this is a fault.
const PATIENCE_S: i64 = 30;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;

/// Refusal of one request by the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) errno: Errno,
    pub(crate) detail: Option<String>,
}

/// Answer to one request: the payload of the reply, if there was one beside the acknowledgement.
pub(crate) type Answer = Result<Option<Vec<u8>>, Refused>;

/// Payloads of a dump with their message types.
pub(crate) type Dump = Vec<(u16, Vec<u8>)>;

/// A request as bytes: message type, flags beside REQUEST and ACK, payload.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

impl Request {
    /// A typed rtnetlink request.
    pub(crate) fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let payload = bytes.split_off(HEADER);
        Self { kind: message.header.message_type, flags, payload }
    }
}

/// The socket.
pub(crate) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
    inbox: Vec<u8>,
}

impl std::fmt::Debug for NetlinkSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetlinkSocket")
            .field("fd", &self.socket.as_raw_fd())
            .finish_non_exhaustive()
    }
}

impl NetlinkSocket {
    /// Opens rtnetlink in the thread's namespace.
    pub(crate) fn route() -> io::Result<Self> {
        let this = Self::open(protocols::NETLINK_ROUTE)?;
        // Strict checking (Linux 4.20) lets dumps be filtered by the kernel; without it the answers are only longer.
        if let Err(error) = this.socket.set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "no strict netlink dumps");
        }
        Ok(this)
    }

    /// Opens nfnetlink in the thread's namespace.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        let timeout = TimeVal::new(PATIENCE_S, 0);
        setsockopt(&socket, ReceiveTimeout, &timeout)?;
        Ok(Self { socket, sequence: 0, inbox: Vec::new() })
    }

    fn send(&mut self, out: &mut Vec<u8>, request: &Request, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + request.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&request.kind.to_ne_bytes());
        out.extend_from_slice(&(flags | request.flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&self.sequence.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&request.payload);
        out.resize(out.len().next_multiple_of(4), 0);
        self.sequence
    }

    /// Sends requests and waits for all answers, in order. A refused request does not stop the ones after it.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for part in requests.chunks(BATCH) {
            let mut out = Vec::with_capacity(4096);
            let mut first = None;
            for request in part {
                let sequence = self.send(&mut out, request, NLM_F_ACK);
                first.get_or_insert(sequence);
            }
            let Some(first) = first else { break };
            self.socket.send(&out, 0)?;
            self.collect(first, part.len(), &mut answers)?;
        }
        Ok(answers)
    }

    /// One request.
    pub(crate) fn one(&mut self, request: Request) -> io::Result<Answer> {
        let answers = self.batch(&[request])?;
        answers.into_iter().next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn collect(&mut self, first: u32, count: usize, answers: &mut Vec<Answer>) -> io::Result<()> {
        let mut replies: Vec<Option<Vec<u8>>> = vec![None; count];
        let mut done: Vec<Option<Answer>> = vec![None; count];
        let mut open = count;
        while open > 0 {
            self.receive()?;
            for message in Messages(&self.inbox) {
                let at = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(count);
                if message.kind == NLMSG_ERROR {
                    let Some(slot) = done.get_mut(at) else { continue };
                    let reply = replies.get_mut(at).and_then(Option::take);
                    if slot.replace(message.verdict().map(|()| reply)).is_none() {
                        open -= 1;
                    }
                } else if let Some(reply) = replies.get_mut(at) {
                    *reply = Some(message.payload.to_vec());
                }
            }
        }
        answers.extend(done.into_iter().flatten());
        Ok(())
    }

    /// Dumps a table: payloads with their message type. Repeats when the table changed meanwhile.
    pub(crate) fn dump_raw(&mut self, request: &Request) -> io::Result<Dump> {
        const ATTEMPTS: u32 = 5;
        for attempt in 1..=ATTEMPTS {
            let (found, torn) = self.dump_once(request)?;
            if !torn || attempt == ATTEMPTS {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn dump_once(&mut self, request: &Request) -> io::Result<(Dump, bool)> {
        let mut out = Vec::with_capacity(128);
        let sequence = self.send(&mut out, request, NLM_F_DUMP);
        self.socket.send(&out, 0)?;
        let (mut found, mut torn) = (Vec::new(), false);
        loop {
            self.receive()?;
            for message in Messages(&self.inbox) {
                if message.sequence != sequence {
                    continue;
                }
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_DONE => return Ok((found, torn)),
                    NLMSG_ERROR => match message.verdict() {
                        Ok(()) => return Ok((found, torn)),
                        Err(refused) => return Err(refused.errno.into()),
                    },
                    kind => found.push((kind, message.payload.to_vec())),
                }
            }
        }
    }

    /// Dumps a table as typed messages. What the library cannot read is left out: it is none of ours.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let raw = self.dump_raw(&Request::new(message, 0))?;
        Ok(raw.into_iter().filter_map(|(kind, payload)| typed(kind, &payload)).collect())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.inbox.clear();
        self.inbox.reserve(INBOX);
        self.socket.recv(&mut self.inbox, 0).map(|_bytes| ())
    }
}

/// Reads a typed message; unreadable ones are logged.
pub(crate) fn typed(kind: u16, payload: &[u8]) -> Option<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    match RouteNetlinkMessage::deserialize(&header, payload) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::debug!(kind, %error, "unreadable netlink message");
            None
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// Reads an acknowledgement or error.
    fn verdict(&self) -> Result<(), Refused> {
        let code = attr::i32_at(self.payload, 0).unwrap_or_default();
        if code == 0 {
            return Ok(());
        }
        let detail = (self.flags & NLM_F_ACK_TLVS != 0).then(|| {
            let original = attr::u32_at(self.payload, 4).and_then(|n| usize::try_from(n).ok());
            let skip =
                if self.flags & NLM_F_CAPPED != 0 { HEADER } else { original.unwrap_or(HEADER) };
            let rest = self.payload.get(4 + skip.next_multiple_of(4)..).unwrap_or_default();
            let text = attr::find(rest, 1).unwrap_or_default();
            String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
        });
        let detail = detail.filter(|text| !text.is_empty());
        Err(Refused { errno: Errno::from_raw(code.saturating_neg()), detail })
    }
}

/// Walks over the messages in a buffer.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(attr::u32_at(self.0, 0)?).ok()?;
        let message = Message {
            kind: attr::u16_at(self.0, 4)?,
            flags: attr::u16_at(self.0, 6)?,
            sequence: attr::u32_at(self.0, 8)?,
            payload: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}
