//! The rules of the EC2 side, where they are not those of Alibaba Cloud.

mod addresses;
mod attachment;
mod imds;
mod listing;
mod properties;

use serde_json::Value;

use super::World;
use crate::cloud::latency::LatencyMode;
use crate::cloud::params::Params;
use crate::cloud::{ApiCall, Cloud};
use crate::config::{CloudKind, LabConfig};

impl World {
    fn aws() -> Self {
        Self::aws_with(|_| {})
    }

    fn aws_with(change: impl FnOnce(&mut LabConfig)) -> Self {
        let mut config = LabConfig { latency: LatencyMode::None, ..LabConfig::of(CloudKind::Aws) };
        change(&mut config);
        config.check().unwrap();
        let now = 1_800_000_000_000;
        Self { cloud: Cloud::new(config, now).unwrap(), now }
    }

    /// One call; the answer or the error code.
    fn ec2(&mut self, action: &str, params: &[(&str, &str)]) -> Result<Value, String> {
        let pairs = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let call = ApiCall {
            action: action.to_owned(),
            version: "2016-11-15".to_owned(),
            params: Params::new(pairs),
            caller: "n1".to_owned(),
            access_key: "testid".to_owned(),
        };
        self.cloud.call(&call, self.now).outcome.map_err(|error| error.code)
    }

    fn ec2_ok(&mut self, action: &str, params: &[(&str, &str)]) -> Value {
        self.ec2(action, params).unwrap_or_else(|code| panic!("{action} {params:?}: {code}"))
    }

    fn ec2_refused(&mut self, action: &str, params: &[(&str, &str)]) -> String {
        match self.ec2(action, params) {
            Err(code) => code,
            Ok(answer) => panic!("{action} {params:?} was not refused: {answer}"),
        }
    }

    /// Creates an ENI in subnet `a`.
    fn made(&mut self, more: &[(&str, &str)]) -> Result<String, String> {
        let subnet = self.vswitch("a");
        let mut params = vec![("SubnetId", subnet.as_str())];
        params.extend(more);
        let made = self.ec2("CreateNetworkInterface", &params)?;
        Ok(made["networkInterface"]["networkInterfaceId"].as_str().unwrap().to_owned())
    }

    /// Attaches an ENI to `n1`; the id of the attachment or the error code.
    fn plug(&mut self, eni: &str, device: &str) -> Result<String, String> {
        let instance = self.instance("n1");
        let params =
            [("NetworkInterfaceId", eni), ("InstanceId", &instance), ("DeviceIndex", device)];
        let made = self.ec2("AttachNetworkInterface", &params)?;
        self.pass(0);
        Ok(made["attachmentId"].as_str().unwrap().to_owned())
    }

    /// The ENI as Describe has it.
    fn shown(&mut self, eni: &str) -> Value {
        let all = self.ec2_ok("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", eni)]);
        all["networkInterfaceSet"][0].clone()
    }

    /// Free addresses of subnet `a`.
    fn free(&mut self) -> u64 {
        let subnet = self.vswitch("a");
        let all = self.ec2_ok("DescribeSubnets", &[("SubnetId.1", &subnet)]);
        all["subnetSet"][0]["availableIpAddressCount"].as_u64().unwrap()
    }
}

/// The texts of a field of a list's items.
fn each(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap();
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}
