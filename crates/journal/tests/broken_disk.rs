//! A disk that breaks under an open journal. Alone in its process: a child that is just being made has every open file of the
//! others, whose disks would stay full or busy for that moment.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    process::{Child, Command},
    time::{Duration, Instant},
};

use tideway_journal::{Change, Journal as _, RedbJournal};
use tideway_testkit::{TinyDisk, requires_root, skip};

fn put(key: &str) -> Change {
    (key.to_owned(), Some(vec![0x5a; 1000]))
}

/// A process in a mount namespace of its own, which has every mount of ours; ended on drop.
struct Holder(Child);

impl Holder {
    fn new() -> Self {
        let mut child = Command::new("unshare").args(["--mount", "sleep", "60"]).spawn().unwrap();
        let theirs = format!("/proc/{}/ns/mnt", child.id());
        let ours = fs::read_link("/proc/self/ns/mnt").unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while fs::read_link(&theirs).unwrap() == ours {
            assert!(Instant::now() < end, "unshare makes no mount namespace");
            assert!(child.try_wait().unwrap().is_none(), "unshare ended");
        }
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_broken_disk_loses_no_commit_while_another_mount_namespace_holds_it() {
    let test = "a_broken_disk_loses_no_commit_while_another_mount_namespace_holds_it";
    if !requires_root(test) {
        return;
    }
    let disk = match TinyDisk::ext4() {
        Ok(disk) => disk,
        Err(e) => return skip(test, &format!("no disk of ext4: {e}")),
    };
    let path = disk.path().join("journal.redb");
    let open = || RedbJournal::open(&path, "i-1").unwrap();
    let mut journal = open();
    journal.commit(&[put("a")]).unwrap();
    let _holder = Holder::new();
    journal.commit(&[put("b")]).unwrap();
    disk.fails().unwrap();
    let e = journal.commit(&[put("c")]).unwrap_err();
    assert!(e.to_string().contains("Read-only file system"), "{e}");
    drop(journal);
    disk.repair().unwrap();
    let kept = open().load().unwrap();
    assert_eq!(kept.iter().map(|(key, _value)| key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}
