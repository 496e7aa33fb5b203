//! Power off and on: a reboot of a node, as its disk and the cloud see it.
//!
//! The network namespace is the lab's: between the two the lab reboots the instance. What lies on disk stays, also the
//! kubelet's checkpoints and sockets and the runtime's records of containers that no longer run.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Node, teardown::end_mount_namespace};

impl Node<'_> {
    /// Ends every process of the node at once and forgets what lives in memory: mounts and `/run`.
    pub fn power_off(&self) -> Result<()> {
        let roster = self.cluster.roster();
        let init = self.process("init");
        let own = format!("-{}", self.name());
        // Whoever would react to the end of others goes first.
        let kubelet = self.process("kubelet");
        let others = roster.names().into_iter().filter(|n| n.ends_with(&own));
        let others = others.filter(|n| *n != init && *n != kubelet);
        for name in std::iter::once(kubelet.clone()).chain(others) {
            roster.kill(&name)?;
        }
        let group = self.group();
        group.kill()?;
        end_mount_namespace(&self.cluster.dir, roster, self.name())?;
        roster.kill(&init)?;
        group.remove()?;
        let run = self.directory("run");
        fs::remove_dir_all(&run).with_context(|| format!("cannot empty {}", run.display()))?;
        fs::remove_file(self.directory("ready")).context("the node was not up")
    }

    /// Boots up to the runtime. Agent, kubelet and kube-proxy are started by the caller, in the order that is tested.
    pub fn power_on(&self) -> Result<()> {
        self.enter()?;
        self.start_containerd()
    }
}
