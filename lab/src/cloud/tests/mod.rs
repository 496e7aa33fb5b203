//! The rules of the cloud, each by the hazard that it keeps away.

mod addresses;
mod attachment;
mod ec2;
mod faults;
mod listing;
mod metadata;
mod properties;
mod tokens;

use serde_json::Value;

use super::clock::Millis;
use super::params::Params;
use super::{ApiCall, Cloud};
use crate::cloud::latency::LatencyMode;
use crate::config::LabConfig;

/// A cloud with a clock that tests move.
struct World {
    cloud: Cloud,
    now: Millis,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LabConfig)) -> Self {
        let mut config = LabConfig { latency: LatencyMode::None, ..LabConfig::default() };
        change(&mut config);
        config.check().unwrap();
        let now = 1_800_000_000_000;
        Self { cloud: Cloud::new(config, now).unwrap(), now }
    }

    /// One call; the answer or the error code.
    fn call(&mut self, action: &str, params: &[(&str, &str)]) -> Result<Value, String> {
        let ecs =
            !["DescribeVSwitches", "DescribeVSwitchAttributes", "DescribeVpcs"].contains(&action);
        let pairs = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let region = [("RegionId".to_owned(), "cn-hangzhou".to_owned())];
        let call = ApiCall {
            action: action.to_owned(),
            version: if ecs { "2014-05-26" } else { "2016-04-28" }.to_owned(),
            params: Params::new(region.into_iter().chain(pairs)),
            caller: "n1".to_owned(),
            access_key: "testid".to_owned(),
        };
        self.cloud.call(&call, self.now).outcome.map_err(|error| error.code)
    }

    fn ok(&mut self, action: &str, params: &[(&str, &str)]) -> Value {
        self.call(action, params).unwrap_or_else(|code| panic!("{action} {params:?}: {code}"))
    }

    fn refused(&mut self, action: &str, params: &[(&str, &str)]) -> String {
        match self.call(action, params) {
            Err(code) => code,
            Ok(answer) => panic!("{action} {params:?} was not refused: {answer}"),
        }
    }

    /// Lets `ms` pass and the network do its part.
    fn pass(&mut self, ms: Millis) {
        self.now += ms;
        self.cloud.vpc.tick(self.now);
        loop {
            let effects = self.cloud.vpc.take_effects();
            if effects.is_empty() {
                return;
            }
            for (_, effect) in effects {
                self.cloud.vpc.finished(&effect, true, self.now);
            }
        }
    }

    fn vswitch(&self, name: &str) -> String {
        self.cloud.vpc.vswitch_named(name).unwrap().id.clone()
    }

    fn instance(&self, name: &str) -> String {
        self.cloud.vpc.instance_named(name).unwrap().id.clone()
    }

    fn group(&self) -> String {
        self.cloud.vpc.groups.keys().next().unwrap().clone()
    }

    /// Creates an ENI in vSwitch `a`.
    fn create(&mut self, more: &[(&str, &str)]) -> Result<String, String> {
        let (vswitch, group) = (self.vswitch("a"), self.group());
        let mut params = vec![("VSwitchId", vswitch.as_str()), ("SecurityGroupId", group.as_str())];
        params.extend(more);
        let made = self.call("CreateNetworkInterface", &params)?;
        Ok(made["NetworkInterfaceId"].as_str().unwrap().to_owned())
    }

    /// Creates an ENI and attaches it to an instance.
    fn attached(&mut self, instance: &str) -> String {
        let eni = self.create(&[]).unwrap();
        let instance = self.instance(instance);
        self.ok(
            "AttachNetworkInterface",
            &[("NetworkInterfaceId", &eni), ("InstanceId", &instance)],
        );
        self.pass(0);
        assert_eq!(self.state(&eni), "InUse");
        eni
    }

    fn state(&mut self, eni: &str) -> String {
        let found = self.ok("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", eni)]);
        let list = found["NetworkInterfaceSets"]["NetworkInterfaceSet"].as_array().unwrap();
        list.first().map_or("gone", |e| e["Status"].as_str().unwrap()).to_owned()
    }

    fn available(&mut self, vswitch: &str) -> u64 {
        let id = self.vswitch(vswitch);
        let about = self.ok("DescribeVSwitchAttributes", &[("VSwitchId", &id)]);
        about["AvailableIpAddressCount"].as_u64().unwrap()
    }
}
