//! Cloud and network together, in namespaces of this machine. Needs root.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code; skips go to stderr")]

mod support;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::{Key, call, plain};
use tideway_lab::fabric::{self, Fabric, KernelFabric, netns};
use tideway_lab::{CloudKind, Lab, LabConfig, LabHost, LatencyMode};

fn skips(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    let line = format!("SKIPPED: {test}: needs root for network namespaces");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("TIDEWAY_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
    true
}

/// A lab whose namespaces go away with it.
struct Whole {
    id: String,
    lab: Option<Lab>,
    fabric: Arc<dyn Fabric>,
}

impl Whole {
    fn start(id: &str) -> Self {
        Self::start_with(id, LabConfig::default())
    }

    fn start_with(id: &str, config: LabConfig) -> Self {
        let config = LabConfig { id: id.to_owned(), latency: LatencyMode::None, ..config };
        let kernel = KernelFabric::start(id, |_| {}).unwrap();
        let namespace = kernel.vpc_namespace().to_owned();
        let fabric: Arc<dyn Fabric> = Arc::new(kernel);
        let host = LabHost {
            fabric: Arc::clone(&fabric),
            namespace: Some(namespace),
            ..LabHost::default()
        };
        let lab = Some(Lab::start_on(config, host).unwrap());
        Self { id: id.to_owned(), lab, fabric }
    }

    fn lab(&self) -> &Lab {
        self.lab.as_ref().unwrap()
    }

    /// Works inside an instance.
    fn inside<R: Send>(&self, instance: &str, work: impl FnOnce() -> R + Send) -> R {
        netns::run_in(&format!("{}-{instance}", self.id), work).unwrap()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.lab.take();
        for name in ["cp", "n1", "n2"] {
            drop(self.fabric.delete_instance(name));
        }
        drop(fabric::cleanup(&self.id));
    }
}

#[test]
fn source_address_tells_metadata_service_and_ledger_who_calls() {
    if skips("source_address_tells_metadata_service_and_ledger_who_calls") {
        return;
    }
    let whole = Whole::start("wh1");
    let about = whole.lab().description().clone();
    let inside = about.endpoints.inside.clone().unwrap();
    for instance in about.instances.iter().skip(1) {
        let meta = format!("{}:80", inside.metadata);
        let api = format!("{}:80", inside.ecs);
        let answer = whole.inside(&instance.name, || {
            plain(&meta, "GET", "/latest/meta-data/instance-id", "").unwrap()
        });
        assert_eq!(answer.body, instance.id);
        let answer =
            whole.inside(&instance.name, || call(&api, &Key::test(), "DescribeVpcs", &[]).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let callers: Vec<String> = whole.lab().calls().into_iter().map(|c| c.caller).collect();
    assert_eq!(callers, ["n1", "n2"]);
}

#[test]
fn attach_brings_the_link_and_detach_leaves_nothing() {
    if skips("attach_brings_the_link_and_detach_leaves_nothing") {
        return;
    }
    let whole = Whole::start("wh2");
    let lab = whole.lab();
    let about = lab.description();
    let before = whole.fabric.snapshot("n1").unwrap();
    let made = call(
        lab.endpoint(),
        &Key::test(),
        "CreateNetworkInterface",
        &[("VSwitchId", &about.vswitches[1].id), ("SecurityGroupId", &about.security_groups[0].id)],
    )
    .unwrap()
    .json();
    let eni = made["NetworkInterfaceId"].as_str().unwrap();
    let params = [("NetworkInterfaceId", eni), ("InstanceId", about.instances[1].id.as_str())];
    call(lab.endpoint(), &Key::test(), "AttachNetworkInterface", &params).unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "attach did not end");
    let during = whole.fabric.snapshot("n1").unwrap();
    assert!(during.contains(made["MacAddress"].as_str().unwrap()), "{during}");
    call(lab.endpoint(), &Key::test(), "DetachNetworkInterface", &params).unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "detach did not end");
    assert_eq!(whole.fabric.snapshot("n1").unwrap(), before);
    assert_eq!(lab.verify(), []);
}

#[test]
fn a_reboot_wipes_the_instance_and_keeps_its_enis_attached() {
    if skips("a_reboot_wipes_the_instance_and_keeps_its_enis_attached") {
        return;
    }
    let whole = Whole::start("wh4");
    let lab = whole.lab();
    let about = lab.description();
    let fresh = whole.fabric.snapshot("n1").unwrap();
    let subnet = about.instances[1].vswitch_id.as_str();
    let params = [("VSwitchId", subnet), ("SecurityGroupId", &about.security_groups[0].id)];
    let made = call(lab.endpoint(), &Key::test(), "CreateNetworkInterface", &params).unwrap();
    let made = made.json();
    let params = [
        ("NetworkInterfaceId", made["NetworkInterfaceId"].as_str().unwrap()),
        ("InstanceId", about.instances[1].id.as_str()),
    ];
    call(lab.endpoint(), &Key::test(), "AttachNetworkInterface", &params).unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "attach did not end");
    let attached = whole.fabric.snapshot("n1").unwrap();
    // What a node agent leaves in the kernel, and an ENI that is away in a pod.
    let script = "ip rule add priority 512 lookup 510; ip route add 10.0.9.9 dev lo table 510; sysctl -qw net.ipv4.ip_forward=1; \
                  nft add table inet left; ip netns add wh4pod; ip link set eth1 netns wh4pod";
    let output = whole.inside("n1", || Command::new("sh").args(["-ec", script]).output()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lab.with_cloud(|cloud| cloud.vpc.reboot("n1")).unwrap();
    let settled = lab.settle(Duration::from_mins(1));
    netns::delete("wh4pod").unwrap();
    assert!(settled, "the reboot did not end");
    assert_eq!(whole.fabric.snapshot("n1").unwrap(), attached);
    let meta = format!("{}:80", about.endpoints.inside.as_ref().unwrap().metadata);
    let answer =
        whole.inside("n1", || plain(&meta, "GET", "/latest/meta-data/instance-id", "").unwrap());
    assert_eq!(answer.body, about.instances[1].id);
    call(lab.endpoint(), &Key::test(), "DetachNetworkInterface", &params).unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "detach did not end");
    assert_eq!(whole.fabric.snapshot("n1").unwrap(), fresh);
    assert_eq!(lab.verify(), []);
    lab.with_cloud(|cloud| cloud.vpc.reboot("nowhere")).unwrap_err();
}

#[test]
fn terminated_instance_leaves_no_namespace_and_its_eni_can_go_elsewhere() {
    if skips("terminated_instance_leaves_no_namespace_and_its_eni_can_go_elsewhere") {
        return;
    }
    let whole = Whole::start("wh6");
    let lab = whole.lab();
    let about = lab.description();
    let params = [
        ("VSwitchId", about.instances[1].vswitch_id.as_str()),
        ("SecurityGroupId", &about.security_groups[0].id),
        ("DeleteOnRelease", "false"),
    ];
    let made = call(lab.endpoint(), &Key::test(), "CreateNetworkInterface", &params).unwrap();
    let made = made.json();
    let eni = made["NetworkInterfaceId"].as_str().unwrap();
    let attach = |instance: &str| {
        let params = [("NetworkInterfaceId", eni), ("InstanceId", instance)];
        let answer = call(lab.endpoint(), &Key::test(), "AttachNetworkInterface", &params).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(lab.settle(Duration::from_mins(1)), "attach did not end");
    };
    attach(&about.instances[1].id);
    lab.terminate("n1").unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "the instance did not end");
    assert!(!netns::exists("wh6-n1"));
    attach(&about.instances[2].id);
    let there = whole.fabric.snapshot("n2").unwrap();
    assert!(there.contains(made["MacAddress"].as_str().unwrap()), "{there}");
    assert_eq!(lab.verify(), []);
}

#[test]
fn token_of_the_ec2_metadata_service_goes_no_further_than_its_hop_limit() {
    if skips("token_of_the_ec2_metadata_service_goes_no_further_than_its_hop_limit") {
        return;
    }
    let mut config = LabConfig::of(CloudKind::Aws);
    config.instances[2].metadata.hop_limit = 2;
    let whole = Whole::start_with("wh5", config);
    let meta = whole.lab().description().endpoints.inside.clone().unwrap().metadata;
    assert_eq!(meta, "http://169.254.169.254");
    let meta = format!("{meta}:80");
    for (instance, hops) in [("n1", 1), ("n2", 2)] {
        let count = format!(
            "nft add table inet hop; nft add counter inet hop seen; \
             nft add chain inet hop in '{{ type filter hook input priority 0; }}'; \
             nft add rule inet hop in ip ttl {hops} tcp sport 80 counter name seen"
        );
        let shell = |script: &str| {
            let output = Command::new("sh").args(["-ec", script]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        whole.inside(instance, || {
            shell(&count);
            let v1 = plain(&meta, "GET", "/latest/meta-data/instance-id", "").unwrap();
            assert_eq!(v1.status, 200);
            let seen = shell("nft list counter inet hop seen");
            assert!(seen.contains("packets 0 "), "other answers may go further: {seen}");
            let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
            let token = plain(&meta, "PUT", "/latest/api/token", ttl).unwrap();
            assert_eq!(token.status, 200);
            let seen = shell("nft list counter inet hop seen");
            assert!(!seen.contains("packets 0 "), "the token has {hops} hops: {seen}");
        });
    }
}

#[test]
fn killed_lab_leaves_namespaces_that_down_removes() {
    if skips("killed_lab_leaves_namespaces_that_down_removes") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tideway-lab"))
            .args(arguments)
            .env("TIDEWAY_LAB_DIR", dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    run(&["up", "--id", "wh3", "--latency", "none"]);
    let pid = std::fs::read_to_string(dir.path().join("wh3/pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(netns::exists("wh3-n1"));
    run(&["down", "--id", "wh3"]);
    let left: Vec<String> =
        netns::list().unwrap().into_iter().filter(|n| n.starts_with("wh3-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
