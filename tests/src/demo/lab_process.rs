//! The lab of a run, driven by its command line: up, snapshots, ledger, down.
//!
//! It keeps its own records, so that `down` also works for a lab whose starter was killed. We only remember its id.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use serde_json::Value;

use crate::{
    cluster::{list, text},
    command,
    lab::{CloudKind, Lab},
    run_dir::RunDir,
    wait::{self, Look},
};

/// Environment variable with another id, for a second demo beside the first (with [`crate::run_dir::DIR_VARIABLE`]).
const ID_VARIABLE: &str = "TIDEWAY_DEMO_ID";
/// Id of the demo's lab; prefix of its namespaces.
const ID: &str = "demo";
/// Addresses of each family on an ENI of the demo.
pub const ADDRESSES: u32 = 10;

/// A lab that runs.
#[derive(Debug)]
pub struct LabProcess {
    binary: PathBuf,
    id: String,
}

/// Calls by action, and their sum.
#[derive(Debug, Default)]
pub struct Calls {
    /// Action and number, in the order of the lab.
    pub by_action: Vec<(String, u64)>,
    /// All.
    pub total: u64,
}

impl LabProcess {
    /// Id of the demo's lab.
    pub fn demo_id() -> String {
        std::env::var(ID_VARIABLE).unwrap_or_else(|_| ID.to_owned())
    }

    /// Starts a lab like that of the demo, on the cloud that the environment names, with so many addresses on an ENI.
    pub fn up(binary: &Path, dir: &RunDir, id: String, addresses: u32) -> Result<Self> {
        let lab = Self { binary: binary.into(), id };
        let config = dir.state().join("lab.yaml");
        fs::write(&config, CloudKind::from_environment()?.demo_lab(addresses))?;
        fs::write(dir.state().join("lab"), format!("{}\n{}\n", lab.id, binary.display()))?;
        let mut up = lab.command("up");
        command::run(up.arg("--config").arg(config)).context("the lab does not start")?;
        Ok(lab)
    }

    /// The lab that an earlier run has written down.
    pub fn recorded(dir: &RunDir) -> Option<Self> {
        let text = fs::read_to_string(dir.state().join("lab")).ok()?;
        let (id, binary) = text.trim().split_once('\n')?;
        Some(Self { binary: binary.into(), id: id.to_owned() })
    }

    /// Ends it and takes everything away that it made.
    pub fn down(&self) -> Result<()> {
        // In a group of its own: a second Ctrl-C does not stop it half way.
        use std::os::unix::process::CommandExt as _;
        let mut down = self.command("down");
        command::run(down.process_group(0)).map(drop).context("the lab does not go down")
    }

    /// Its description.
    pub fn description(&self) -> Result<Lab> {
        let parent = std::env::var_os("TIDEWAY_LAB_DIR")
            .map_or_else(|| PathBuf::from("/run/tideway-lab"), PathBuf::from);
        Lab::load(&parent.join(&self.id).join("lab.json"))
    }

    /// Canonical text of an instance's network state.
    pub fn snapshot(&self, instance: &str) -> Result<String> {
        command::run(self.command("snapshot").arg(instance))
    }

    /// Calls so far.
    pub fn calls(&self) -> Result<Calls> {
        let ledger = self.ledger()?;
        let mut calls = Calls::default();
        for count in list(&ledger, "/counts") {
            let number = count.get("calls").and_then(Value::as_u64).unwrap_or_default();
            let action = text(count, "/action");
            calls.total += number;
            match calls.by_action.iter_mut().find(|(known, _)| known == action) {
                Some((_, sum)) => *sum += number,
                None => calls.by_action.push((action.to_owned(), number)),
            }
        }
        Ok(calls)
    }

    /// Fails when an address was given twice or is lost, or when the daemon's policy did not allow a call.
    pub fn verify(&self) -> Result<()> {
        command::run(self.command("ledger").arg("--verify"))?;
        let ledger = self.ledger()?;
        let codes = ["Forbidden.RAM", "UnauthorizedOperation"];
        let refused = |count: &&Value| codes.contains(&text(count, "/outcome"));
        let refused: Vec<_> = list(&ledger, "/counts").iter().filter(refused).collect();
        ensure!(refused.is_empty(), "the policy is too narrow: {refused:?}");
        Ok(())
    }

    /// Waits until no ENI is left beside the instances' own; the cloud deletes them in its own time.
    pub fn wait_without_secondary_enis(&self) -> Result<()> {
        let limit = Duration::from_secs(10);
        wait::until("leaked: every ENI but the primary ones is gone", limit, || {
            let left = self.secondary_enis()?;
            let named =
                left.iter().map(|eni| format!("{} ({})", text(eni, "/id"), text(eni, "/state")));
            let named = named.collect::<Vec<_>>().join(", ");
            Ok(if left.is_empty() { Look::Seen(()) } else { Look::NotYet(named) })
        })
    }

    /// ENIs beside the instances' own, each with the addresses that it holds by the ledger, in order.
    pub fn secondary_addresses(&self) -> Result<Vec<(String, String)>> {
        let enis = self.secondary_enis()?;
        let ledger = self.ledger()?;
        let mut held: Vec<(String, String)> = list(&ledger, "/addresses")
            .iter()
            .filter(|holding| holding.get("released").is_none_or(Value::is_null))
            .map(|holding| (text(holding, "/eni").to_owned(), text(holding, "/address").to_owned()))
            .filter(|(eni, _)| enis.iter().any(|other| text(other, "/id") == eni))
            .collect();
        held.sort();
        Ok(held)
    }

    /// Prefixes that the cloud has given.
    pub fn prefixes(&self) -> Result<Vec<IpNet>> {
        let enis = self.secondary_enis()?;
        let all = enis.iter().flat_map(|eni| list(eni, "/prefixes")).filter_map(Value::as_str);
        all.map(|text| text.parse().context("a prefix of the lab")).collect()
    }

    /// ENIs beside the instances' own.
    fn secondary_enis(&self) -> Result<Vec<Value>> {
        let mut status = self.command("status");
        let text_ = command::run(status.args(["-o", "json"]))?;
        let status: Value = serde_json::from_str(&text_).context("lab status")?;
        let enis = list(&status, "/enis").iter();
        let secondary = |eni: &&Value| eni.get("primary").and_then(Value::as_bool) != Some(true);
        Ok(enis.filter(secondary).cloned().collect())
    }

    /// Calls, and who held which address when.
    pub fn ledger(&self) -> Result<Value> {
        let text = command::run(self.command("ledger").args(["-o", "json"]))?;
        serde_json::from_str(&text).context("lab ledger")
    }

    /// Lets the cloud fail, as the lab's control interface takes it.
    pub fn add_fault(&self, json: &str) -> Result<()> {
        command::run(self.command("faults").args(["add", json])).map(drop)
    }

    /// The cloud fails no more.
    pub fn clear_faults(&self) -> Result<()> {
        command::run(self.command("faults").arg("clear")).map(drop)
    }

    fn command(&self, verb: &str) -> std::process::Command {
        command::line(&self.binary, [verb, "--id", &self.id])
    }
}
