//! Describes: every one is read to its last page.
//!
//! Things are asked for by filter and not by the lists of ids of the API: an id that is unknown (yet, or again) makes a call
//! with a list of ids fail as a whole, and such a list excludes pages.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, InstanceType, NetworkInterface, Reservation};
use tideway_cloud::{CloudError, CloudOp, EniFilter, EniView, InstanceView, SubnetView};
use tideway_model::{EniId, InstanceId, Limits, SubnetId};

use super::AwsCloud;
use crate::view::{self, Senseless, need};

/// Most items of one page.
const PAGE: i32 = 1000;
/// Most values of one filter.
const VALUES: usize = 200;

fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// `*` and `?` are wildcards in the values of filters; tags of ours may hold them.
fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?")
}

/// Tokens of the pages of one list. One that comes twice would make us read on for ever.
#[derive(Default)]
struct Pages(BTreeSet<String>);

impl Pages {
    fn next(&mut self, token: Option<String>) -> Result<Option<String>, Senseless> {
        match token.filter(|token| !token.is_empty()) {
            None => Ok(None),
            Some(token) if self.0.insert(token.clone()) => Ok(Some(token)),
            Some(_) => Err(Senseless("a page token came twice".to_owned())),
        }
    }
}

impl AwsCloud {
    pub(super) async fn describe_enis(
        &self,
        wanted: &EniFilter,
    ) -> Result<Vec<EniView>, CloudError> {
        let mut filters: Vec<Filter> = wanted
            .tags
            .iter()
            .map(|(key, value)| filter(&format!("tag:{key}"), [literal(value)]))
            .collect();
        if let Some(instance) = &wanted.instance {
            filters.push(filter("attachment.instance-id", [instance.as_str()]));
        }
        if let Some(status) = wanted.status {
            filters.push(filter("status", view::status_words(status)));
        }
        let mut found = BTreeMap::new();
        if wanted.ids.is_empty() {
            self.eni_pages(&filters, &mut found).await?;
        }
        for ids in wanted.ids.chunks(VALUES) {
            let mut filters = filters.clone();
            filters.push(filter("network-interface-id", ids.iter().map(EniId::as_str)));
            self.eni_pages(&filters, &mut found).await?;
        }
        let everything_of = wanted
            .instance
            .as_ref()
            .filter(|_| wanted.ids.is_empty() && wanted.tags.is_empty() && wanted.status.is_none());
        if let Some(instance) = everything_of {
            self.places().shown_all(instance, &found.keys().cloned().collect());
        }
        // `in-use` is many states, and a wildcard that somebody reads otherwise must not bring others' ENIs in.
        let fits = |eni: &EniView| {
            wanted.status.is_none_or(|status| eni.status == status)
                && wanted.tags.iter().all(|(key, value)| eni.tags.get(key) == Some(value))
        };
        Ok(found.into_values().filter(fits).collect())
    }

    async fn eni_pages(
        &self,
        filters: &[Filter],
        found: &mut BTreeMap<EniId, EniView>,
    ) -> Result<(), CloudError> {
        const ACTION: &str = CloudOp::DESCRIBE;
        let unclear = |e: Senseless| e.of(ACTION);
        let mut pages = Pages::default();
        let mut token = None;
        loop {
            let call = self.client().describe_network_interfaces().max_results(PAGE);
            let call = call.set_filters(Some(filters.to_vec())).set_next_token(token);
            let answer = self.sent(ACTION, call.send()).await?;
            // Required: an answer without the list is no empty list.
            let list = need(answer.network_interfaces.as_ref(), "networkInterfaceSet");
            for eni in list.map_err(unclear)? {
                let view = self.seen(eni).map_err(unclear)?;
                // A list that changes while it is read may show an ENI on two pages.
                found.insert(view.id.clone(), view);
            }
            token = pages.next(answer.next_token).map_err(unclear)?;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads an ENI, and remembers where it is attached.
    fn seen(&self, eni: &NetworkInterface) -> Result<EniView, Senseless> {
        let (id, attachment) = view::attachment(eni)?;
        self.places().shown(&id, attachment);
        view::eni(eni)
    }

    pub(super) async fn describe_instance(
        &self,
        id: &InstanceId,
    ) -> Result<InstanceView, CloudError> {
        const ACTION: &str = "DescribeInstances";
        let unclear = |e: Senseless| e.of(ACTION);
        let call = self.client().describe_instances().filters(filter("instance-id", [id.as_str()]));
        let answer = self.sent(ACTION, call.send()).await?;
        let all = answer.reservations().iter().flat_map(Reservation::instances);
        let found = all.filter(|i| i.instance_id() == Some(id.as_str())).find(|i| view::exists(i));
        let found = found.ok_or_else(|| self.not_listed(ACTION, &format!("instance {id}")))?;
        let instance_type = need(found.instance_type(), "instanceType").map_err(unclear)?;
        let zone = found.placement().and_then(|p| p.availability_zone.as_ref());
        let view = InstanceView {
            id: id.clone(),
            instance_type: instance_type.as_str().to_owned(),
            zone: need(zone, "availabilityZone").map_err(unclear)?.clone(),
            vpc: need(found.vpc_id.as_ref(), "vpcId").map_err(unclear)?.clone(),
            vpc_blocks: Vec::new(),
        };
        self.places().is_of_type(id, &view.instance_type);
        let vpc_blocks = self.describe_vpc(&view.vpc).await?;
        Ok(InstanceView { vpc_blocks, ..view })
    }

    async fn describe_vpc(&self, id: &str) -> Result<Vec<ipnet::IpNet>, CloudError> {
        const ACTION: &str = "DescribeVpcs";
        let unclear = |e: Senseless| e.of(ACTION);
        let call = self.client().describe_vpcs().filters(filter("vpc-id", [id]));
        let answer = self.sent(ACTION, call.send()).await?;
        let found = answer.vpcs().iter().find(|vpc| vpc.vpc_id() == Some(id));
        let found = found.ok_or_else(|| self.not_listed(ACTION, &format!("VPC {id}")))?;
        view::vpc_blocks(found).map_err(unclear)
    }

    pub(super) async fn describe_existing(
        &self,
        ids: &BTreeSet<InstanceId>,
    ) -> Result<BTreeSet<InstanceId>, CloudError> {
        const ACTION: &str = "DescribeInstances";
        let unclear = |e: Senseless| e.of(ACTION);
        let all: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
        let mut found = BTreeSet::new();
        for ids in all.chunks(VALUES) {
            let mut pages = Pages::default();
            let mut token = None;
            loop {
                let call = self.client().describe_instances().max_results(PAGE);
                let call = call.filters(filter("instance-id", ids.iter().copied()));
                let answer = self.sent(ACTION, call.set_next_token(token).send()).await?;
                // Required: an answer without the list would look like instances that have gone.
                let list = need(answer.reservations.as_ref(), "reservationSet");
                for instance in list.map_err(unclear)?.iter().flat_map(Reservation::instances) {
                    let id = need(instance.instance_id.as_ref(), "instanceId").and_then(|id| {
                        InstanceId::try_from(id.as_str()).map_err(|e| Senseless(e.to_string()))
                    });
                    let id = id.map_err(unclear)?;
                    if view::exists(instance) {
                        found.insert(id);
                    }
                }
                token = pages.next(answer.next_token).map_err(unclear)?;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn describe_type(&self, name: &str) -> Result<Limits, CloudError> {
        const ACTION: &str = "DescribeInstanceTypes";
        let unclear = |e: Senseless| e.of(ACTION);
        let call = self.client().describe_instance_types().filters(filter("instance-type", [name]));
        let answer = self.sent(ACTION, call.send()).await?;
        let wanted = InstanceType::from(name);
        let found = answer.instance_types().iter().find(|t| t.instance_type() == Some(&wanted));
        let found =
            found.ok_or_else(|| self.not_listed(ACTION, &format!("instance type {name}")))?;
        let (limits, cards) = view::limits(found).map_err(unclear)?;
        self.places().type_has(name, cards);
        Ok(limits)
    }

    /// In the order in which they are asked for.
    pub(super) async fn describe_subnets(
        &self,
        ids: &[SubnetId],
    ) -> Result<Vec<SubnetView>, CloudError> {
        const ACTION: &str = "DescribeSubnets";
        let unclear = |e: Senseless| e.of(ACTION);
        let mut found = BTreeMap::new();
        for some in ids.chunks(VALUES) {
            let call = self.client().describe_subnets();
            let call = call.filters(filter("subnet-id", some.iter().map(SubnetId::as_str)));
            let answer = self.sent(ACTION, call.send()).await?;
            for subnet in answer.subnets() {
                let view = view::subnet(subnet).map_err(unclear)?;
                found.insert(view.plan.id.clone(), view);
            }
        }
        let mut views = Vec::new();
        for id in ids {
            let view = found.get(id).cloned();
            views.push(view.ok_or_else(|| self.not_listed(ACTION, &format!("subnet {id}")))?);
        }
        Ok(views)
    }
}
