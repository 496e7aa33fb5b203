//! Pods with a stable identity: their address waits for them.

use anyhow::{Result, ensure};
use serde_json::json;
use tideway_node_tests::{Bed, Pod, Setup, cni::Call, node, wait::s};

use crate::run::run;

fn reserving() -> Call {
    let annotations = json!({ "k8s.aliyun.com/pod-ip-reservation": "true" });
    let conf = json!({ "runtimeConfig": { "io.kubernetes.cri.pod-annotations": annotations } });
    Call { conf: Some(conf), ..Call::default() }
}

/// The lease of `default/db-0` waits for it.
fn waits(bed: &Bed, ip: &str) -> Result<()> {
    let shown = bed.node(0)?.until_shown("the address waits", s(10), |shown| {
        let mut all = shown.enis.iter().flat_map(|eni| &eni.addresses);
        all.any(|a| a.ip == ip && a.state == "leased" && a.pod == "default/db-0")
    })?;
    let [lease] = shown.leases.as_slice() else { anyhow::bail!("leases: {:?}", shown.leases) };
    ensure!(lease.pod == "default/db-0" && lease.ips == [ip], "{lease:?}");
    ensure!(!lease.strict && lease.until_unix_millis > 0, "{lease:?}");
    Ok(())
}

#[test]
fn an_identity_gets_its_address_back_after_deletion_and_after_the_daemon_was_killed() {
    run(Setup::default(), |bed| {
        let first = Pod::new("db-0")?;
        let ips = bed.node(0)?.cni("ADD", &first, &reserving())?.ips()?;
        let shown = bed.node(0)?.show()?;
        ensure!(shown.leases.iter().all(|l| l.until_unix_millis == 0), "{:?}", shown.leases);
        bed.node(0)?.del(&first)?;
        drop(first);
        let [ip] = ips.as_slice() else { anyhow::bail!("addresses: {ips:?}") };
        waits(bed, &ip.to_string())?;

        let other = Pod::new("other")?;
        ensure!(bed.node(0)?.add(&other)? != ips, "the leased address went to another pod");
        let second = Pod::new("db-0")?;
        ensure!(bed.node(0)?.cni("ADD", &second, &reserving())?.ips()? == ips, "another address");
        for ip in bed.lab.addresses("cp")?.into_iter().filter(std::net::IpAddr::is_ipv4) {
            second.reaches(ip)?;
        }
        bed.node(0)?.del(&second)?;
        drop(second);

        let here = bed.node_mut(0)?;
        here.kill()?;
        here.start()?;
        waits(bed, &ip.to_string())?;
        let here = bed.node(0)?;
        // The journal knows the name, whatever the runtime passes.
        let third = Pod::new("db-0")?;
        ensure!(here.add_patiently(&third, s(20))? == ips, "another address after a restart");
        ensure!(node::state_of(&here.show()?, *ip).as_deref() == Some("assigned"));
        here.del(&third)?;
        here.del(&other)
    });
}
