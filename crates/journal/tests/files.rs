//! What is wrong with a file is said clearly, and nothing is deleted.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, io::Write as _, path::PathBuf};

use tempfile::TempDir;
use tideway_journal::{Journal as _, JournalError, MemoryJournal, RedbJournal};

fn put(key: &str, value: &str) -> (String, Option<Vec<u8>>) {
    (key.to_owned(), Some(value.as_bytes().to_vec()))
}

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state/journal.redb");
    (dir, path)
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let (_dir, path) = place();
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    journal.commit(&[put("b", "2"), put("a", "1"), put("c", "3")]).unwrap();
    journal.commit(&[("c".to_owned(), None), put("a", "one")]).unwrap();
    drop(journal);
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    let kept = vec![("a".to_owned(), b"one".to_vec()), ("b".to_owned(), b"2".to_vec())];
    assert_eq!(journal.load().unwrap(), kept);
}

#[test]
fn within_a_batch_the_last_change_of_a_key_wins() {
    let (_dir, path) = place();
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    journal.commit(&[put("a", "1"), ("a".to_owned(), None), put("a", "2")]).unwrap();
    assert_eq!(journal.load().unwrap(), vec![("a".to_owned(), b"2".to_vec())]);
}

#[test]
fn a_journal_cloned_into_an_image_is_refused() {
    let (_dir, path) = place();
    drop(RedbJournal::open(&path, "i-1").unwrap());
    let e = RedbJournal::open(&path, "i-2").unwrap_err();
    assert!(matches!(e, JournalError::OtherInstance { .. }), "{e}");
    let text = e.to_string();
    assert!(text.contains("i-1") && text.contains("--rebuild-journal"), "{text}");
}

#[test]
fn garbage_is_called_damaged_and_stays_as_it_is() {
    let (_dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![0x5a; 8192]).unwrap();
    let e = RedbJournal::open(&path, "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Corrupt { .. }), "{e}");
    assert!(e.to_string().contains("--rebuild-journal"), "{e}");
    assert_eq!(fs::read(&path).unwrap(), vec![0x5a; 8192]);
}

#[test]
fn a_truncated_file_is_called_damaged() {
    let (_dir, path) = place();
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    journal.commit(&[put("a", "1")]).unwrap();
    drop(journal);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 3).unwrap();
    let e = RedbJournal::open(&path, "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Corrupt { .. }), "{e:?}");
}

#[test]
fn overwritten_pages_never_give_wrong_entries() {
    let (_dir, path) = place();
    let mut journal = RedbJournal::open(&path, "i-1").unwrap();
    let batch: Vec<_> = (0..200).map(|n| put(&format!("key-{n:04}"), "value")).collect();
    journal.commit(&batch).unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for at in (4096..whole.len()).step_by(4096) {
        let mut torn = whole.clone();
        for byte in torn.iter_mut().skip(at).take(512) {
            *byte ^= 0xff;
        }
        fs::write(&path, &torn).unwrap();
        if let Ok(mut journal) = RedbJournal::open(&path, "i-1")
            && let Ok(kept) = journal.load()
        {
            for (key, value) in kept {
                assert!(key.starts_with("key-") && value == b"value", "{key}: {value:?}");
            }
        }
    }
}

#[test]
fn a_file_of_a_newer_program_is_refused() {
    let (_dir, path) = place();
    drop(RedbJournal::open(&path, "i-1").unwrap());
    let header: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("header");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(header).unwrap().insert("format", "2").unwrap();
    write.commit().unwrap();
    drop(database);
    let e = RedbJournal::open(&path, "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Newer { .. }), "{e}");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let (_dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let other: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("other");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(other).unwrap().insert("a", "b").unwrap();
    write.commit().unwrap();
    drop(database);
    let e = RedbJournal::open(&path, "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Corrupt { .. }), "{e}");
}

#[test]
fn two_daemons_never_share_a_journal() {
    let (_dir, path) = place();
    let _first = RedbJournal::open(&path, "i-1").unwrap();
    let e = RedbJournal::open(&path, "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Busy { .. }), "{e}");
}

#[test]
fn rebuilding_moves_the_old_file_aside_and_keeps_it() {
    let (_dir, path) = place();
    assert_eq!(RedbJournal::rebuild(&path).unwrap(), None);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(&path).unwrap().write_all(b"precious").unwrap();
    let aside = RedbJournal::rebuild(&path).unwrap().unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"precious");
    assert!(RedbJournal::open(&path, "i-1").unwrap().load().unwrap().is_empty());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let e = RedbJournal::open(&file.join("journal.redb"), "i-1").unwrap_err();
    assert!(matches!(e, JournalError::Open { .. }), "{e}");
}

#[test]
fn a_failed_commit_in_memory_changes_nothing_and_a_snapshot_is_what_a_crash_leaves() {
    let mut journal = MemoryJournal::default();
    journal.commit(&[put("a", "1")]).unwrap();
    let snapshot = journal.snapshot();
    journal.fail_next(1);
    assert!(journal.commit(&[put("a", "2")]).is_err());
    assert_eq!(journal.snapshot(), snapshot);
    journal.commit(&[put("a", "2")]).unwrap();
    let mut old = MemoryJournal::with(snapshot);
    assert_eq!(old.load().unwrap(), vec![("a".to_owned(), b"1".to_vec())]);
    assert_eq!(journal.commits(), 2);
}
