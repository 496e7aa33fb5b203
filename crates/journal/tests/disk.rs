//! Disks that are full, read-only or not what they were: nothing passes for durable that is not, and the journal goes on when
//! the disk does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::{Path, PathBuf};

use tideway_journal::{Change, Journal as _, JournalError, LastingJournal, RedbJournal};
use tideway_testkit::{TinyDisk, requires_root};

fn put(key: &str, bytes: usize) -> Change {
    (key.to_owned(), Some(vec![0x5a; bytes]))
}

fn open(path: &Path) -> Result<LastingJournal, JournalError> {
    LastingJournal::open(path, "i-1", &path.with_extension("commits"))
}

fn keys(path: &Path) -> Vec<String> {
    let kept = RedbJournal::open(path, "i-1").unwrap().load().unwrap();
    kept.into_iter().map(|(key, _value)| key).collect()
}

/// A journal on a disk that is full by now; what it holds.
fn filled(disk: &TinyDisk) -> (PathBuf, LastingJournal, Vec<String>) {
    let path = disk.path().join("state/journal.redb");
    let mut journal = open(&path).unwrap();
    let mut durable = Vec::new();
    disk.fill().unwrap();
    for n in 0..10_000 {
        let key = format!("key-{n:05}");
        match journal.commit(&[put(&key, 4000)]) {
            Ok(()) => durable.push(key),
            Err(e) => {
                assert!(matches!(e, JournalError::Commit { .. }), "{e:?}");
                assert!(e.to_string().contains("No space left"), "{e}");
                return (path, journal, durable);
            }
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_fails_a_commit_whole_and_the_journal_goes_on_when_there_is_room() {
    if !requires_root("a_full_disk_fails_a_commit_whole_and_the_journal_goes_on_when_there_is_room")
    {
        return;
    }
    let disk = TinyDisk::mount(8192).unwrap();
    let (path, mut journal, mut durable) = filled(&disk);
    assert!(journal.commit(&[put("again", 4000)]).is_err());
    disk.free().unwrap();
    journal.commit(&[put("room", 10)]).unwrap();
    durable.push("room".to_owned());
    drop(journal);
    assert_eq!(keys(&path), durable);
}

#[test]
fn a_journal_that_found_no_room_at_its_first_start_is_no_damaged_one_later() {
    if !requires_root("a_journal_that_found_no_room_at_its_first_start_is_no_damaged_one_later") {
        return;
    }
    let disk = TinyDisk::mount(64).unwrap();
    let path = disk.path().join("journal.redb");
    disk.fill().unwrap();
    for _try in 0..2 {
        let e = open(&path).unwrap_err();
        assert!(!matches!(e, JournalError::Corrupt { .. }), "{e:?}");
        assert!(e.to_string().contains("No space left"), "{e}");
        assert!(!path.exists(), "half of a journal has its name");
    }
}

#[test]
fn a_read_only_disk_is_named_and_opened_when_it_can_be_written_again() {
    if !requires_root("a_read_only_disk_is_named_and_opened_when_it_can_be_written_again") {
        return;
    }
    let disk = TinyDisk::mount(8192).unwrap();
    let path = disk.path().join("journal.redb");
    open(&path).unwrap().commit(&[put("a", 1)]).unwrap();
    disk.read_only(true).unwrap();
    let e = open(&path).unwrap_err();
    assert!(matches!(e, JournalError::Open { .. }), "{e:?}");
    assert!(e.to_string().contains("Read-only file system"), "{e}");
    disk.read_only(false).unwrap();
    assert_eq!(keys(&path), ["a"]);
}
