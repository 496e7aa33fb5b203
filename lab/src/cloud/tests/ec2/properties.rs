//! Random calls in random order: the promises hold after each one.

use proptest::prelude::*;

use super::super::World;
use crate::cloud::latency::LatencyMode;

#[derive(Debug, Clone)]
enum Step {
    Create { secondary: u8, prefix: bool },
    Attach { eni: u8, device: u8, instance: bool },
    Detach { eni: u8 },
    Delete { eni: u8 },
    Assign { eni: u8, count: u8 },
    Reassign { from: u8, to: u8, which: u8 },
    Prefix { eni: u8, ipv6: bool },
    Unassign { eni: u8, which: u8 },
    UnassignPrefix { eni: u8, which: u8 },
    Pass { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<u8>;
    prop_oneof![
        (0..4_u8, prop::bool::ANY)
            .prop_map(|(secondary, prefix)| Step::Create { secondary, prefix }),
        (any(), 0..4_u8, prop::bool::ANY).prop_map(|(eni, device, instance)| Step::Attach {
            eni,
            device,
            instance
        }),
        any().prop_map(|eni| Step::Detach { eni }),
        any().prop_map(|eni| Step::Delete { eni }),
        (any(), 1..6_u8).prop_map(|(eni, count)| Step::Assign { eni, count }),
        (any(), any(), any()).prop_map(|(from, to, which)| Step::Reassign { from, to, which }),
        (any(), prop::bool::ANY).prop_map(|(eni, ipv6)| Step::Prefix { eni, ipv6 }),
        (any(), any()).prop_map(|(eni, which)| Step::Unassign { eni, which }),
        (any(), any()).prop_map(|(eni, which)| Step::UnassignPrefix { eni, which }),
        (0..3000_u16).prop_map(|ms| Step::Pass { ms }),
    ]
}

impl World {
    /// One of an ENI's IPv4 addresses by number.
    fn held(&self, eni: &str, which: u8) -> String {
        let held = &self.cloud.vpc.eni(eni).unwrap().v4;
        held[usize::from(which) % held.len()].to_string()
    }

    /// Does one step; refusals are fine, broken promises are not.
    fn stride(&mut self, step: &Step) {
        match step {
            Step::Create { secondary, prefix } => {
                let count = secondary.to_string();
                let name =
                    if *prefix { "Ipv4PrefixCount" } else { "SecondaryPrivateIpAddressCount" };
                drop(self.made(&[(name, &count)]));
            }
            Step::Attach { eni, device, instance } => {
                let (eni, device) = (self.pick(*eni), device.to_string());
                let instance = self.instance(if *instance { "n1" } else { "n2" });
                let params = [
                    ("NetworkInterfaceId", eni.as_str()),
                    ("InstanceId", &instance),
                    ("DeviceIndex", &device),
                ];
                drop(self.ec2("AttachNetworkInterface", &params));
            }
            Step::Detach { eni } => {
                let eni = self.pick(*eni);
                let attachment = self.cloud.vpc.eni(&eni).unwrap().attachment.clone();
                let id = attachment.map(|a| a.id).unwrap_or_default();
                drop(self.ec2("DetachNetworkInterface", &[("AttachmentId", &id)]));
            }
            Step::Delete { eni } => {
                let eni = self.pick(*eni);
                drop(self.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]));
            }
            Step::Assign { eni, count } => {
                let (eni, count) = (self.pick(*eni), count.to_string());
                let params = [
                    ("NetworkInterfaceId", eni.as_str()),
                    ("SecondaryPrivateIpAddressCount", &count),
                ];
                drop(self.ec2("AssignPrivateIpAddresses", &params));
            }
            Step::Reassign { from, to, which } => {
                let (from, to) = (self.pick(*from), self.pick(*to));
                let address = self.held(&from, *which);
                let params = [
                    ("NetworkInterfaceId", to.as_str()),
                    ("PrivateIpAddress.1", &address),
                    ("AllowReassignment", "true"),
                ];
                drop(self.ec2("AssignPrivateIpAddresses", &params));
            }
            Step::Prefix { eni, ipv6 } => {
                let eni = self.pick(*eni);
                let (action, count) = if *ipv6 {
                    ("AssignIpv6Addresses", "Ipv6PrefixCount")
                } else {
                    ("AssignPrivateIpAddresses", "Ipv4PrefixCount")
                };
                drop(self.ec2(action, &[("NetworkInterfaceId", &eni), (count, "1")]));
            }
            Step::Unassign { eni, which } => {
                let eni = self.pick(*eni);
                let address = self.held(&eni, *which);
                let params =
                    [("NetworkInterfaceId", eni.as_str()), ("PrivateIpAddress.1", &address)];
                drop(self.ec2("UnassignPrivateIpAddresses", &params));
            }
            Step::UnassignPrefix { eni, which } => {
                let eni = self.pick(*eni);
                let held: Vec<String> = {
                    let found = self.cloud.vpc.eni(&eni).unwrap();
                    found.prefixes_v4().map(ToString::to_string).collect()
                };
                let Some(prefix) = held.get(usize::from(*which) % held.len().max(1)) else {
                    return;
                };
                let params = [("NetworkInterfaceId", eni.as_str()), ("Ipv4Prefix.1", prefix)];
                drop(self.ec2("UnassignPrivateIpAddresses", &params));
            }
            Step::Pass { ms } => self.pass(u64::from(*ms)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_calls_gives_an_address_twice_or_loses_one(
        steps in prop::collection::vec(step(), 1..120),
        real in any::<bool>(),
    ) {
        let mut world = World::aws_with(|config| {
            config.latency = if real { LatencyMode::Real } else { LatencyMode::None };
            // Small, so that it fills and is fragmented.
            config.vswitches[0].ipv4 = "10.0.0.0/26".parse().unwrap();
        });
        for step in &steps {
            world.stride(step);
            world.promises()?;
        }
        world.pass(10_000);
        world.promises()?;
    }
}
