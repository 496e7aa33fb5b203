use super::World;
use crate::cloud::faults::{FaultKind, FaultSpec};
use crate::cloud::latency::LatencyMode;

impl World {
    fn fault(&mut self, spec: FaultSpec) -> u32 {
        self.cloud.add_fault(spec, self.now).unwrap()
    }
}

#[test]
fn stale_reads_hide_a_new_eni_and_show_a_deleted_one() {
    let mut world = World::new();
    let old = world.create(&[]).unwrap();
    world.now += 10_000;
    let mut spec = FaultSpec::new(FaultKind::StaleReads);
    spec.ms = Some(5000);
    world.fault(spec);
    let new = world.create(&[]).unwrap();
    world.ok("DeleteNetworkInterface", &[("NetworkInterfaceId", &old)]);
    assert_eq!(world.state(&new), "gone");
    assert_eq!(world.state(&old), "Available");
    world.now += 5000;
    assert_eq!(world.state(&new), "Available");
    assert_eq!(world.state(&old), "gone");
}

#[test]
fn a_role_may_do_what_its_policy_allows_and_nothing_else() {
    let mut world = World::new();
    let eni = world.create(&[]).unwrap();
    let policy = r#"{"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": "ecs:DescribeNetworkInterfaces", "Resource": "*"}]}"#;
    world.cloud.vpc.config.role_policy = Some(serde_json::from_str(policy).unwrap());
    assert_eq!(world.state(&eni), "Available");
    let params = [("NetworkInterfaceId", eni.as_str())];
    assert_eq!(world.refused("DeleteNetworkInterface", &params), "Forbidden.RAM");
    assert_eq!(world.state(&eni), "Available", "it was refused and done");
}

#[test]
fn stuck_attach_ends_when_the_fault_does() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let mut spec = FaultSpec::new(FaultKind::StuckAttach);
    spec.instance = Some("n1".to_owned());
    let fault = world.fault(spec);
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    world.ok("AttachNetworkInterface", &[("NetworkInterfaceId", &eni), ("InstanceId", &instance)]);
    world.pass(600_000);
    assert_eq!(world.state(&eni), "Attaching");
    world.cloud.vpc.faults.clear(Some(fault));
    world.pass(1);
    assert_eq!(world.state(&eni), "InUse");
}

#[test]
fn failed_attach_falls_back_to_available() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    world.fault(FaultSpec::new(FaultKind::FailedAttach).times(1));
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", instance.as_str())];
    world.ok("AttachNetworkInterface", &params);
    world.pass(5000);
    assert_eq!(world.state(&eni), "Available");
    world.ok("AttachNetworkInterface", &params);
    world.pass(5000);
    assert_eq!(world.state(&eni), "InUse");
}

#[test]
fn forced_detach_leaves_no_call_in_the_ledger() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let before = world.cloud.vpc.ledger.total();
    let mut spec = FaultSpec::new(FaultKind::ForcedDetach);
    spec.eni = Some(eni.clone());
    world.fault(spec);
    world.pass(0);
    assert_eq!(world.cloud.vpc.ledger.total(), before);
    assert_eq!(world.state(&eni), "Available");
    let primary = world.cloud.vpc.instance_named("n1").unwrap().primary_eni.clone();
    let mut spec = FaultSpec::new(FaultKind::ForcedDetach);
    spec.eni = Some(primary);
    assert!(world.cloud.add_fault(spec, world.now).is_err(), "never the primary one");
}

#[test]
fn lost_answer_has_its_effect_and_is_booked() {
    let mut world = World::new();
    world.fault(FaultSpec::new(FaultKind::LostAnswer).on("CreateNetworkInterface").times(1));
    world.create(&[("ClientToken", "t1")]).unwrap();
    assert_eq!(world.cloud.vpc.enis().len(), 4);
    assert!(world.cloud.vpc.ledger.calls().any(|c| c.lost));
    world.create(&[("ClientToken", "t1")]).unwrap();
    assert_eq!(world.cloud.vpc.enis().len(), 4);
}

#[test]
fn full_subnet_refuses_in_one_vswitch_only() {
    let mut world = World::new();
    let mut spec = FaultSpec::new(FaultKind::FullSubnet);
    spec.vswitch = Some("a".to_owned());
    world.fault(spec);
    assert_eq!(world.create(&[]).unwrap_err(), "InvalidVSwitchId.IpNotEnough");
    assert_eq!(world.available("a"), 0);
    assert!(world.available("b") > 0);
    world.cloud.vpc.faults.clear(None);
    world.create(&[]).unwrap();
}

#[test]
fn a_role_that_may_see_no_instance_gets_an_empty_list_and_no_error() {
    let mut world = World::new();
    let listed = |world: &mut World| {
        let answer = world.ok("DescribeInstances", &[]);
        answer["Instances"]["Instance"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut world), 3);
    world.fault(FaultSpec::new(FaultKind::HiddenInstances).times(1));
    assert_eq!((listed(&mut world), listed(&mut world)), (0, 3));
}

#[test]
fn throttled_call_has_no_effect() {
    let mut world = World::new();
    world.fault(FaultSpec::new(FaultKind::Throttle).on("CreateNetworkInterface").times(2));
    assert_eq!(world.create(&[]).unwrap_err(), "Throttling.User");
    assert_eq!(world.create(&[]).unwrap_err(), "Throttling.User");
    assert_eq!(world.cloud.vpc.enis().len(), 3);
    world.create(&[]).unwrap();
    let booked = world.cloud.vpc.ledger.counts();
    let throttled = booked.iter().find(|c| c.outcome == "Throttling.User").unwrap();
    assert_eq!((throttled.calls, throttled.caller.as_str()), (2, "n1"));
}
