//! A test's world: a lab, and nodes in it. Raised from a [`Setup`], taken down by [`Bed::finish`] with every check that
//! must hold after any test.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;
use tideway_lab::{
    CloudKind, LabConfig, LatencyMode,
    cloud::{catalog::TypeOverride, policy::Policy},
};

use crate::{Lab, Node, leaks, turn::Turn};

/// Environment variable with the cloud of tests that do not name one: `aliyun` (the default) or `aws`.
const CLOUD_VARIABLE: &str = "TIDEWAY_CLOUD";

/// What a test wants to stand in.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Whose cloud it is.
    pub cloud: CloudKind,
    /// `IPv4`, `IPv6` or `DualStack`.
    pub families: &'static str,
    /// Names of the instances that run a daemon, of `cp`, `n1`, `n2`.
    pub nodes: Vec<&'static str>,
    /// Whether the nodes have a kubelet with devices.
    pub devices: bool,
    /// Whether the daemons can ask a container runtime.
    pub runtime: bool,
    /// ENIs of the instance type, the primary one included.
    pub enis: u32,
    /// Addresses of each family of an ENI.
    pub addresses: u32,
    /// Whether the daemons are started and their pools warm.
    pub warm: bool,
    /// Keys of the daemon's section `pool`.
    pub pool: BTreeMap<&'static str, u32>,
    /// How slow the cloud is.
    pub latency: LatencyMode,
    /// Hops that a token of the metadata service may go.
    pub hop_limit: u8,
    /// Sysctls of the instances' namespaces before any daemon runs, beside those of the lab.
    pub sysctls: BTreeMap<&'static str, &'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        let aws = std::env::var(CLOUD_VARIABLE).is_ok_and(|cloud| cloud == "aws");
        Self {
            cloud: if aws { CloudKind::Aws } else { CloudKind::Aliyun },
            families: "IPv4",
            nodes: vec!["n1"],
            devices: false,
            runtime: false,
            enis: 3,
            addresses: 10,
            warm: true,
            pool: BTreeMap::new(),
            latency: LatencyMode::None,
            hop_limit: 1,
            sysctls: BTreeMap::new(),
        }
    }
}

impl Setup {
    /// On this cloud.
    #[must_use]
    pub fn on(mut self, cloud: CloudKind) -> Self {
        self.cloud = cloud;
        self
    }

    /// With this hop limit of the metadata service.
    #[must_use]
    pub fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops;
        self
    }

    /// With both families.
    #[must_use]
    pub fn dual(mut self) -> Self {
        self.families = "DualStack";
        self
    }

    /// With a kubelet.
    #[must_use]
    pub fn devices(mut self) -> Self {
        self.devices = true;
        self
    }

    /// With a container runtime that answers the daemon.
    #[must_use]
    pub fn runtime(mut self) -> Self {
        self.runtime = true;
        self
    }

    /// With daemons that do not run yet.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.warm = false;
        self
    }

    /// With a key of the daemon's section `pool`.
    #[must_use]
    pub fn pool(mut self, key: &'static str, value: u32) -> Self {
        self.pool.insert(key, value);
        self
    }

    /// With a sysctl that the instances start with.
    #[must_use]
    pub fn sysctl(mut self, key: &'static str, value: &'static str) -> Self {
        self.sysctls.insert(key, value);
        self
    }

    /// With this size of the instance type.
    #[must_use]
    pub fn sized(mut self, enis: u32, addresses: u32) -> Self {
        self.enis = enis;
        self.addresses = addresses;
        self
    }
}

/// The policy that people give to the daemon's role. Every test lives under it, so that it is never too narrow.
fn policy(cloud: CloudKind) -> Result<Policy> {
    let file = match cloud {
        CloudKind::Aliyun => "ram.json",
        CloudKind::Aws => "iam.json",
    };
    let dir = Path::new("../../manifests/policies");
    serde_json::from_slice(&fs::read(dir.join(file))?).context(file)
}

/// The world. Dropped without [`Bed::finish`], it is taken down without checks.
#[derive(Debug)]
pub struct Bed {
    // Order matters: daemons end before their lab, and the turn passes on when all is gone.
    /// Nodes in the order of [`Setup::nodes`].
    pub nodes: Vec<Node>,
    /// Lab.
    pub lab: Lab,
    first: Vec<String>,
    _turn: Turn,
}

impl Bed {
    /// Raises it.
    pub fn raise(setup: &Setup) -> Result<Self> {
        let turn = Turn::take();
        let mut config = LabConfig {
            latency: setup.latency,
            role_policy: Some(policy(setup.cloud)?),
            ..LabConfig::of(setup.cloud)
        };
        for instance in &mut config.instances {
            instance.metadata.hop_limit = setup.hop_limit;
            let sysctls =
                setup.sysctls.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            instance.sysctls.extend(sysctls);
            config.type_overrides.insert(
                instance.instance_type.clone(),
                TypeOverride {
                    eni_quantity: Some(setup.enis),
                    ipv4_per_eni: Some(setup.addresses),
                    ipv6_per_eni: Some(setup.addresses),
                },
            );
        }
        let lab = Lab::start(config)?;
        let mut bed = Self { nodes: Vec::new(), lab, first: Vec::new(), _turn: turn };
        for name in &setup.nodes {
            bed.first.push(bed.lab.snapshot(name)?);
            let mut node = Node::new(name, bed.lab.namespace(name)?, setup.devices, setup.runtime)?;
            let inside = bed.lab.api()?.description().endpoints.inside.clone();
            let inside = inside.context("the lab has no inside")?;
            if let Some(config) = node.config.as_object_mut() {
                config.insert("families".into(), json!(setup.families));
                let (region, metadata) = (&bed.lab.api()?.description().region, inside.metadata);
                let cloud = match setup.cloud {
                    CloudKind::Aliyun => json!({
                        "region": region, "metadataEndpoint": metadata,
                        "ecsEndpoint": inside.api, "vpcEndpoint": inside.api,
                    }),
                    CloudKind::Aws => json!({
                        "provider": "aws", "region": region, "metadataEndpoint": metadata,
                        "ec2Endpoint": inside.api,
                    }),
                };
                config.insert("cloud".into(), cloud);
            }
            for (key, value) in &setup.pool {
                node.set_pool(key, *value);
            }
            bed.nodes.push(node);
        }
        if setup.warm {
            for at in 0..bed.nodes.len() {
                let started = bed.node_mut(at).and_then(Node::start);
                started.and_then(|()| bed.node(at)?.warm()).with_context(|| bed.logs())?;
            }
        }
        Ok(bed)
    }

    /// The node with this number.
    pub fn node(&self, at: usize) -> Result<&Node> {
        self.nodes.get(at).with_context(|| format!("no node {at}"))
    }

    /// The node with this number, to change.
    pub fn node_mut(&mut self, at: usize) -> Result<&mut Node> {
        self.nodes.get_mut(at).with_context(|| format!("no node {at}"))
    }

    /// An address of `cp`, for pods to reach.
    pub fn target(&self) -> Result<IpAddr> {
        self.lab.addresses("cp")?.first().copied().context("`cp` has no address")
    }

    /// The first snapshot of a node's namespace, before its daemon ever ran.
    pub fn first(&self, at: usize) -> Result<&str> {
        self.first.get(at).map(String::as_str).with_context(|| format!("no node {at}"))
    }

    /// The ends of all daemons' logs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let skipped = lines.len().saturating_sub(80);
            text.extend(["--- log of ", &node.name, "\n"]);
            if skipped > 0 {
                text.push_str("(its end)\n");
            }
            for line in lines.iter().skip(skipped) {
                text.extend([line, "\n"]);
            }
        }
        text
    }

    /// Ends the test: pods are gone, books and kernel agree, everything is given back, and the network of each instance is
    /// as it was before its daemon ever ran.
    pub fn finish(mut self) -> Result<()> {
        leaks::check(&mut self).with_context(|| self.logs())?;
        let Self { nodes, lab, .. } = self;
        drop(nodes);
        lab.down()
    }
}
