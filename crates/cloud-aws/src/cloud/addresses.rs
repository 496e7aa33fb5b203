//! Assign and unassign, of addresses and of prefixes. The answers tell only what a call added.

use std::net::IpAddr;

use aws_sdk_ec2::operation::{
    assign_ipv6_addresses::AssignIpv6AddressesOutput,
    assign_private_ip_addresses::AssignPrivateIpAddressesOutput,
};
use ipnet::IpNet;
use tideway_cloud::{CloudError, ErrorKind};
use tideway_model::{EniId, Family};

use super::AwsCloud;
use crate::{
    refusal::was_not_assigned,
    view::{self, Senseless},
};

const ASSIGN_V4: &str = "AssignPrivateIpAddresses";
const ASSIGN_V6: &str = "AssignIpv6Addresses";

/// How many of what a call asks for.
#[derive(Clone, Copy)]
enum Count {
    Addresses(u16),
    Prefixes(u16),
}

impl Count {
    fn addresses(self) -> Option<i32> {
        if let Self::Addresses(n) = self { Some(n.into()) } else { None }
    }

    fn prefixes(self) -> Option<i32> {
        if let Self::Prefixes(n) = self { Some(n.into()) } else { None }
    }
}

/// What a call takes away, all of one family.
#[derive(Clone, Copy)]
enum Batch<'a> {
    Addresses(&'a [IpAddr]),
    Prefixes(&'a [IpNet]),
}

impl Batch<'_> {
    fn addresses(self) -> Option<Vec<String>> {
        let Self::Addresses(ips) = self else { return None };
        Some(ips.iter().map(ToString::to_string).collect())
    }

    fn prefixes(self) -> Option<Vec<String>> {
        let Self::Prefixes(nets) = self else { return None };
        Some(nets.iter().map(ToString::to_string).collect())
    }

    fn len(self) -> usize {
        match self {
            Self::Addresses(ips) => ips.len(),
            Self::Prefixes(nets) => nets.len(),
        }
    }
}

/// What was added, never nothing.
fn some<T>(
    list: impl IntoIterator<Item = Result<T, Senseless>>,
    what: &str,
) -> Result<Vec<T>, Senseless> {
    let list = list.into_iter().collect::<Result<Vec<T>, _>>()?;
    if list.is_empty() {
        return Err(Senseless(format!("it names no assigned {what}")));
    }
    Ok(list)
}

impl AwsCloud {
    pub(super) async fn assign_addresses(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
    ) -> Result<Vec<IpAddr>, CloudError> {
        let count = Count::Addresses(count);
        match family {
            Family::V4 => {
                let answer = self.assign_v4(eni, count).await?;
                let got = answer.assigned_private_ip_addresses().iter();
                let got = got.map(|ip| view::address(ip.private_ip_address(), family));
                some(got, "address").map_err(|e| e.of(ASSIGN_V4))
            }
            Family::V6 => {
                let answer = self.assign_v6(eni, count).await?;
                let got = answer.assigned_ipv6_addresses().iter();
                let got = got.map(|ip| view::address(Some(ip), family));
                some(got, "address").map_err(|e| e.of(ASSIGN_V6))
            }
        }
    }

    pub(super) async fn assign_blocks(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
    ) -> Result<Vec<IpNet>, CloudError> {
        let count = Count::Prefixes(count);
        match family {
            Family::V4 => {
                let answer = self.assign_v4(eni, count).await?;
                let got = answer.assigned_ipv4_prefixes().iter();
                let got = got.map(|p| view::prefix(p.ipv4_prefix(), family));
                some(got, "prefix").map_err(|e| e.of(ASSIGN_V4))
            }
            Family::V6 => {
                let answer = self.assign_v6(eni, count).await?;
                let got = answer.assigned_ipv6_prefixes().iter();
                let got = got.map(|p| view::prefix(Some(p), family));
                some(got, "prefix").map_err(|e| e.of(ASSIGN_V6))
            }
        }
    }

    async fn assign_v4(
        &self,
        eni: &EniId,
        count: Count,
    ) -> Result<AssignPrivateIpAddressesOutput, CloudError> {
        let call = self
            .client()
            .assign_private_ip_addresses()
            .network_interface_id(eni.as_str())
            .set_secondary_private_ip_address_count(count.addresses())
            .set_ipv4_prefix_count(count.prefixes());
        self.sent(ASSIGN_V4, call.send()).await
    }

    async fn assign_v6(
        &self,
        eni: &EniId,
        count: Count,
    ) -> Result<AssignIpv6AddressesOutput, CloudError> {
        let call = self
            .client()
            .assign_ipv6_addresses()
            .network_interface_id(eni.as_str())
            .set_ipv6_address_count(count.addresses())
            .set_ipv6_prefix_count(count.prefixes());
        self.sent(ASSIGN_V6, call.send()).await
    }

    /// One call for each family. When the second one fails after the first one went through, the outcome of the whole is
    /// [`ErrorKind::Unknown`]: it must be read back.
    pub(super) async fn unassign_addresses(
        &self,
        eni: &EniId,
        addresses: &[IpAddr],
    ) -> Result<(), CloudError> {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv4());
        self.unassign_both(eni, Batch::Addresses(&v4), Batch::Addresses(&v6)).await
    }

    /// As [`Self::unassign_addresses`].
    pub(super) async fn unassign_blocks(
        &self,
        eni: &EniId,
        prefixes: &[IpNet],
    ) -> Result<(), CloudError> {
        let is_v4 = |net: &&IpNet| net.addr().is_ipv4();
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = prefixes.iter().partition(is_v4);
        self.unassign_both(eni, Batch::Prefixes(&v4), Batch::Prefixes(&v6)).await
    }

    async fn unassign_both(
        &self,
        eni: &EniId,
        v4: Batch<'_>,
        v6: Batch<'_>,
    ) -> Result<(), CloudError> {
        if v4.len() > 0 {
            self.unassign_v4(eni, v4).await?;
        }
        if v6.len() == 0 {
            return Ok(());
        }
        self.unassign_v6(eni, v6).await.map_err(|e| {
            let kind = if v4.len() == 0 { e.kind } else { ErrorKind::Unknown };
            CloudError { kind, ..e }
        })
    }

    async fn unassign_v4(&self, eni: &EniId, batch: Batch<'_>) -> Result<(), CloudError> {
        let call = self
            .client()
            .unassign_private_ip_addresses()
            .network_interface_id(eni.as_str())
            .set_private_ip_addresses(batch.addresses())
            .set_ipv4_prefixes(batch.prefixes());
        let outcome = self.sent("UnassignPrivateIpAddresses", call.send()).await;
        match outcome {
            Ok(_) => Ok(()),
            Err(e) => still_there(e, batch.len()).map_or(Ok(()), Err),
        }
    }

    async fn unassign_v6(&self, eni: &EniId, batch: Batch<'_>) -> Result<(), CloudError> {
        let call = self
            .client()
            .unassign_ipv6_addresses()
            .network_interface_id(eni.as_str())
            .set_ipv6_addresses(batch.addresses())
            .set_ipv6_prefixes(batch.prefixes());
        let outcome = self.sent("UnassignIpv6Addresses", call.send()).await;
        match outcome {
            Ok(_) => Ok(()),
            Err(e) => still_there(e, batch.len()).map_or(Ok(()), Err),
        }
    }
}

/// That something to be taken away was not there is success when it was one thing; in a batch, which EC2 refuses as a whole,
/// it leaves open which of them are still there.
fn still_there(error: CloudError, size: usize) -> Option<CloudError> {
    match (was_not_assigned(&error), size) {
        (true, 1) => None,
        (true, _) => Some(CloudError { kind: ErrorKind::Unknown, ..error }),
        (false, _) => Some(error),
    }
}
