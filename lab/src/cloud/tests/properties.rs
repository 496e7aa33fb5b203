//! Random calls in random order: the promises hold after each one.

use proptest::prelude::*;

use super::World;
use crate::cloud::faults::{FaultKind, FaultSpec};
use crate::cloud::latency::LatencyMode;

#[derive(Debug, Clone)]
enum Step {
    Create { secondary: u8, token: u8 },
    Attach { eni: u8, instance: bool },
    Detach { eni: u8 },
    Delete { eni: u8 },
    Assign { eni: u8, count: u8, token: u8 },
    AssignNamed { eni: u8, last: u8 },
    AssignSix { eni: u8, count: u8 },
    Unassign { eni: u8, which: u8 },
    Prefix { eni: u8 },
    Force { eni: u8 },
    Lose,
    Pass { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 0..4_u8).prop_map(|(secondary, token)| Step::Create { secondary, token }),
        (any::<u8>(), any::<bool>()).prop_map(|(eni, instance)| Step::Attach { eni, instance }),
        any::<u8>().prop_map(|eni| Step::Detach { eni }),
        any::<u8>().prop_map(|eni| Step::Delete { eni }),
        (any::<u8>(), 1..6_u8, 0..4_u8).prop_map(|(eni, count, token)| Step::Assign {
            eni,
            count,
            token
        }),
        (any::<u8>(), 0..16_u8).prop_map(|(eni, last)| Step::AssignNamed { eni, last }),
        (any::<u8>(), 1..6_u8).prop_map(|(eni, count)| Step::AssignSix { eni, count }),
        (any::<u8>(), any::<u8>()).prop_map(|(eni, which)| Step::Unassign { eni, which }),
        any::<u8>().prop_map(|eni| Step::Prefix { eni }),
        any::<u8>().prop_map(|eni| Step::Force { eni }),
        Just(Step::Lose),
        (0..3000_u16).prop_map(|ms| Step::Pass { ms }),
    ]
}

impl World {
    /// Some ENI by number, also primary ones; `None` when there is none.
    pub(super) fn pick(&self, number: u8) -> String {
        let enis: Vec<&String> = self.cloud.vpc.enis().keys().collect();
        let at = usize::from(number) % enis.len();
        enis[at].clone()
    }

    /// Does one step; refusals are fine, broken promises are not.
    fn walk(&mut self, step: &Step) {
        match step {
            Step::Create { secondary, token } => {
                let (count, token) = (secondary.to_string(), format!("c{token}"));
                let mut more = vec![("ClientToken", token.as_str())];
                if *secondary > 0 {
                    more.push(("SecondaryPrivateIpAddressCount", &count));
                }
                drop(self.create(&more));
            }
            Step::Attach { eni, instance } => {
                let eni = self.pick(*eni);
                let instance = self.instance(if *instance { "n1" } else { "n2" });
                let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance)];
                drop(self.call("AttachNetworkInterface", &params));
            }
            Step::Detach { eni } => {
                let eni = self.pick(*eni);
                let instance = self.cloud.vpc.eni(&eni).unwrap().instance.clone();
                let instance = instance.unwrap_or_else(|| self.instance("n1"));
                let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance)];
                drop(self.call("DetachNetworkInterface", &params));
            }
            Step::Delete { eni } => {
                let eni = self.pick(*eni);
                drop(self.call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]));
            }
            Step::Assign { eni, count, token } => {
                let (eni, count, token) = (self.pick(*eni), count.to_string(), format!("a{token}"));
                let params = [
                    ("NetworkInterfaceId", eni.as_str()),
                    ("SecondaryPrivateIpAddressCount", &count),
                    ("ClientToken", &token),
                ];
                drop(self.call("AssignPrivateIpAddresses", &params));
            }
            Step::AssignNamed { eni, last } => {
                let (eni, address) = (self.pick(*eni), format!("10.0.0.{last}"));
                let params =
                    [("NetworkInterfaceId", eni.as_str()), ("PrivateIpAddress.1", &address)];
                drop(self.call("AssignPrivateIpAddresses", &params));
            }
            Step::AssignSix { eni, count } => {
                let (eni, count) = (self.pick(*eni), count.to_string());
                let params = [("NetworkInterfaceId", eni.as_str()), ("Ipv6AddressCount", &count)];
                drop(self.call("AssignIpv6Addresses", &params));
            }
            Step::Unassign { eni, which } => {
                let eni = self.pick(*eni);
                let held = self.cloud.vpc.eni(&eni).unwrap().v4.clone();
                let address = held[usize::from(*which) % held.len()].to_string();
                let params =
                    [("NetworkInterfaceId", eni.as_str()), ("PrivateIpAddress.1", &address)];
                drop(self.call("UnassignPrivateIpAddresses", &params));
            }
            Step::Prefix { eni } => {
                let eni = self.pick(*eni);
                let params = [("NetworkInterfaceId", eni.as_str()), ("Ipv4PrefixCount", "1")];
                drop(self.call("AssignPrivateIpAddresses", &params));
            }
            Step::Force { eni } => {
                let eni = self.pick(*eni);
                drop(self.cloud.vpc.force_detach(&eni, self.now));
            }
            Step::Lose => {
                let spec = FaultSpec::new(FaultKind::LostAnswer).times(1);
                self.cloud.add_fault(spec, self.now).unwrap();
            }
            Step::Pass { ms } => self.pass(u64::from(*ms)),
        }
    }

    /// What must hold after every call, on both clouds.
    pub(super) fn promises(&self) -> Result<(), TestCaseError> {
        let vpc = &self.cloud.vpc;
        prop_assert_eq!(self.cloud.verify(), vec![]);
        let mut seen = std::collections::BTreeMap::new();
        for eni in vpc.enis().values() {
            for address in eni.addresses() {
                if let Some(first) = seen.insert(address, &eni.id) {
                    prop_assert!(false, "{address} is on {first} and {}", eni.id);
                }
                let other =
                    vpc.enis().values().find(|e| e.prefixes.iter().any(|p| p.contains(&address)));
                prop_assert!(other.is_none(), "{address} lies in a prefix");
            }
            if let Some(limits) = vpc.type_of(eni) {
                prop_assert!(
                    eni.slots_v4()
                        <= usize::try_from(limits.eni_private_ip_address_quantity).unwrap()
                );
                prop_assert!(
                    eni.slots_v6() <= usize::try_from(limits.eni_ipv6_address_quantity).unwrap()
                );
            }
        }
        for instance in vpc.instances.values() {
            let there = vpc.enis().values().filter(|e| e.instance.as_ref() == Some(&instance.id));
            let mut places: Vec<u32> =
                there.map(|e| e.attachment.as_ref().map(|a| a.device).unwrap()).collect();
            let number = places.len();
            prop_assert!(number <= 3, "{} has too many ENIs", instance.name);
            places.sort_unstable();
            places.dedup();
            prop_assert_eq!(places.len(), number, "two ENIs of {} are in one place", instance.name);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_calls_gives_an_address_twice_or_loses_one(
        steps in prop::collection::vec(step(), 1..120),
        real in any::<bool>(),
    ) {
        let mut world = World::with(|config| {
            config.latency = if real { LatencyMode::Real } else { LatencyMode::None };
            // Small, so that it fills.
            config.vswitches[0].ipv4 = "10.0.0.0/26".parse().unwrap();
        });
        for step in &steps {
            world.walk(step);
            world.promises()?;
        }
        world.pass(10_000);
        world.promises()?;
    }
}
