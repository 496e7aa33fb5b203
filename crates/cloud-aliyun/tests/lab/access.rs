//! What the metadata service tells, and the clock in this cloud's words.

use tideway_cloud::{Cloud, EniFilter};
use tideway_model::UnixMillis;

use super::{
    provider,
    suite::{Access, Bench, of_node, worker},
};

#[tokio::test]
async fn a_clock_that_is_far_off_is_told_with_the_difference() {
    let bench = Bench::start();
    let late = || UnixMillis(provider::system_clock().0 - 3_600_000);
    let cloud = provider::client(Access { clock: late, ..Access::to(&bench.lab) });
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert!(error.message.contains(" s behind the cloud's"), "{error}");
}

#[tokio::test]
async fn metadata_service_and_api_tell_the_same() {
    let bench = Bench::start();
    let made = bench.attached("t1").await;
    let cloud = provider::from_config(&of_node(&bench)).await.unwrap();
    let told = cloud.metadata().instance().await.unwrap();
    assert_eq!(told.id, bench.instance);
    let view = cloud.instance(&told.id).await.unwrap();
    assert_eq!((view.instance_type, view.zone), (told.instance_type, told.zone));
    let primary = cloud.metadata().primary_eni().await.unwrap();
    assert_eq!(primary.as_str(), worker(&bench.lab).primary_eni);

    let filter = EniFilter { instance: Some(told.id), ..EniFilter::default() };
    let mut api = cloud.enis(&filter).await.unwrap();
    assert!(api.iter().any(|eni| eni.id == made.id));
    let mut meta = cloud.metadata().enis().await.unwrap();
    for eni in api.iter_mut().chain(&mut meta) {
        // What the metadata service does not know, and the order of secondary addresses.
        eni.security_groups.clear();
        eni.tags.clear();
        eni.created = None;
        eni.addresses.sort();
    }
    api.sort_by(|a, b| a.id.cmp(&b.id));
    meta.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(api, meta);
}
