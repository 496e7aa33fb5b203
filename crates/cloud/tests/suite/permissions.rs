//! The policy against the lab: each action of it is needed, and its absence is named.

use std::{collections::BTreeSet, net::IpAddr};

use tideway_cloud::{Cloud, CloudError, EniFilter, EniView, ErrorKind};
use tideway_lab::{FaultKind, FaultSpec, LabConfig};
use tideway_model::Family;

use super::{Bench, lab_config, worker};
use crate::provider;

/// Permissions that were missing when everything was asked once.
async fn missing(bench: &Bench, eni: &EniView) -> BTreeSet<String> {
    let (cloud, id, node) = (bench.cloud(), &eni.id, &bench.instance);
    let given = eni.addresses.iter().copied().filter(|ip| Some(*ip) != eni.primary_ip);
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = given.partition(IpAddr::is_ipv4);
    let answers: Vec<Result<(), CloudError>> = vec![
        cloud.instance(node).await.map(drop),
        cloud.existing(&BTreeSet::from([node.clone()])).await.map(drop),
        cloud.limits(&worker(&bench.lab).instance_type).await.map(drop),
        cloud.subnets(std::slice::from_ref(&eni.subnet)).await.map(drop),
        cloud.enis(&EniFilter::default()).await.map(drop),
        cloud.assign(id, Family::V4, 1, "a4").await.map(drop),
        cloud.assign(id, Family::V6, 1, "a6").await.map(drop),
        cloud.unassign(id, &v4).await,
        cloud.unassign(id, &v6).await,
        cloud.create(&bench.wish("w")).await.map(drop),
        // In whatever state it is: permissions come first.
        cloud.attach(id, node).await,
        cloud.detach(id, node).await,
        cloud.delete(id).await,
    ];
    let kinds = answers.into_iter().filter_map(|answer| Some(answer.err()?.kind));
    let names = kinds.filter_map(|kind| {
        let ErrorKind::Denied(what) = kind else { return None };
        what.split(' ').next().map(str::to_owned)
    });
    names.collect()
}

#[tokio::test]
async fn each_action_of_the_policy_is_needed_and_named_when_it_is_missing() {
    for action in provider::actions() {
        let bench = Bench::start();
        let eni = bench.attached("e").await;
        let name = action.split_once(':').unwrap().1;
        bench.lab.add_fault(FaultSpec::new(FaultKind::Deny).on(name)).unwrap();
        let told: Vec<String> = missing(&bench, &eni).await.into_iter().collect();
        assert_eq!(told, [action]);
    }
    let policy = Some(serde_json::from_str(provider::POLICY).unwrap());
    let bench = Bench::with(LabConfig { role_policy: policy, ..lab_config() });
    let eni = bench.attached("e").await;
    assert_eq!(missing(&bench, &eni).await, BTreeSet::new(), "beyond the policy");
}

#[tokio::test]
async fn a_missing_permission_names_action_and_resource() {
    let bench = Bench::start();
    let eni = bench.attached("e").await;
    bench.lab.add_fault(FaultSpec::new(FaultKind::Deny).on("DeleteNetworkInterface")).unwrap();
    let error = bench.cloud().delete(&eni.id).await.unwrap_err();
    let ErrorKind::Denied(what) = &error.kind else { panic!("{error}") };
    assert!(what.starts_with(provider::DELETE_OF), "{what}");
    assert!(what.ends_with(eni.id.as_str()), "{what}");
    assert!(error.remedy().contains(what), "{}", error.remedy());
    // Something for decoding by those who may, and too long for a line.
    assert!(!error.message.contains("Encoded"), "{error}");
}
