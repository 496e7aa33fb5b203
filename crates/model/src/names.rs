//! Fixed names, paths and numbers, in one place. Charts and docs repeat them; change them here only.

/// The daemon's gRPC socket, for root only.
pub const SOCKET: &str = "/run/tideway/tideway.sock";
/// Journal of the allocator.
pub const JOURNAL: &str = "/var/lib/tideway/journal.redb";
/// Release tickets: one file for each DEL that came while the daemon was away.
pub const TICKETS: &str = "/var/lib/tideway/tickets";
/// Configuration of the daemon.
pub const CONFIG: &str = "/etc/tideway/tidewayd.yaml";
/// Directory of CNI configurations.
pub const CNI_CONF_DIR: &str = "/etc/cni/net.d";
/// Our configuration in it.
pub const CONFLIST: &str = "10-tideway.conflist";
/// Name of the CNI network, and CNI type of our plugin.
pub const CNI_NAME: &str = "tideway";
/// File name of the plugin.
pub const CNI_TYPE: &str = "tideway-cni";

/// Bits of fwmark and ct mark that are ours. kube-proxy owns 0x4000 and 0x8000.
pub const MARK_MASK: u32 = 0x00ff_0000;
/// First bit of the mask.
pub const MARK_SHIFT: u32 = 16;
/// ct mark of a flow that entered by the primary ENI: its packets never take the source → ENI map.
pub const CT_NODE: u32 = 0x00ff_0000;
/// ct mark of a flow that entered by the host peer of an exclusive pod.
pub const CT_PEER: u32 = 0x00fe_0000;
/// ct mark of a flow of a shared pod that leaves the VPC by the primary ENI (`externalSnat: false`).
pub const CT_EGRESS: u32 = 0x00fd_0000;
/// kube-proxy's mark for packets to masquerade (`masqueradeBit` 14).
pub const KUBE_MASQUERADE: u32 = 0x4000;
/// Routing protocol number of our routes and rules (`rtm_protocol`), so that we find ours again and leave others alone.
pub const PROTOCOL: u8 = 84;
/// Routing table that holds only /32 and /128 routes of local shared pods.
pub const TABLE_PODS: u32 = 510;
/// Routing tables of the shared ENIs: this plus the table slot (1..=250) of the ENI.
pub const TABLE_ENI: u32 = 1000;
/// Priority of the rule to [`TABLE_PODS`].
pub const RULE_PODS: u32 = 512;
/// Priority of the rules mark → ENI table.
pub const RULE_ENI: u32 = 1024;
/// Our nftables table (family inet).
pub const NFT_TABLE: &str = "tideway";
/// Prefix of host ends of shared pods' veth pairs.
pub const VETH_PREFIX: &str = "tw";
/// Prefix of host ends of the peers of exclusive pods.
pub const PEER_PREFIX: &str = "twx";
/// Prefix of the ifb devices that shape one direction.
pub const IFB_PREFIX: &str = "twi";
/// Prefix of the ENIs on the host that wait for an exclusive pod, before the 12 digits of the MAC.
pub const PARKED_PREFIX: &str = "twe";
/// Interface beside the ENI in an exclusive pod.
pub const PEER_IN_POD: &str = "twhost";

/// Gateway that shared pods see, IPv4.
pub const GATEWAY_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 1, 1);
/// Gateway that shared pods see, IPv6.
pub const GATEWAY_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Namespace of our objects in Kubernetes.
pub const NAMESPACE: &str = "kube-system";
/// Lease (in [`NAMESPACE`]) of the one daemon that sweeps ENIs of instances that are gone.
pub const SWEEP_LEASE: &str = "tideway-sweep";
/// ENI tag: the cluster that owns it.
pub const TAG_CLUSTER: &str = "tideway.dev/cluster";
/// ENI tag: the instance that owns it.
pub const TAG_NODE: &str = "tideway.dev/node";
/// ENI tag: the intent under which it was created.
pub const TAG_INTENT: &str = "tideway.dev/intent";
/// ENI tag: when its creation was planned, in milliseconds of Unix time. Not every cloud tells how old an ENI is.
pub const TAG_CREATED: &str = "tideway.dev/created";

/// Extended resource of a whole ENI.
pub const RESOURCE_ENI: &str = "aliyun/eni";
/// Extended resource of a member ENI (later).
pub const RESOURCE_MEMBER_ENI: &str = "aliyun/member-eni";
/// Pod annotation: `"true"` keeps the pod's address for the next pod of its name, as Terway reads it.
pub const ANNOTATION_RESERVE: &str = "k8s.aliyun.com/pod-ip-reservation";
/// Key of pod annotations in `runtimeConfig`.
pub const CAP_ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
