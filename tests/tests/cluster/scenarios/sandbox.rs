//! The sandbox of an exclusive pod dies, with the daemon there and away: the ENI falls back to the host and must be found.

use std::fs;

use anyhow::{Result, ensure};
use tideway_e2e::wait::{self, Look};

use crate::{
    bed::{Bed, PATIENCE, SOON},
    runtime,
};

pub(crate) fn a_killed_sandbox_of_an_exclusive_pod_gets_the_same_eni_and_address(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    let before = bed.create_live(&[("own", &node, true)])?.remove(0);
    ensure!(before.mode == "exclusive", "{before:?}");
    let former = runtime::kill(&node, "own", "sandbox")?;
    runtime::made_again(&node, "own", &former, PATIENCE)?;
    bed.reaches(&other, &before.ips)?;
    let after = bed.live("own", &node)?;
    ensure!(before == after, "before {before:?}\nafter {after:?}");
    Ok(())
}

pub(crate) fn an_eni_whose_namespace_died_while_the_daemon_was_away_is_used_again(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    let before = bed.create_live(&[("own", &node, true)])?.remove(0);
    bed.stop_daemon(&node)?;
    let former = runtime::kill(&node, "own", "sandbox")?;
    // The kubelet stops the dead sandbox: the plugin leaves a ticket, and the runtime takes the namespace away.
    wait::until("a release ticket of the dead sandbox", SOON, || {
        let tickets = fs::read_dir(node.directory("tideway-lib").join("tickets"));
        let there = tickets.is_ok_and(|mut t| t.next().is_some());
        Ok(if there { Look::Seen(()) } else { Look::NotYet("no ticket".into()) })
    })?;
    bed.start_daemon(&node, "")?;
    runtime::made_again(&node, "own", &former, PATIENCE)?;
    bed.reaches(&other, &before.ips)?;
    let after = bed.live("own", &node)?;
    ensure!(before == after, "before {before:?}\nafter {after:?}");

    // And the device serves the next pod when the daemon misses the whole end of this one.
    bed.stop_daemon(&node)?;
    bed.kubectl()?.run(["delete", "pod", "own", "--force", "--grace-period=0"])?;
    wait::until("no sandbox of the deleted pod", SOON, || {
        let left = runtime::running(&node, "own", "sandbox")?;
        Ok(if left.is_empty() { Look::Seen(()) } else { Look::NotYet(format!("{left:?}")) })
    })?;
    bed.start_daemon(&node, "")?;
    // A pod that comes before the kubelet has our devices again is refused for good.
    bed.show(&node)?;
    let next = bed.create_live(&[("next", &node, true)])?.remove(0);
    ensure!(next.mode == "exclusive", "{next:?}");
    bed.reaches(&other, &next.ips)
}
