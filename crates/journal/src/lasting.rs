//! A journal that outlives trouble with its file.
//!
//! After a failed commit nobody knows what the file holds, and redb refuses to go on. The file is closed then, and opened anew
//! for the next commit. What is known to be durable is kept in memory beside it: whatever the file holds after the trouble (the
//! failed batch or not, an older copy that somebody put back, nothing at all) is first set to that.
//!
//! Between two runs nobody remembers. So the number of the last commit is also written beside the journal's disk, into a file
//! that a reboot forgets: a journal whose own number is lower was set back, and what was promised since is not in it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{Change, Journal, JournalError, RedbJournal};

/// A journal in a file that may fail and come back while the process runs.
#[derive(Debug)]
pub struct LastingJournal {
    path: PathBuf,
    instance_id: String,
    witness: Option<File>,
    file: Option<RedbJournal>,
    kept: BTreeMap<String, Vec<u8>>,
    commits: u64,
}

impl LastingJournal {
    /// Opens the journal of this instance, or makes a new one; see [`RedbJournal::open`]. `witness` is a file on another disk
    /// than the journal's, in memory best; refused is a journal that has less commits than it tells of.
    pub fn open(path: &Path, instance_id: &str, witness: &Path) -> Result<Self, JournalError> {
        let mut file = RedbJournal::open(path, instance_id)?;
        let seen = fs::read_to_string(witness).unwrap_or_default();
        let (there, seen) = (file.commits(), seen.parse().unwrap_or(0));
        // One without any is new, or nobody counted then.
        if there != 0 && there < seen {
            return Err(JournalError::SetBack { path: path.to_owned(), there, seen });
        }
        file.count_from(seen);
        let kept = file.load()?.into_iter().collect();
        let (path, instance_id) = (path.to_owned(), instance_id.to_owned());
        // The number is written over, and only grows, but for a file without any. A witness that cannot be kept accuses nobody.
        let witness = OpenOptions::new().write(true).create(true).truncate(seen == 0).open(witness);
        let (witness, commits) = (witness.ok(), file.commits());
        Ok(Self { path, instance_id, witness, file: Some(file), kept, commits })
    }

    fn reopened(&self) -> Result<RedbJournal, JournalError> {
        let mut file = RedbJournal::open(&self.path, &self.instance_id)?;
        file.count_from(self.commits);
        let there: BTreeMap<String, Vec<u8>> = file.load()?.into_iter().collect();
        let strange = there.keys().filter(|key| !self.kept.contains_key(*key));
        let missing = self.kept.iter().filter(|(key, value)| there.get(*key) != Some(*value));
        let difference: Vec<Change> = strange
            .map(|key| (key.clone(), None))
            .chain(missing.map(|(key, value)| (key.clone(), Some(value.clone()))))
            .collect();
        file.commit(&difference)?;
        Ok(file)
    }
}

impl Journal for LastingJournal {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
        Ok(self.kept.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.reopened()?,
        };
        if let Err(e) = file.commit(batch) {
            file.close();
            return Err(e);
        }
        self.commits = file.commits();
        if let Some(witness) = &self.witness {
            drop(witness.write_all_at(self.commits.to_string().as_bytes(), 0));
        }
        self.file = Some(file);
        for (key, value) in batch {
            match value {
                Some(value) => self.kept.insert(key.clone(), value.clone()),
                None => self.kept.remove(key),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, bytes: usize) -> Change {
        (key.to_owned(), Some(vec![0x5a; bytes]))
    }

    #[test]
    fn after_trouble_the_file_is_set_to_what_is_known_whatever_it_holds_by_then() {
        let dir = tempfile::TempDir::new().unwrap();
        for older in [false, true] {
            let path = dir.path().join(format!("{older}.redb"));
            let witness = path.with_extension("commits");
            let mut journal = LastingJournal::open(&path, "i-1", &witness).unwrap();
            journal.commit(&[put("a", 1), put("b", 2)]).unwrap();
            journal.file = None;
            fs::remove_file(&path).unwrap();
            if older {
                let mut file = RedbJournal::open(&path, "i-1").unwrap();
                file.commit(&[put("b", 9), put("stranger", 1)]).unwrap();
            }
            journal.commit(&[put("c", 3)]).unwrap();
            drop(journal);
            let kept = RedbJournal::open(&path, "i-1").unwrap().load().unwrap();
            let sizes: Vec<_> = kept.iter().map(|(key, value)| (&**key, value.len())).collect();
            assert_eq!(sizes, [("a", 1), ("b", 2), ("c", 3)], "older: {older}");
            LastingJournal::open(&path, "i-1", &witness).expect("its own file accuses it");
        }
    }

    #[test]
    fn a_journal_that_was_set_back_between_two_runs_is_refused_and_a_rebuilt_one_is_taken() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (path, older, witness) = (at("journal"), at("older"), at("witness"));
        let open = || LastingJournal::open(&path, "i-1", &witness);
        let mut journal = open().unwrap();
        journal.commit(&[put("a", 1)]).unwrap();
        drop(journal);
        fs::copy(&path, &older).unwrap();
        let mut journal = open().unwrap();
        journal.commit(&[put("a", 2)]).unwrap();
        drop(journal);
        drop(open().expect("it is as it was left"));
        fs::copy(&older, &path).unwrap();
        let refused = open().unwrap_err();
        assert!(matches!(refused, JournalError::SetBack { there: 1, seen: 2, .. }), "{refused:?}");
        assert!(refused.to_string().contains("--rebuild-journal"), "{refused}");
        RedbJournal::rebuild(&path).unwrap();
        let mut journal = open().unwrap();
        journal.commit(&[put("b", 1)]).unwrap();
        drop(journal);
        drop(open().expect("it goes on counting"));
        // After a reboot nobody can tell.
        fs::remove_file(&witness).unwrap();
        fs::copy(&older, &path).unwrap();
        open().unwrap();
    }

    #[test]
    fn a_witness_that_holds_no_number_is_written_anew() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, witness) = (dir.path().join("journal"), dir.path().join("witness"));
        fs::write(&witness, "no number").unwrap();
        let mut journal = LastingJournal::open(&path, "i-1", &witness).unwrap();
        for commits in 1..=11 {
            journal.commit(&[put("a", commits)]).unwrap();
            assert_eq!(fs::read_to_string(&witness).unwrap(), commits.to_string());
        }
    }
}
