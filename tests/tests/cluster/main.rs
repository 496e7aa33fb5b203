//! A real Kubernetes under faults and in use: kubelet, runtime, API server, daemon and sandboxes are killed under running
//! pods, nodes reboot, Tideway is installed by its manifests, and what pods may ask for is measured from inside them.
//!
//! One cluster serves all scenarios, one after another, so this test brings its own `main`: no scenario may run beside
//! another, and the cluster must go after the last one whatever came of it. The output has the words of the standard one.
//! Between two scenarios all pods are deleted and all programs run; the ledger of the cloud is verified after each.

#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a scenario fails by panicking, too: it is caught and reported; JSON is indexed as it was just made"
)]

mod bed;
mod calls;
mod pods;
mod runtime;
mod scenarios {
    pub(crate) mod churn;
    pub(crate) mod conntrack;
    pub(crate) mod crowd;
    pub(crate) mod daemon;
    pub(crate) mod daemonset;
    pub(crate) mod families;
    pub(crate) mod host_port;
    pub(crate) mod kubelet;
    pub(crate) mod leases;
    pub(crate) mod node_network;
    pub(crate) mod outage;
    pub(crate) mod prefixes;
    pub(crate) mod rate;
    pub(crate) mod reboot;
    pub(crate) mod refused;
    pub(crate) mod sandbox;
    pub(crate) mod soak;
    pub(crate) mod way_out;
}

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Result, anyhow};
use tideway_e2e::{
    demo::{binaries::Binaries, place, report::Report},
    interrupt, preflight,
    run_dir::RunDir,
    scenarios::{conduct, each, guarded, say},
};

use crate::{
    bed::{Agents, Bed},
    scenarios::{
        churn, conntrack, crowd, daemon, daemonset, families, host_port, kubelet, leases,
        node_network, outage, prefixes, rate, reboot, refused, sandbox, soak, way_out,
    },
};

/// Only with these variables.
const LONG: [(&str, &str); 5] = [
    ("random_faults_for_many_minutes_lose_and_double_nothing", soak::MINUTES),
    (
        "a_pod_on_another_node_than_its_lease_is_told_so_and_has_its_address_when_it_is_back",
        "TIDEWAY_LONG",
    ),
    ("a_lease_ends_early_when_its_statefulset_is_gone_for_good", "TIDEWAY_LONG"),
    ("the_flow_to_a_last_backend_is_for_kube_proxy_to_end", "TIDEWAY_LONG"),
    ("pods_in_a_prefix_are_reached_and_the_node_gives_all_of_it_back", "TIDEWAY_LONG"),
];

/// A scenario.
type Scenario = fn(&Bed) -> Result<()>;

/// Each by its name.
macro_rules! scenarios {
    ($($module:ident::$name:ident,)*) => { [$((stringify!($name), $module::$name)),*] };
}

/// In the order in which they run; exclusive pods change the node, since the ENI of a former one has to leave first. The
/// host units are uninstalled after most; the rest run with the `DaemonSet`, and the last one uninstalls that.
const SCENARIOS: [(&str, Scenario); 30] = scenarios! {
    soak::random_faults_for_many_minutes_lose_and_double_nothing,
    kubelet::a_kubelet_restart_kills_no_pod_that_holds_a_device,
    refused::annotations_written_by_hand_give_a_shared_address_and_no_eni,
    churn::a_daemon_killed_in_churn_loses_and_doubles_no_address,
    sandbox::a_killed_sandbox_of_an_exclusive_pod_gets_the_same_eni_and_address,
    outage::a_runtime_restart_frees_nothing_and_new_pods_start,
    sandbox::an_eni_whose_namespace_died_while_the_daemon_was_away_is_used_again,
    daemon::a_daemon_killed_between_allocate_and_add_still_plumbs_the_eni,
    refused::a_pod_admitted_before_the_plugin_registered_is_refused_with_the_cause,
    outage::without_the_api_server_traffic_flows_and_a_sandbox_is_made_again,
    node_network::the_numbers_follow_the_pods_at_most_once_a_second_and_stand_while_nothing_changes,
    node_network::a_deleted_object_comes_back_and_one_whose_node_is_gone_does_not,
    node_network::without_the_api_server_nothing_waits_and_the_numbers_come_when_it_is_back,
    node_network::check_names_a_kubelet_that_takes_more_pods_than_there_are_addresses,
    crowd::pods_beyond_the_addresses_wait_in_the_scheduler_and_not_on_a_node,
    rate::bandwidth_annotations_limit_both_directions_of_both_kinds,
    host_port::a_host_port_leads_to_its_pod_and_then_to_its_successor,
    families::with_the_families_that_are_the_default_pods_have_ipv4_alone_and_are_reached_by_every_way,
    way_out::external_snat_decides_whose_address_the_world_sees,
    conntrack::a_flow_from_another_node_does_not_reach_the_next_owner_of_its_address,
    conntrack::the_flow_to_a_last_backend_is_for_kube_proxy_to_end,
    leases::a_statefulset_gets_its_address_again_after_others_have_come,
    leases::a_pod_on_another_node_than_its_lease_is_told_so_and_has_its_address_when_it_is_back,
    leases::a_lease_ends_early_when_its_statefulset_is_gone_for_good,
    prefixes::pods_in_a_prefix_are_reached_and_the_node_gives_all_of_it_back,
    reboot::after_a_reboot_with_the_host_unit_an_exclusive_pod_has_its_eni_again,
    daemon::after_all_faults_uninstall_gives_everything_back,
    daemonset::a_rollout_of_the_daemonset_leaves_running_pods_alone,
    reboot::after_a_reboot_with_the_daemonset_exclusive_pods_are_replaced,
    daemonset::the_daemonset_is_uninstalled_as_documented,
};

/// What the scenarios stand on, for messages.
const BED: &str = "the cluster";
/// Where it stands; fixed, so that the next run finds what a killed one has left.
const DIR: &str = "/var/tmp/tideway-cluster";
/// Where the logs of a failed run are kept.
const KEPT_LOGS: &str = "/var/tmp/tideway-cluster-logs";

fn main() -> ExitCode {
    conduct(BED, &SCENARIOS, run)
}

/// Counts of those that passed and failed.
fn run(chosen: &[(&'static str, Scenario)]) -> Result<(usize, usize)> {
    let mut chosen = chosen.to_vec();
    for (long, variable) in LONG {
        let count = chosen.len();
        chosen.retain(|(name, _)| *name != long || std::env::var_os(variable).is_some());
        if chosen.len() < count {
            tideway_testkit::skip::skip(long, &format!("takes long: runs with {variable}"));
        }
    }
    let chosen = chosen.as_slice();
    if chosen.is_empty() {
        return Ok((0, 0));
    }
    if let Some(reason) = missing() {
        for (name, _) in chosen {
            tideway_testkit::skip::skip(name, &reason);
        }
        return Ok((0, 0));
    }
    interrupt::listen()?;
    let report = Report::start();
    let dir = RunDir::at(Path::new(DIR));
    place::claim(&report, &dir)?;
    let counts = guarded(|| on_cluster(&report, &dir, chosen));
    let failed = !matches!(counts, Ok((_, 0)));
    let problems = place::clean_up(&report, &dir, failed.then_some(Path::new(KEPT_LOGS)));
    if problems.is_empty() {
        // Only the directory above those of the run; somebody else's file in it is a reason to leave it.
        drop(fs::remove_dir(DIR));
    }
    let (passed, failed) = counts?;
    if problems.is_empty() {
        return Ok((passed, failed));
    }
    Err(anyhow!("not clean at the end: {}", problems.join("; ")))
}

/// Why the cluster cannot stand here. What could be built or installed and was not is a failure later, and no reason.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root (network namespaces, mounts, cgroups)".into());
    }
    let ready = preflight::check().and_then(|_| Binaries::find());
    ready.err().map(|e| format!("{e:#}").replace('\n', " "))
}

fn on_cluster(
    report: &Report,
    dir: &RunDir,
    chosen: &[(&'static str, Scenario)],
) -> Result<(usize, usize)> {
    let bed = Bed::set_up(report, dir)?;
    let empty = || if bed.agents() == Agents::Absent { Ok(()) } else { bed.empty() };
    let act = |scenario: Scenario| {
        scenario(&bed)?;
        bed.is_accounted()?;
        empty()?;
        bed.is_accounted()
    };
    each(BED, chosen, act, || bed.told(), empty)
}
