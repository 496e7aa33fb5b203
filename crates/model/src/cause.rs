//! Every cause for which a pod can wait or fail, in one table: `docs/errors.md` is made of it.
//!
//! A text for people says what is known of the one case; the cause is its name. Tools count and alert by the name, and people
//! look it up: it stands in brackets at the end of the CNI error's details and of what `tideway pod` shows, and it is the
//! label of the metrics, a field of the log, and, in the way of Kubernetes, the reason of the pod's event.

use std::fmt;

use crate::cni_code::{
    CHECK_FAILED, DAEMON, DECODE, INCOMPATIBLE_VERSION, INTERNAL, INVALID_CONFIG,
    INVALID_ENVIRONMENT, IO, NO_DEVICE, NOT_AVAILABLE, PORTMAP, TRY_AGAIN, UNKNOWN_CONTAINER,
};

macro_rules! causes {
    ($($(#[doc = $what:literal])+ $name:ident = $word:literal, $code:ident, $daemon:literal, $person:literal;)+) => {
        /// Why a pod waits or fails.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $($(#[doc = $what])+ $name),+
        }

        impl Cause {
            /// All of them, as the catalogue lists them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// Its name as the reason of a Kubernetes event.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Code of the CNI error, see [`crate::cni_code`].
            pub fn code(self) -> u32 {
                match self { $(Self::$name => $code),+ }
            }

            /// What it means.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => concat!($($what),+).trim_ascii_start()),+ }
            }

            /// What Tideway does about it.
            pub fn daemon(self) -> &'static str {
                match self { $(Self::$name => $daemon),+ }
            }

            /// What a person can do about it.
            pub fn person(self) -> &'static str {
                match self { $(Self::$name => $person),+ }
            }
        }
    };
}

causes! {
    /// The subnet has no free address.
    SubnetFull = "subnet_full", TRY_AGAIN,
        "asks the other subnets of `eni.subnets`, and this one again later",
        "the subnet has no free address; add a subnet to eni.subnets or free addresses";
    /// The subnet has no whole prefix.
    Fragmented = "fragmented", TRY_AGAIN,
        "takes single addresses of the subnet for some minutes, then asks for prefixes again",
        "no block of 16 addresses that starts at a multiple of 16 is free in the subnet; reserve blocks for prefixes or add a subnet to eni.subnets";
    /// A quota of the account, or a limit of instance or ENI, is reached; the text names it.
    Quota = "quota", TRY_AGAIN,
        "asks again later",
        "the limit that the text names is reached; raise the quota or use a larger instance type";
    /// The node's role lacks a permission; the text names it.
    Denied = "denied", TRY_AGAIN,
        "asks again later",
        "grant the node's role the permission that the text names (manifests/policies lists all)";
    /// The cloud refuses the credentials.
    Credentials = "credentials", TRY_AGAIN,
        "reads them again and repeats the call",
        "the credentials are refused; check the instance's RAM role or the credentials file, and the clock";
    /// The account's rate limit is reached.
    Throttled = "throttled", TRY_AGAIN,
        "asks more slowly, waiting pods first",
        "the account's rate limit is reached; the call is repeated more slowly, no action is needed unless it lasts";
    /// The cloud does not know what the call names.
    NotFound = "not_found", TRY_AGAIN,
        "looks at the cloud and sets its books right",
        "the named resource does not exist; if it was deleted by hand, the node finds out by itself";
    /// The thing is in a state that forbids the call.
    Conflict = "conflict", TRY_AGAIN,
        "repeats the call",
        "another change is in work; the call is repeated";
    /// The cloud answered that it failed.
    Unavailable = "unavailable", TRY_AGAIN,
        "repeats the call; pods that are served from the pool do not wait",
        "the cloud API failed; the call is repeated";
    /// No answer came, or a torn one.
    Unknown = "unknown", TRY_AGAIN,
        "reads the outcome back before it repeats the call",
        "no answer came; the outcome is read back before the call is repeated";
    /// The cloud refuses the request as wrong.
    Invalid = "invalid", TRY_AGAIN,
        "asks again later",
        "the request was refused as wrong; check region, subnets and security groups in the configuration";
    /// The cloud answered with success and gave nothing new: an assignment without an address, a creation with a known ENI.
    NothingNew = "nothing_new", TRY_AGAIN,
        "looks at the cloud and asks again",
        "nothing, unless it lasts: then ask the cloud's support with the request id in the log";
    /// The cloud has not told yet which ENIs the node has.
    CloudUnseen = "cloud_unseen", TRY_AGAIN,
        "asks until it answers, and creates nothing before",
        "check the route to the cloud API if it lasts";
    /// An ENI or addresses for the pod are on their way.
    OnTheWay = "on_the_way", TRY_AGAIN,
        "waits for the cloud (an attach takes 2 to 4 s), then prepares the ENI on the host",
        "nothing; raise pool.low and pool.high if pods wait often";
    /// An ENI is attached but cannot be used on this host.
    HostNotReady = "host_not_ready", TRY_AGAIN,
        "tries again and looks at the cloud",
        "the text names what failed; look for what else configures interfaces on the node";
    /// An ENI was detached or deleted behind our back.
    EniLost = "eni_lost", TRY_AGAIN,
        "replaces it; pods that were on it have lost their network",
        "delete the pods that were on it, and find out who changed it (the cloud's audit log)";
    /// The pod was promised an address of an ENI that is not on the host at this moment.
    EniNotHere = "eni_not_here", TRY_AGAIN,
        "takes the promise back and looks at the cloud; the next try gets another address",
        "nothing, unless it lasts: see `tideway status`";
    /// Every adapter slot of the instance is taken.
    NoSlot = "no_slot", TRY_AGAIN,
        "waits until an ENI is given back",
        "delete pods that hold aliyun/eni, or use a larger instance type";
    /// Every address that the instance type allows is in use or rests.
    NoAddress = "no_address", TRY_AGAIN,
        "waits for a pod to end; an address rests for pool.cooldownSeconds",
        "run fewer pods on the node, or use a larger instance type; set the kubelet's maxPods (`tideway maxpods`)";
    /// Every address is in use, rests, or is kept by a strict lease.
    StrictLeases = "strict_leases", TRY_AGAIN,
        "waits for a pod or a lease to end",
        "run fewer pods on the node, use a larger instance type, or make leases fewer (leases.max, leases.strictKinds)";
    /// The pod's own leased address cannot be handed out yet.
    LeaseNotReady = "lease_not_ready", TRY_AGAIN,
        "waits until the traces of the former container are gone and the ENI serves",
        "look for what holds the former container's network namespace if it lasts";
    /// The pod's ENI is still with its former container.
    FormerContainer = "former_container", TRY_AGAIN,
        "waits for the runtime's DEL, or for two looks that show the container gone",
        "look at the container runtime if it lasts";
    /// The kubelet does not tell which pod holds which device.
    KubeletSilent = "kubelet_silent", TRY_AGAIN,
        "asks again; never gives a shared address by mistake",
        "check the kubelet and its pod-resources socket if it lasts";
    /// The kubelet has given the pod's device to another pod meanwhile.
    DeviceMoved = "device_moved", TRY_AGAIN,
        "waits; this pod is about to be deleted",
        "nothing";
    /// The kubelet names a device that this node does not have.
    DeviceUnknown = "device_unknown", TRY_AGAIN,
        "waits for the kubelet to say otherwise",
        "restart tidewayd and delete the pod";
    /// The pod asks for an ENI and holds no device.
    NoDevice = "no_device", NO_DEVICE,
        "refuses: a shared address would be a mistake. Only the watch of the node's pods tells that a pod asks: without an API server such a pod gets a shared address, and keeps it",
        "the device plugin was not registered when the kubelet admitted the pod; delete the pod so that it is admitted again";
    /// The pod holds more than one device.
    TooManyDevices = "too_many_devices", INVALID_CONFIG,
        "refuses",
        "a pod can have one ENI of its own; ask for aliyun/eni: 1 in one container of the pod";
    /// The sandbox was deleted while its ADD waited.
    SandboxDeleted = "sandbox_deleted", TRY_AGAIN,
        "ends the wait",
        "nothing; the runtime creates a new sandbox by itself";
    /// What was promised to the pod ended while its network was being made.
    Overtaken = "overtaken", TRY_AGAIN,
        "plumbs nothing",
        "nothing; the runtime tries again if the pod still exists";
    /// The pod's network could not be made in the kernel.
    PlumbingFailed = "plumbing_failed", INTERNAL,
        "takes back what it had made; the runtime's next try begins anew",
        "the text names the object and the kernel's error; `tideway check` compares the host with what pods need";
    /// The pod's network could not be read from the kernel.
    KernelUnreadable = "kernel_unreadable", INTERNAL,
        "answers the error",
        "the text names the kernel's error";
    /// A defect of the daemon.
    DaemonDefect = "daemon_defect", INTERNAL,
        "goes on; the journal keeps what was promised",
        "report it with the daemon's log; a restart of tidewayd touches no pod";
    /// The node's journal cannot be written or read, so nothing can be promised.
    JournalFailed = "journal_failed", TRY_AGAIN,
        "keeps running pods, serves DEL, and tries the journal again every few seconds",
        "the text says what is wrong with the file or the disk: make room, or make it writable";
    /// The daemon is stopping.
    Stopping = "stopping", TRY_AGAIN,
        "ends what waits; what was promised stands in the journal",
        "nothing; the runtime tries again by itself";
    /// The daemon is being uninstalled.
    Uninstalling = "uninstalling", TRY_AGAIN,
        "gives no more addresses",
        "drain the node, or start tidewayd again";
    /// The daemon does not answer the plugin.
    DaemonAway = "daemon_away", TRY_AGAIN,
        "DEL leaves a ticket and succeeds, ADD is repeated by the runtime",
        "see whether tidewayd runs on this node and look at its log; restarting it is safe for running pods";
    /// Daemon and plugin do not understand each other.
    VersionsDiffer = "versions_differ", DAEMON,
        "refuses",
        "install tidewayd and tideway-cni of one version, and look at tidewayd's log";
    /// STATUS: no ADD can be served.
    NotServing = "not_serving", NOT_AVAILABLE,
        "the runtime shows the node as not ready",
        "the text says why; look at tidewayd's log";
    /// CHECK found the pod's network changed.
    CheckFailed = "check_failed", CHECK_FAILED,
        "reports what differs",
        "a restart of tidewayd repairs it; find out who changed it";
    /// CHECK for a container that has nothing here.
    UnknownContainer = "unknown_container", UNKNOWN_CONTAINER,
        "reports it",
        "nothing, unless the pod runs: then make it again";
    /// The standard portmap plugin is missing or failed.
    Portmap = "portmap", PORTMAP,
        "undoes the pod's network; the runtime tries again",
        "install the standard CNI plugins beside tideway-cni; portmap needs iptables on the node";
    /// An annotation of the pod has a value that cannot be used.
    PodAnnotation = "pod_annotation", INVALID_CONFIG,
        "refuses",
        "correct the annotation that the text names, and make the pod again";
    /// The CNI configuration of the node cannot be used.
    NetworkConfig = "network_config", INVALID_CONFIG,
        "refuses",
        "correct /etc/cni/net.d/10-tideway.conflist, or let tidewayd write it";
    /// The runtime passed no JSON object as configuration.
    ConfigUndecodable = "config_undecodable", DECODE,
        "refuses",
        "look at the container runtime: it must pass one JSON object on stdin";
    /// The runtime's request lacks what the specification asks for.
    RuntimeRequest = "runtime_request", INVALID_CONFIG,
        "refuses; nothing is freed by a list that is missing",
        "look at the version of the container runtime";
    /// A variable or argument of the runtime is missing or wrong.
    RuntimeArguments = "runtime_arguments", INVALID_ENVIRONMENT,
        "refuses",
        "look at the version and configuration of the container runtime";
    /// The configuration asks for a version of the CNI specification that we do not speak.
    CniVersion = "cni_version", INCOMPATIBLE_VERSION,
        "refuses",
        "set cniVersion in the configuration to one that the text names";
    /// The plugin could not read or write on this node.
    NodeIo = "node_io", IO,
        "refuses; the runtime repeats a DEL whose ticket could not be written",
        "make room and the directory writable, or raise the limits of open files and memory of the container runtime";
}

/// A cause with what is known of the one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Its name.
    pub cause: Cause,
    /// For people: what happened here, and what to do.
    pub text: String,
}

impl Why {
    /// A cause in these words.
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// The same, with what it prevents before its own text.
    #[must_use]
    pub fn after(self, what: impl fmt::Display) -> Self {
        Self { text: format!("{what}: {}", self.text), ..self }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text, self.cause.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_causes_share_a_name_and_every_one_says_what_to_do() {
        let words: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.word()).collect();
        assert_eq!(words.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(cause.word().chars().all(plain), "{cause:?}");
            for text in [cause.what(), cause.daemon(), cause.person()] {
                assert!(!text.is_empty() && !text.contains('|'), "{cause:?}: {text:?}");
            }
        }
    }

    #[test]
    fn the_reason_of_an_event_is_the_name_in_other_letters() {
        for cause in Cause::ALL {
            let name = cause.word().replace('_', "");
            assert!(cause.reason().eq_ignore_ascii_case(&name), "{cause:?}");
        }
    }

    #[test]
    fn the_name_stands_at_the_end_of_the_text() {
        let why = Why::new(Cause::SubnetFull, "vsw-1 is full");
        assert_eq!(why.to_string(), "vsw-1 is full [subnet_full]");
    }

    #[test]
    fn every_code_of_the_protocol_has_a_cause() {
        let used: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        let known: BTreeSet<_> = crate::cni_code::ALL.iter().map(|(_name, code)| *code).collect();
        assert_eq!(used, known);
    }
}
