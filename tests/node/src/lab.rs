//! A lab in this process, with its network in the kernel. It has an id of its own, so labs stand side by side.

use std::{
    cell::Cell,
    net::IpAddr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tideway_lab::{
    FaultKind, FaultSpec, Lab as Running, LabConfig, LabHost,
    description::InstanceDescription,
    fabric::{Fabric, FabricEvent, KernelFabric, cleanup},
};

use crate::netns;

/// A lab that runs. Goes with all its namespaces when dropped.
#[derive(Debug)]
pub struct Lab {
    id: String,
    running: Option<Running>,
    fabric: Arc<KernelFabric>,
    complaints: Complaints,
    denies: Cell<bool>,
    _claim: UnixListener,
}

/// What the lab's network could not do.
type Complaints = Arc<Mutex<Vec<String>>>;

fn note(complaints: &Complaints, text: String) {
    complaints.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

impl Lab {
    /// Starts a lab; the id in `config` is replaced.
    pub fn start(mut config: LabConfig) -> Result<Self> {
        let (id, claim) = claim()?;
        config.id.clone_from(&id);
        let complaints = Complaints::default();
        let heard = Arc::clone(&complaints);
        let fabric = KernelFabric::start(&id, move |event| {
            if !matches!(event, FabricEvent::Restored { .. }) {
                note(&heard, format!("{event:?}"));
            }
        })
        .context("the lab's network")?;
        let fabric = Arc::new(fabric);
        let heard = Arc::clone(&complaints);
        let host = LabHost {
            fabric: Arc::<KernelFabric>::clone(&fabric),
            namespace: Some(fabric.vpc_namespace().to_owned()),
            state_dir: None,
            tell: Arc::new(move |text| note(&heard, text)),
        };
        let mut lab =
            Self { id, running: None, fabric, complaints, denies: Cell::new(false), _claim: claim };
        lab.running = Some(Running::start_on(config, host).context("the lab")?);
        Ok(lab)
    }

    /// The lab itself.
    pub fn api(&self) -> Result<&Running> {
        self.running.as_ref().context("the lab has stopped")
    }

    /// An instance by name.
    pub fn instance(&self, name: &str) -> Result<&InstanceDescription> {
        let mut all = self.api()?.description().instances.iter();
        all.find(|i| i.name == name).with_context(|| format!("no instance {name}"))
    }

    /// The instance's namespace.
    pub fn namespace(&self, name: &str) -> Result<PathBuf> {
        Ok(netns::named(&self.instance(name)?.namespace))
    }

    /// Primary addresses of an instance, IPv4 first.
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let instance = self.instance(name)?;
        let texts = std::iter::once(&instance.ipv4).chain(&instance.ipv6);
        texts.map(|text| text.parse().with_context(|| format!("address {text:?}"))).collect()
    }

    /// Canonical text of an instance's network state.
    pub fn snapshot(&self, name: &str) -> Result<String> {
        Ok(self.fabric.snapshot(name)?)
    }

    /// Puts a fault in force; answers its number.
    pub fn fault(&self, spec: FaultSpec) -> Result<u32> {
        self.denies.set(self.denies.get() || spec.kind == FaultKind::Deny);
        self.api()?.add_fault(spec).map_err(|e| anyhow!("the fault is refused: {e}"))
    }

    /// A fault of every call, until it is cleared.
    pub fn fault_of_all(&self, kind: FaultKind) -> Result<u32> {
        self.fault(FaultSpec::new(kind))
    }

    /// Ends one fault.
    pub fn clear(&self, fault: u32) -> Result<()> {
        self.api()?.clear_faults(Some(fault));
        Ok(())
    }

    /// Ends all faults.
    pub fn clear_all(&self) -> Result<()> {
        self.api()?.clear_faults(None);
        Ok(())
    }

    /// Calls of one action that succeeded.
    pub fn successes(&self, action: &str) -> Result<u64> {
        let calls = self.api()?.calls();
        Ok(calls.iter().filter(|c| c.action == action && c.outcome == "OK").map(|c| c.calls).sum())
    }

    /// Calls of all actions, whatever came of them.
    pub fn calls(&self) -> Result<u64> {
        Ok(self.api()?.calls().iter().map(|c| c.calls).sum())
    }

    /// Ids of all ENIs beside the instances' own.
    pub fn secondary_enis(&self) -> Result<Vec<String>> {
        let list = |cloud: &mut tideway_lab::cloud::Cloud| {
            let all = cloud.vpc.enis().values();
            all.filter(|eni| !eni.primary).map(|eni| eni.id.clone()).collect()
        };
        Ok(self.api()?.with_cloud(list))
    }

    /// Nothing was given twice, nothing is lost, and the network did all that it was told.
    pub fn verify(&self) -> Result<()> {
        let violations = self.api()?.verify();
        ensure!(violations.is_empty(), "the ledger shows {violations:?}");
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(complaints.is_empty(), "the lab's network complains: {complaints:?}");
        Ok(())
    }

    /// The role's policy allowed all that was asked, unless a fault denied something.
    pub fn allowed_all(&self) -> Result<()> {
        let codes = ["Forbidden.RAM", "UnauthorizedOperation"];
        let mut refused = self.api()?.calls();
        refused.retain(|call| codes.contains(&call.outcome.as_str()));
        ensure!(self.denies.get() || refused.is_empty(), "the policy is too narrow: {refused:?}");
        Ok(())
    }

    /// Waits until no state change is running.
    pub fn settle(&self) -> Result<()> {
        ensure!(self.api()?.settle(Duration::from_mins(1)), "the lab does not come to rest");
        Ok(())
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        let prefix = format!("{}-", self.id);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(Path::new("/run/netns"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn end(&mut self) -> Result<()> {
        drop(self.running.take());
        cleanup(&self.id).context("removing the lab's network")
    }

    /// Takes it down and checks that nothing is left.
    pub fn down(mut self) -> Result<()> {
        self.end()?;
        let left = self.namespaces()?;
        ensure!(left.is_empty(), "namespaces are left: {left:?}");
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After a failed test the failure itself is what counts.
        drop(self.end());
    }
}

/// An id that no other test of this machine has. An abstract socket is the claim: it goes with the process.
fn claim() -> Result<(String, UnixListener)> {
    for number in 0..1296_u32 {
        let digit = |n| char::from_digit(n % 36, 36).unwrap_or('0');
        let id = format!("t{}{}", digit(number / 36), digit(number));
        let name = SocketAddr::from_abstract_name(format!("tideway-node-tests-{id}"))?;
        if let Ok(listener) = UnixListener::bind_addr(&name) {
            return Ok((id, listener));
        }
    }
    bail!("every lab id is taken by another test process")
}
