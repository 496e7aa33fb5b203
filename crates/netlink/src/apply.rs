//! Executes operations. Consecutive operations in one namespace go to the kernel with one system call.
//!
//! Every operation is idempotent: what exists already, or is gone already, counts as done. A failed operation does not stop
//! the ones after it in the same batch; [`Job::run`] gives back all failures, and its caller decides.

use std::{collections::BTreeMap, io};

use nix::errno::Errno;
use tideway_datapath::{NetOp, Place, Route};
use tideway_model::{IfName, names};

use crate::{
    DatapathError, message,
    netns::Namespace,
    nft, observe,
    socket::{Answer, NetlinkSocket, Refused, Request},
    sysctl, tc,
};

/// One run of operations: sockets in both namespaces, and what became of it.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) host: &'a mut NetlinkSocket,
    pub(crate) host_ns: &'a Namespace,
    pub(crate) pod: Option<(&'a Namespace, NetlinkSocket)>,
    /// Group for links that are deleted later.
    pub(crate) group: u32,
    /// Host links that were put into the group.
    pub(crate) retired: Vec<IfName>,
    /// Whether this run made or moved a link: what a failed ADD has to take back.
    pub(crate) made: bool,
    /// Drift that was corrected.
    pub(crate) reports: Vec<String>,
    pub(crate) index: BTreeMap<(Place, IfName), u32>,
}

pub(crate) fn socket(what: &'static str) -> impl Fn(io::Error) -> DatapathError {
    move |source| DatapathError::Socket { what, source }
}

impl<'a> Job<'a> {
    pub(crate) fn new(host: &'a mut NetlinkSocket, host_ns: &'a Namespace) -> Self {
        Self {
            host,
            host_ns,
            pod: None,
            group: 0,
            retired: Vec::new(),
            made: false,
            reports: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// Opens a socket in the pod's namespace for this job alone.
    pub(crate) fn enter(&mut self, pod: &'a Namespace, path: &str) -> Result<(), DatapathError> {
        let opened = pod.within(NetlinkSocket::route).and_then(|inner| inner);
        let failed = |source| DatapathError::Namespace { path: path.to_owned(), source };
        self.pod = Some((pod, opened.map_err(failed)?));
        Ok(())
    }

    /// Runs operations in order; an operation that stands alone and fails ends the run when `stop` is set.
    pub(crate) fn run(&mut self, ops: &[NetOp], stop: bool) -> Vec<DatapathError> {
        let mut failed = Vec::new();
        let mut rest = ops;
        while let Some((first, others)) = rest.split_first() {
            if let Some(place) = place_of(first) {
                let same = rest.iter().take_while(|op| place_of(op) == Some(place)).count();
                let (now, later) = rest.split_at(same);
                rest = later;
                self.batch(place, now, &mut failed);
            } else {
                rest = others;
                failed.extend(self.alone(first).err());
            }
            if stop && !failed.is_empty() {
                break;
            }
        }
        failed
    }

    fn batch(&mut self, place: Place, ops: &[NetOp], failed: &mut Vec<DatapathError>) {
        if place == Place::Pod && self.pod.is_none() {
            return;
        }
        let mut names: Vec<&IfName> = ops.iter().flat_map(links_of).collect();
        names.sort_unstable();
        names.dedup();
        if let Err(error) = self.resolve(place, &names) {
            failed.push(error);
            return;
        }
        let (mut requests, mut owners) = (Vec::with_capacity(ops.len()), Vec::new());
        for op in ops {
            match self.requests(place, op) {
                Some(list) => {
                    owners.extend(list.iter().map(|_| op));
                    requests.extend(list);
                }
                None if removes(op) => {}
                None => {
                    failed.push(no_link(op));
                }
            }
        }
        let answers = match self.socket(place).map(|s| s.batch(&requests)) {
            Some(Ok(answers)) => answers,
            Some(Err(source)) => {
                failed.push(DatapathError::Socket { what: "sending operations", source });
                return;
            }
            None => return,
        };
        for (op, answer) in owners.into_iter().zip(answers) {
            failed.extend(self.judge(place, op, answer).err());
        }
    }

    fn judge(&mut self, place: Place, op: &NetOp, answer: Answer) -> Result<(), DatapathError> {
        let Err(refused) = answer else { return Ok(()) };
        let gone = matches!(
            refused.errno,
            Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ENXIO
        );
        if gone && removes(op) {
            return Ok(());
        }
        if refused.errno == Errno::EEXIST {
            if let (NetOp::PutRoute(_, route), Place::Host) = (op, place) {
                return self.contested(op, route);
            }
            let there =
                matches!(op, NetOp::PutAddress(..) | NetOp::PutRule(_) | NetOp::Redirect(..));
            if there {
                return Ok(());
            }
        }
        Err(refused_error(op, refused))
    }

    /// A route stands where ours must be: an older one of ours gives way, one of somebody else is an error.
    fn contested(&mut self, op: &NetOp, wanted: &Route) -> Result<(), DatapathError> {
        let view = observe::view(self.host, &[]).map_err(socket("reading routes"))?;
        if view.routes.contains(wanted) {
            return Ok(());
        }
        let mut ours =
            view.routes.iter().filter(|r| r.table == wanted.table && r.dst == wanted.dst);
        let Some(old) = ours.next() else {
            let owner = observe::owner_of(self.host, wanted).map_err(socket("reading routes"))?;
            let protocol = owner.unwrap_or_default();
            return Err(DatapathError::ForeignRoute { what: wanted.to_string(), protocol });
        };
        let drop = NetOp::DropRoute(Place::Host, old.clone());
        let mut failed = Vec::new();
        self.batch(Place::Host, std::slice::from_ref(&drop), &mut failed);
        let index = self.index_of(Place::Host, &wanted.link);
        let index = index.ok_or_else(|| no_link(op))?;
        let again = message::put_route(index, wanted, true);
        let answer = self.host.one(again).map_err(socket("replacing a route"))?;
        answer.map(|_| ()).map_err(|refused| refused_error(op, refused))
    }

    pub(crate) fn socket(&mut self, place: Place) -> Option<&mut NetlinkSocket> {
        match place {
            Place::Host => Some(self.host),
            Place::Pod => self.pod.as_mut().map(|(_, socket)| socket),
        }
    }

    fn index_of(&self, place: Place, link: &IfName) -> Option<u32> {
        self.index.get(&(place, link.clone())).copied()
    }

    /// Looks up the indices of links that are not known yet.
    fn resolve(&mut self, place: Place, links: &[&IfName]) -> Result<(), DatapathError> {
        let unknown: Vec<&IfName> =
            links.iter().copied().filter(|l| self.index_of(place, l).is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let requests: Vec<Request> = unknown.iter().map(|l| message::get_link(l)).collect();
        let Some(socket) = self.socket(place) else { return Ok(()) };
        let answers = socket.batch(&requests).map_err(self::socket("looking up links"))?;
        for (name, answer) in unknown.into_iter().zip(answers) {
            if let Some(index) = index_in(&answer) {
                self.index.insert((place, name.clone()), index);
            }
        }
        Ok(())
    }

    /// The requests of an operation; `None` when its link does not exist.
    fn requests(&mut self, place: Place, op: &NetOp) -> Option<Vec<Request>> {
        let at = |link: &IfName| self.index_of(place, link);
        Some(match op {
            NetOp::LinkUp(_, link) => vec![message::set_up(at(link)?, true)],
            NetOp::LinkDown(_, link) => vec![message::set_up(at(link)?, false)],
            NetOp::DropLink(_, link) => vec![message::del_link(at(link)?)],
            NetOp::PutAddress(_, a) => vec![message::put_address(at(&a.link)?, a)],
            NetOp::CleanAddress(a) => vec![message::del_address(at(&a.link)?, a)],
            NetOp::CleanRoute(r) => vec![message::del_foreign(at(&r.route.link)?, r)],
            NetOp::PutRoute(_, r) => {
                let exclusive = place == Place::Host && r.table == message::TABLE_MAIN;
                vec![message::put_route(at(&r.link)?, r, exclusive)]
            }
            NetOp::DropRoute(_, r) => vec![message::del_route(at(&r.link)?, r)],
            NetOp::PutNeighbour(_, n) => vec![message::put_neighbour(at(&n.link)?, n)],
            NetOp::DropNeighbour(_, n) => vec![message::del_neighbour(at(&n.link)?, n)],
            NetOp::PutRule(r) => vec![message::put_rule(r)],
            NetOp::DropRule(r) => vec![message::del_rule(r)],
            NetOp::Shape(_, link, tbf) => vec![tc::tbf(at(link)?, *tbf)],
            NetOp::Redirect(_, from, to) => {
                let from = at(from)?;
                vec![tc::clsact(from), tc::redirect(from, at(to)?)]
            }
            NetOp::RetireLinks(links) => {
                let known: Vec<(u32, IfName)> =
                    links.iter().filter_map(|l| Some((at(l)?, l.clone()))).collect();
                let requests = known.iter().map(|(i, _)| message::set_group(*i, self.group));
                let requests = requests.collect();
                self.retired.extend(known.into_iter().map(|(_, name)| name));
                requests
            }
            NetOp::Sysctl { .. }
            | NetOp::Nft(_)
            | NetOp::Veth(_)
            | NetOp::TakeEni { .. }
            | NetOp::ReturnEni { .. }
            | NetOp::Ifb(..) => Vec::new(),
        })
    }

    fn alone(&mut self, op: &NetOp) -> Result<(), DatapathError> {
        match op {
            NetOp::Sysctl { key, value } => self.sysctl(key, value),
            NetOp::Nft(script) => in_host(self.host_ns, || nft::run(script))?,
            NetOp::Veth(pair) => self.veth(op, pair),
            NetOp::TakeEni { mac, ifname, mtu } => self.take_eni(op, *mac, ifname, *mtu),
            NetOp::ReturnEni { mac, ifname, parked } => self.return_eni(op, *mac, ifname, parked),
            NetOp::Ifb(place, link) => self.ifb(op, *place, link),
            NetOp::LinkUp(..)
            | NetOp::LinkDown(..)
            | NetOp::DropLink(..)
            | NetOp::RetireLinks(_)
            | NetOp::PutAddress(..)
            | NetOp::CleanAddress(_)
            | NetOp::CleanRoute(_)
            | NetOp::PutRoute(..)
            | NetOp::DropRoute(..)
            | NetOp::PutNeighbour(..)
            | NetOp::DropNeighbour(..)
            | NetOp::PutRule(_)
            | NetOp::DropRule(_)
            | NetOp::Shape(..)
            | NetOp::Redirect(..) => Ok(()),
        }
    }

    fn sysctl(&mut self, key: &str, value: &str) -> Result<(), DatapathError> {
        let done = in_host(self.host_ns, || sysctl::set(key, value))?;
        let failed =
            |source| DatapathError::Sysctl { key: key.to_owned(), value: value.to_owned(), source };
        if let Some(old) = done.map_err(failed)? {
            self.reports.push(format!("{} was {old}, set to {value}", key.replace('/', ".")));
        }
        Ok(())
    }

    fn ifb(&mut self, op: &NetOp, place: Place, link: &IfName) -> Result<(), DatapathError> {
        let Some(socket) = self.socket(place) else { return Ok(()) };
        match socket.one(message::ifb(link)).map_err(self::socket("creating an ifb"))? {
            Err(refused) if refused.errno != Errno::EEXIST => Err(refused_error(op, refused)),
            _ => Ok(()),
        }
    }
}

/// Runs work in the host's namespace.
pub(crate) fn in_host<T>(host: &Namespace, work: impl FnOnce() -> T) -> Result<T, DatapathError> {
    let failed = |source| DatapathError::Namespace { path: "of the host".to_owned(), source };
    host.within(work).map_err(failed)
}

/// The index in the answer to a link request (`struct ifinfomsg`: family, pad, type, index).
pub(crate) fn index_in(answer: &Answer) -> Option<u32> {
    crate::attr::u32_at(answer.as_ref().ok()?.as_ref()?, 4)
}

/// The namespace of operations that can share a system call; `None` for those that stand alone.
fn place_of(op: &NetOp) -> Option<Place> {
    match op {
        NetOp::Sysctl { .. }
        | NetOp::Nft(_)
        | NetOp::Veth(_)
        | NetOp::TakeEni { .. }
        | NetOp::ReturnEni { .. }
        | NetOp::Ifb(..) => None,
        NetOp::LinkUp(place, _)
        | NetOp::LinkDown(place, _)
        | NetOp::DropLink(place, _)
        | NetOp::PutAddress(place, _)
        | NetOp::PutRoute(place, _)
        | NetOp::DropRoute(place, _)
        | NetOp::PutNeighbour(place, _)
        | NetOp::DropNeighbour(place, _)
        | NetOp::Shape(place, ..)
        | NetOp::Redirect(place, ..) => Some(*place),
        NetOp::RetireLinks(_)
        | NetOp::CleanAddress(_)
        | NetOp::CleanRoute(_)
        | NetOp::PutRule(_)
        | NetOp::DropRule(_) => Some(Place::Host),
    }
}

fn links_of(op: &NetOp) -> Vec<&IfName> {
    match op {
        NetOp::LinkUp(_, link)
        | NetOp::LinkDown(_, link)
        | NetOp::DropLink(_, link)
        | NetOp::Shape(_, link, _) => vec![link],
        NetOp::PutAddress(_, a) | NetOp::CleanAddress(a) => vec![&a.link],
        NetOp::PutRoute(_, r) | NetOp::DropRoute(_, r) => vec![&r.link],
        NetOp::CleanRoute(r) => vec![&r.route.link],
        NetOp::PutNeighbour(_, n) | NetOp::DropNeighbour(_, n) => vec![&n.link],
        NetOp::Redirect(_, from, to) => vec![from, to],
        NetOp::RetireLinks(links) => links.iter().collect(),
        NetOp::Sysctl { .. }
        | NetOp::Nft(_)
        | NetOp::Veth(_)
        | NetOp::TakeEni { .. }
        | NetOp::ReturnEni { .. }
        | NetOp::Ifb(..)
        | NetOp::PutRule(_)
        | NetOp::DropRule(_) => Vec::new(),
    }
}

/// Whether an operation only takes away: then a missing object is what was wanted.
fn removes(op: &NetOp) -> bool {
    matches!(
        op,
        NetOp::DropLink(..)
            | NetOp::DropRoute(..)
            | NetOp::DropNeighbour(..)
            | NetOp::DropRule(_)
            | NetOp::CleanAddress(_)
            | NetOp::CleanRoute(_)
            | NetOp::RetireLinks(_)
            | NetOp::LinkDown(..)
    )
}

pub(crate) fn gone(op: &NetOp) -> DatapathError {
    refused_error(
        op,
        Refused { errno: Errno::ENOENT, detail: Some("the namespace is gone".to_owned()) },
    )
}

fn no_link(op: &NetOp) -> DatapathError {
    refused_error(op, Refused { errno: Errno::ENODEV, detail: None })
}

pub(crate) fn refused_error(op: &NetOp, refused: Refused) -> DatapathError {
    let hint = match (refused.errno, op) {
        (Errno::EPERM, _) => "; the daemon needs CAP_NET_ADMIN in the host's user namespace",
        (Errno::ENODEV, _) => "; the link disappeared meanwhile, was the pod or the ENI removed?",
        (
            Errno::ENOENT | Errno::EOPNOTSUPP,
            NetOp::Shape(..) | NetOp::Redirect(..) | NetOp::Ifb(..),
        ) => "; rate limits need the kernel modules sch_tbf, ifb, cls_u32 and act_mirred",
        (Errno::ENOBUFS | Errno::ENOMEM, _) => "; the kernel is short of memory",
        _ => "",
    };
    let Refused { errno, detail } = refused;
    DatapathError::Kernel { op: op.to_string(), errno, detail, hint }
}

/// Whether a pod's interface must not have this name: it is taken by loopback or by the peer of exclusive pods.
pub(crate) fn reserved(ifname: &IfName) -> bool {
    ifname.as_str() == names::PEER_IN_POD || ifname.as_str() == "lo"
}
