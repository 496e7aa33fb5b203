//! What the fake remembers, and the answers that follow from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use prost::Message;
use tideway_model::cni_code;
use tideway_proto::node::{
    AddReply, AddRequest, Address, Capacity, CloudError, CniError, Device, Eni, ExplainReply,
    Interface, Ip, Lease, Pod, PodView, Route, ShowReply, Waiting,
};
use tonic::{Code, Status};

/// The calls of the node service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the calls")]
pub enum Verb {
    Add,
    Delete,
    Check,
    Gc,
    Status,
    Show,
    Explain,
}

/// How a call fails.
#[derive(Debug, Clone)]
pub enum Fault {
    /// As the daemon refuses: a gRPC status with a `CniError` in its details.
    Cni {
        /// gRPC code.
        grpc: Code,
        /// CNI error code.
        code: u32,
        /// Message.
        message: String,
        /// Cause and remedy.
        details: String,
    },
    /// A status without details, as the gRPC library itself makes them.
    Bare(Code),
}

impl Fault {
    /// The daemon knows no address.
    pub fn try_later(message: &str, details: &str) -> Self {
        Self::Cni {
            grpc: Code::ResourceExhausted,
            code: cni_code::TRY_AGAIN,
            message: message.to_owned(),
            details: details.to_owned(),
        }
    }

    pub(super) fn status(&self) -> Status {
        match self {
            Self::Cni { grpc, code, message, details } => {
                let error =
                    CniError { code: *code, message: message.clone(), details: details.clone() };
                Status::with_details(*grpc, message.clone(), error.encode_to_vec().into())
            }
            Self::Bare(code) => Status::new(*code, "injected fault"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Attached {
    pub(super) request: AddRequest,
    pub(super) reply: AddReply,
    address: Ipv4Addr,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) attachments: BTreeMap<(String, String), Attached>,
    pub(super) faults: BTreeMap<Verb, Fault>,
    pub(super) delays: BTreeMap<Verb, Duration>,
    pub(super) calls: BTreeMap<Verb, u64>,
    pub(super) findings: Vec<String>,
    waiting: Vec<Waiting>,
    pub(super) leases: Vec<Lease>,
    cloud_errors: Vec<CloudError>,
    /// Where it would have written the CNI configuration.
    pub(super) cni_conf_dir: String,
}

impl State {
    pub(super) fn add(&mut self, request: AddRequest) -> Result<AddReply, Status> {
        let key = (request.container_id.clone(), request.ifname.clone());
        if let Some(known) = self.attachments.get(&key) {
            return Ok(known.reply.clone());
        }
        let address = self
            .free_address()
            .ok_or_else(|| Fault::try_later("no address is free", "the fake is full").status())?;
        let reply = reply(&request, address);
        self.attachments.insert(key, Attached { request, reply: reply.clone(), address });
        Ok(reply)
    }

    fn free_address(&self) -> Option<Ipv4Addr> {
        let used: BTreeSet<Ipv4Addr> = self.attachments.values().map(|a| a.address).collect();
        let first = u32::from(Ipv4Addr::new(10, 64, 0, 10));
        (first..first + 65_000).map(Ipv4Addr::from).find(|ip| !used.contains(ip))
    }

    pub(super) fn delete(&mut self, container: &str, ifname: &str) {
        self.attachments.remove(&(container.to_owned(), ifname.to_owned()));
    }

    pub(super) fn check(&self, container: &str, ifname: &str) -> Result<(), Status> {
        let key = (container.to_owned(), ifname.to_owned());
        let missing = (!self.attachments.contains_key(&key))
            .then(|| format!("container {container} has no interface {ifname}"));
        let finding = self.findings.first().cloned();
        let refused = |grpc, code, message| {
            let details = "delete the pod; its controller makes a new one".into();
            Err(Fault::Cni { grpc, code, message, details }.status())
        };
        match (missing, finding) {
            (Some(text), _) => refused(Code::NotFound, cni_code::UNKNOWN_CONTAINER, text),
            (None, Some(text)) => refused(Code::FailedPrecondition, cni_code::CHECK_FAILED, text),
            (None, None) => Ok(()),
        }
    }

    /// The looks of the daemon, in one step.
    pub(super) fn gc(&mut self, valid: &BTreeSet<(String, String)>) {
        self.attachments.retain(|key, _| valid.contains(key));
    }

    pub(super) fn set_waiting(&mut self, namespace: &str, name: &str, cause: &str) {
        let pod = Pod { namespace: namespace.into(), name: name.into(), uid: String::new() };
        self.waiting.push(Waiting {
            pod: Some(pod),
            container_id: "c0ffee".into(),
            seconds: 4.2,
            cause: cause.into(),
        });
    }

    pub(super) fn set_cloud_error(&mut self, action: &str, code: &str, text: &str, remedy: &str) {
        self.cloud_errors.push(CloudError {
            action: action.into(),
            code: code.into(),
            message: text.into(),
            remedy: remedy.into(),
            unix_millis: 1_700_000_000_000,
            count: 3,
        });
    }

    fn views(&self) -> impl Iterator<Item = PodView> + use<'_> {
        self.attachments.values().map(|attached| PodView {
            pod: attached.request.pod.clone(),
            container_id: attached.request.container_id.clone(),
            ifname: attached.request.ifname.clone(),
            mode: "veth".into(),
            ips: vec![attached.address.to_string()],
            eni: "eni-fake0".into(),
            host_link: host_link(&attached.request.container_id),
            netns: attached.request.netns.clone(),
        })
    }

    pub(super) fn show(&self) -> ShowReply {
        let assigned = self.views().map(|view| Address {
            ip: view.ips.concat(),
            state: "assigned".into(),
            pod: view.pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default(),
            cooling_seconds: 0,
        });
        let resting = [("10.64.255.1", "free", 0), ("10.64.255.2", "cooling", 12)];
        let resting = resting.map(|(ip, state, cooling_seconds)| Address {
            ip: ip.into(),
            state: state.into(),
            pod: String::new(),
            cooling_seconds,
        });
        ShowReply {
            node: "fake-node".into(),
            instance_id: "i-fake".into(),
            instance_type: "ecs.g6.xlarge".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            enis: vec![Eni {
                id: "eni-fake0".into(),
                mac: "00:16:3e:00:00:01".into(),
                state: "ready".into(),
                r#use: "shared".into(),
                subnet: "vsw-fake".into(),
                addresses: assigned.chain(resting).collect(),
                link: "eth1".into(),
                security_groups: vec!["sg-fake".into()],
                table: 1001,
                prefixes: Vec::new(),
            }],
            waiting: self.waiting.clone(),
            cloud_errors: self.cloud_errors.clone(),
            cloud_calls: [("AssignPrivateIpAddresses".to_owned(), 2)].into(),
            pods: self.views().collect(),
            devices: vec![Device { id: "slot-2".into(), healthy: true, ..Device::default() }],
            low: 2,
            high: 6,
            source_errors: Vec::new(),
            shortfall: String::new(),
            pending_links: 0,
            leases: self.leases.clone(),
            capacity: Some(Capacity {
                adapters: 2,
                pods_per_adapter: 10,
                min_shared: 1,
                max_shared: None,
                devices: true,
                vpc_blocks: vec!["10.0.0.0/8".into()],
                families: vec!["IPv4".into()],
                cni_conf_dir: self.cni_conf_dir.clone(),
            }),
        }
    }

    pub(super) fn explain(&self, namespace: &str, name: &str) -> ExplainReply {
        let is = |pod: &Option<Pod>| {
            pod.as_ref().is_some_and(|pod| pod.namespace == namespace && pod.name == name)
        };
        let attachments: Vec<_> = self.views().filter(|view| is(&view.pod)).collect();
        let waiting = self.waiting.iter().filter(|waiting| is(&waiting.pod)).cloned().collect();
        let findings = if attachments.is_empty() { Vec::new() } else { self.findings.clone() };
        ExplainReply { attachments, waiting, findings }
    }
}

fn host_link(container: &str) -> String {
    format!("tw{}", container.chars().take(11).collect::<String>())
}

fn reply(request: &AddRequest, address: Ipv4Addr) -> AddReply {
    let [_, _, c, d] = address.octets();
    AddReply {
        interfaces: vec![
            Interface {
                name: host_link(&request.container_id),
                mac: format!("02:00:00:01:{c:02x}:{d:02x}"),
                sandbox: String::new(),
                mtu: 1500,
            },
            Interface {
                name: request.ifname.clone(),
                mac: format!("02:00:00:00:{c:02x}:{d:02x}"),
                sandbox: request.netns.clone(),
                mtu: 1500,
            },
        ],
        ips: vec![Ip {
            address: format!("{address}/32"),
            gateway: "169.254.1.1".into(),
            interface: 1,
        }],
        routes: vec![Route { dst: "0.0.0.0/0".into(), gw: "169.254.1.1".into() }],
    }
}
