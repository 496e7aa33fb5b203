//! Where EC2's answers say something else than those of the other cloud.

use tideway_cloud::{Cloud, CreateEni};

use super::suite::{Bench, CREATED};

#[tokio::test]
async fn our_tag_tells_the_age_that_ec2_does_not_tell() {
    let bench = Bench::start();
    let made = bench.cloud().create(&bench.wish("t1")).await.unwrap();
    assert_eq!(made.created, Some(CREATED));
    assert_eq!(bench.view(&made.id).await.unwrap().created, Some(CREATED));
}

#[tokio::test]
async fn one_call_makes_prefixes_or_addresses_of_a_family() {
    let bench = Bench::start();
    let wish = CreateEni { prefixes_v4: 2, prefixes_v6: 1, ..bench.wish("t1") };
    let made = bench.attached_as(&wish).await;
    assert_eq!((made.addresses.len(), made.prefixes.len()), (1, 3), "{made:?}");
}
