//! The disk below the journal: full, read-only, with files on it that are no journal of ours. The daemon says what is wrong,
//! promises nothing, keeps what there is, and goes on by itself.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use tideway_node_tests::{
    Bed, Node, Pod, Setup,
    cni::Call,
    netns, node, rpc,
    wait::{Look, s, until},
};
use tideway_testkit::TinyDisk;

use crate::run::run;

/// A pool that gives more addresses than the room that a small journal has taken already can note.
fn setup() -> Setup {
    Setup::default().cold().sized(4, 30).pool("low", 40).pool("high", 58)
}

/// The node runs with these of its paths on a small disk.
fn started_on_a_small_disk(bed: &mut Bed, paths: &[&str]) -> Result<Arc<TinyDisk>> {
    let disk = Arc::new(TinyDisk::mount(8192)?);
    started_on(bed, &disk, paths)?;
    Ok(disk)
}

fn started_on(bed: &mut Bed, disk: &Arc<TinyDisk>, paths: &[&str]) -> Result<()> {
    let here = bed.node_mut(0)?;
    here.put_on(disk, paths);
    here.start()?;
    here.warm().map(drop)
}

/// Fills the disk and adds pods until the journal finds no room; those that it has, and the one that was refused.
fn fill(here: &Node, disk: &TinyDisk) -> Result<(Vec<Pod>, Pod)> {
    let mut pods: Vec<Pod> = ["a", "b", "c"].into_iter().map(Pod::new).collect::<Result<_>>()?;
    for pod in &pods {
        here.add(pod)?;
    }
    disk.fill()?;
    for n in 0..50 {
        let pod = Pod::new(&format!("{}-{n}", "long-name".repeat(20)))?;
        let answer = here.cni("ADD", &pod, &Call::default())?;
        if !answer.fine {
            let text = answer.fails_with(11)?;
            ensure!(text.contains("No space left") && text.contains("journal"), "{text}");
            return Ok((pods, pod));
        }
        pods.push(pod);
    }
    bail!("the disk is never full")
}

/// Whoever asks is told, in these words.
pub(crate) fn told(here: &Node, words: &str) -> Result<()> {
    until(&format!("status says {words:?}"), s(10), || {
        Ok(match rpc::status(&here.socket()) {
            Ok(status) if !status.ready && status.reason.contains(words) => Look::Seen(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })?;
    let page = |path: &str| {
        netns::run(&here.host, "curl", ["-s", &format!("http://127.0.0.1:9841{path}")])
    };
    let ready = page("/readyz")?;
    ensure!(ready.contains(words), "/readyz: {ready}");
    let metrics = page("/metrics")?;
    ensure!(metrics.contains("tideway_source_up{source=\"journal\"} 0"), "{metrics}");
    let pod = Pod::new("asks")?;
    for (verb, code) in [("ADD", 11), ("STATUS", 50)] {
        let text = here.cni(verb, &pod, &Call::newest())?.fails_with(code)?;
        ensure!(text.contains(words), "{verb}: {text}");
    }
    Ok(())
}

/// DEL of a pod whose end can be noted nowhere.
fn del_fails(here: &Node, pod: &Pod, words: &str) -> Result<()> {
    let (code, text) = here.cni("DEL", pod, &Call::default())?.failure()?;
    ensure!(code == 5 && text.contains(words), "{code}: {text}");
    Ok(())
}

#[test]
fn a_full_disk_refuses_adds_and_dels_keeps_pods_and_mends_without_a_restart() {
    run(setup(), |bed| {
        let target = bed.target()?;
        let disk = started_on_a_small_disk(bed, &["journal", "tickets"])?;
        let here = bed.node_mut(0)?;
        let (mut pods, refused) = fill(here, &disk)?;
        told(here, "No space left")?;
        let shown = here.show()?;
        ensure!(shown.source_errors.iter().any(|e| e.starts_with("journal")), "{shown:?}");
        pods.first().context("no pod")?.reaches(target)?;
        // What was never promised has ended; what was has not, however often it is asked.
        here.del(&refused)?;
        let ended = pods.pop().context("no pod")?;
        for _repeated in 0..2 {
            del_fails(here, &ended, "No space left")?;
        }
        ensure!(!netns::pings(ended.path(), target)?, "it still has its network");
        disk.free()?;
        here.wait_ready()?;
        here.add(&refused)?;
        here.del(&ended)?;
        // What was promised and what was not is what the next run finds.
        here.kill()?;
        here.start()?;
        pods.push(refused);
        let shown = here.show()?;
        let known = |pod: &Pod| shown.pods.iter().any(|p| p.container_id == pod.container);
        ensure!(shown.pods.len() == pods.len() && pods.iter().all(known), "{shown:?}");
        for pod in [pods.first(), pods.last()].into_iter().flatten() {
            pod.reaches(target)?;
        }
        pods.iter().try_for_each(|pod| here.del(pod))
    });
}

#[test]
fn a_del_that_only_a_ticket_has_room_for_is_done_when_the_journal_has_room_again() {
    run(setup(), |bed| {
        let target = bed.target()?;
        let disk = started_on_a_small_disk(bed, &["journal"])?;
        let here = bed.node_mut(0)?;
        let (mut pods, _refused) = fill(here, &disk)?;
        // The last one stays: it was promised just before the disk was full.
        let (first, second) = (pods.remove(0), pods.remove(0));
        here.del(&first)?;
        ensure!(here.waiting_tickets()?.len() == 1, "{:?}", here.waiting_tickets()?);
        // The next run begins with a full disk too.
        here.kill()?;
        here.del(&second)?;
        here.spawn()?;
        disk.free()?;
        here.wait_ready()?;
        until("the tickets are worked off", s(10), || {
            let left = here.waiting_tickets()?;
            Ok(Look::of(left.is_empty(), || format!("{left:?}")))
        })?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == pods.len(), "{}", node::brief(&shown));
        for pod in &pods {
            pod.reaches(target)?;
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn a_disk_that_is_read_only_at_the_start_is_waited_for() {
    run(Setup::default().cold(), |bed| {
        let target = bed.target()?;
        let disk = started_on_a_small_disk(bed, &["journal", "tickets"])?;
        let here = bed.node_mut(0)?;
        let pod = Pod::new("p")?;
        here.add(&pod)?;
        here.stop()?;
        disk.read_only(true)?;
        for _again in 0..2 {
            here.spawn()?;
            told(here, "Read-only file system")?;
            del_fails(here, &pod, "Read-only file system")?;
            pod.reaches(target)?;
            let ended = here.stop()?;
            ensure!(ended.status.success(), "tidewayd ended with {}", ended.status);
        }
        here.spawn()?;
        told(here, "Read-only file system")?;
        disk.read_only(false)?;
        here.wait_ready()?;
        pod.reaches(target)?;
        here.del(&pod)
    });
}

#[test]
fn a_disk_that_turns_read_only_under_a_running_daemon_costs_promises_and_no_pods() {
    let test = "a_disk_that_turns_read_only_under_a_running_daemon_costs_promises_and_no_pods";
    let disk = match TinyDisk::ext4() {
        Ok(disk) => Arc::new(disk),
        Err(e) => return tideway_testkit::skip(test, &format!("no disk of ext4: {e}")),
    };
    run(Setup::default().cold(), |bed| {
        let target = bed.target()?;
        started_on(bed, &disk, &["journal", "tickets"])?;
        let here = bed.node_mut(0)?;
        let (stays, ends, refused) = (Pod::new("stays")?, Pod::new("ends")?, Pod::new("new")?);
        let ips = here.add(&stays)?;
        here.add(&ends)?;
        disk.fails()?;
        let said = here.cni("ADD", &refused, &Call::default())?.fails_with(11)?;
        ensure!(said.contains("Read-only file system") && said.contains("journal"), "{said}");
        told(here, "Read-only file system")?;
        // What only takes away is done, and told to have no record.
        del_fails(here, &ends, "Read-only file system")?;
        ensure!(!netns::pings(ends.path(), target)?, "it still has its network");
        stays.reaches(target)?;
        let ended = here.stop()?;
        ensure!(ended.status.success(), "tidewayd ended with {}", ended.status);
        disk.repair()?;
        here.start()?;
        stays.reaches(target)?;
        ensure!(here.add(&stays)? == ips, "it has another address now");
        here.del(&ends)?;
        here.add_patiently(&refused, s(20))?;
        refused.reaches(target)?;
        here.del(&refused)?;
        here.del(&stays)
    });
}

/// What happens to the journal's file while the daemon is away, and what is said about it.
type Damage = (fn(&Path) -> Result<()>, &'static str);

fn torn(path: &Path) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.set_len(file.metadata()?.len() / 3)?)
}

fn corrupt(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0xff);
    node::overwrite(path, &bytes)
}

fn of_the_future(path: &Path) -> Result<()> {
    let header: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("header");
    let database = redb::Database::create(path)?;
    let write = database.begin_write()?;
    write.open_table(header)?.insert("format", "2")?;
    Ok(write.commit()?)
}

#[test]
fn a_journal_that_is_torn_corrupt_or_of_the_future_is_told_and_one_that_is_put_back_is_taken() {
    run(Setup::default(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let stays = Pod::new("stays")?;
        here.add(&stays)?;
        let damages: [Damage; 3] =
            [(torn, "damaged"), (corrupt, "damaged"), (of_the_future, "newer version")];
        for (damage, words) in damages {
            let ends = Pod::new("ends")?;
            here.add(&ends)?;
            here.stop()?;
            let kept = fs::read(here.journal())?;
            damage(&here.journal())?;
            here.spawn()?;
            told(here, words)?;
            told(here, "--rebuild-journal")?;
            here.del(&ends)?;
            stays.reaches(target)?;
            // Under another name first: the daemon looks at it again and again.
            let whole = here.journal().with_extension("whole");
            fs::write(&whole, &kept)?;
            fs::rename(&whole, here.journal())?;
            here.wait_ready()?;
            until("the ticket is worked off", s(10), || {
                let (shown, left) = (here.show()?, here.waiting_tickets()?);
                let done = shown.pods.len() == 1 && left.is_empty();
                Ok(Look::of(done, || format!("{left:?}, {}", node::brief(&shown))))
            })?;
            stays.reaches(target)?;
        }
        here.del(&stays)
    });
}
