//! The journal as a redb file.
//!
//! redb writes checksummed pages, flips one slot and fsyncs once per commit; after a crash the newest slot with a valid
//! checksum wins. The header table names format and instance and is written in the first commit: a file with entries and
//! without it is damaged, one without any table is new.

#![expect(clippy::wildcard_enum_match_arm, reason = "redb's errors are foreign and grow")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError,
};

use crate::{Change, Journal, JournalError};

/// Pages that are kept in memory, bytes. A node has a few hundred small records; redb would take up to a gibibyte.
const CACHE: usize = 2 * 1024 * 1024;

/// Newest format of the file that this program knows.
const FORMAT: u32 = 1;
const HEADER: TableDefinition<'_, &str, &str> = TableDefinition::new("header");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const KEY_FORMAT: &str = "format";
const KEY_INSTANCE: &str = "instance";
const KEY_COMMITS: &str = "commits";

/// A journal in a file. One process has it open at a time.
#[derive(Debug)]
pub struct RedbJournal {
    path: PathBuf,
    database: Database,
    commits: u64,
}

impl RedbJournal {
    /// Opens the journal of this instance, or makes a new one with its directory. Every page is checked: journals are small,
    /// and a damaged one must be known before anything is promised from it.
    pub fn open(path: &Path, instance_id: &str) -> Result<Self, JournalError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| open_error(path, source))?;
        }
        let mut journal =
            if is_new(path)? { Self::make(path, instance_id)? } else { Self::at(path, path)? };
        if journal.is_blank()? {
            journal.write_header(instance_id)?;
        }
        journal.commits = journal.check_header(instance_id)?;
        Ok(journal)
    }

    /// The number of the last commit: the file says how old it is. 0: there was none, or only such as nobody counted.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// The next commit gets a higher number than this.
    pub(crate) fn count_from(&mut self, commits: u64) {
        self.commits = self.commits.max(commits);
    }

    /// A new journal gets its name when it is whole: what a full disk or a kill leaves of one that was begun would pass for
    /// damaged.
    fn make(path: &Path, instance_id: &str) -> Result<Self, JournalError> {
        let failed = |source| open_error(path, source);
        let begun = with_suffix(path, ".begun");
        let made = absent_is_fine(std::fs::remove_file(&begun)).map_err(failed).and_then(|()| {
            let journal = Self::at(&begun, path)?;
            journal.write_header(instance_id)?;
            std::fs::rename(&begun, path).map_err(failed)?;
            // The name must survive a power loss too.
            if let Some(parent) = path.parent() {
                std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
            }
            Ok(journal)
        });
        if made.is_err() {
            // It takes room on a full disk. If this fails too, the next try removes it.
            drop(std::fs::remove_file(&begun));
        }
        made
    }

    /// The database in `file`, which people know as `path`.
    fn at(file: &Path, path: &Path) -> Result<Self, JournalError> {
        unharmed(path, || {
            let mut database = Database::builder()
                .set_cache_size(CACHE)
                .create(file)
                .map_err(|e| database_error(path, e))?;
            database.check_integrity().map_err(|e| database_error(path, e))?;
            Ok(Self { path: path.to_owned(), database, commits: 0 })
        })
    }

    /// Moves the file aside, so that the next [`RedbJournal::open`] begins a new one. The old one is never deleted. Answers
    /// its new name; none when there was no file.
    pub fn rebuild(path: &Path) -> Result<Option<PathBuf>, JournalError> {
        if !path.exists() {
            return Ok(None);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let aside = with_suffix(path, &format!(".aside-{}", since.as_millis()));
        std::fs::rename(path, &aside).map_err(|source| open_error(path, source))?;
        Ok(Some(aside))
    }

    /// Closes the file, also after trouble with it.
    pub(crate) fn close(self) {
        let Self { path, database, .. } = self;
        // Whatever is wrong with the file was told by the commit that failed.
        drop(unharmed(&path, || {
            drop(database);
            Ok(())
        }));
    }

    /// No table at all: a new file, or one whose maker was killed before its first commit.
    fn is_blank(&self) -> Result<bool, JournalError> {
        let read = self.database.begin_read().map_err(|e| self.read_error(&e))?;
        let mut tables = read.list_tables().map_err(|e| self.storage_error(&e))?;
        Ok(tables.next().is_none())
    }

    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
        let read = self.database.begin_read().map_err(|e| self.read_error(&e))?;
        let table = match read.open_table(ENTRIES) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(e) => return Err(self.table_error(&e)),
        };
        let rows = table.iter().map_err(|e| self.storage_error(&e))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|e| self.storage_error(&e))?;
            Ok((key.value().to_owned(), value.value().to_vec()))
        })
        .collect()
    }

    fn write_header(&self, instance_id: &str) -> Result<(), JournalError> {
        let failed = |e: &dyn std::fmt::Display| self.commit_error(e);
        let write = self.database.begin_write().map_err(|e| failed(&e))?;
        {
            let mut header = write.open_table(HEADER).map_err(|e| failed(&e))?;
            let format = FORMAT.to_string();
            header.insert(KEY_FORMAT, format.as_str()).map_err(|e| failed(&e))?;
            header.insert(KEY_INSTANCE, instance_id).map_err(|e| failed(&e))?;
            write.open_table(ENTRIES).map_err(|e| failed(&e))?;
        }
        write.commit().map_err(|e| failed(&e))
    }

    /// Answers the number of the last commit.
    fn check_header(&self, instance_id: &str) -> Result<u64, JournalError> {
        let path = self.path.clone();
        let read = self.database.begin_read().map_err(|e| self.read_error(&e))?;
        let header = match read.open_table(HEADER) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => {
                return Err(JournalError::Corrupt { path, cause: "it has no header".into() });
            }
            Err(e) => return Err(self.table_error(&e)),
        };
        let text = |key| -> Result<String, JournalError> {
            let value = header.get(key).map_err(|e| self.storage_error(&e))?;
            Ok(value.map(|v| v.value().to_owned()).unwrap_or_default())
        };
        let format = text(KEY_FORMAT)?;
        if format.parse::<u32>().is_ok_and(|n| n > FORMAT) {
            return Err(JournalError::Newer { path, found: format, known: FORMAT });
        }
        if format != FORMAT.to_string() {
            let cause = format!("its format is {format:?}");
            return Err(JournalError::Corrupt { path, cause });
        }
        let found = text(KEY_INSTANCE)?;
        if found != instance_id {
            let wanted = instance_id.to_owned();
            return Err(JournalError::OtherInstance { path, found, wanted });
        }
        Ok(text(KEY_COMMITS)?.parse().unwrap_or(0))
    }

    fn read_error(&self, cause: &dyn std::fmt::Display) -> JournalError {
        JournalError::Read { path: self.path.clone(), cause: cause.to_string() }
    }

    fn commit_error(&self, cause: &dyn std::fmt::Display) -> JournalError {
        JournalError::Commit { path: self.path.clone(), cause: cause.to_string() }
    }

    fn storage_error(&self, e: &StorageError) -> JournalError {
        match e {
            StorageError::Corrupted(cause) => {
                JournalError::Corrupt { path: self.path.clone(), cause: cause.clone() }
            }
            _ => self.read_error(e),
        }
    }

    fn table_error(&self, e: &TableError) -> JournalError {
        match e {
            TableError::Storage(e) => self.storage_error(e),
            other => JournalError::Corrupt { path: self.path.clone(), cause: other.to_string() },
        }
    }
}

impl Journal for RedbJournal {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
        unharmed(&self.path, || self.entries())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        let number = self.commits.saturating_add(1);
        unharmed(&self.path, || self.write(batch, number))?;
        self.commits = number;
        Ok(())
    }
}

impl RedbJournal {
    fn write(&self, batch: &[Change], number: u64) -> Result<(), JournalError> {
        let failed = |e: &dyn std::fmt::Display| self.commit_error(e);
        let write = self.database.begin_write().map_err(|e| failed(&e))?;
        {
            let mut header = write.open_table(HEADER).map_err(|e| failed(&e))?;
            header.insert(KEY_COMMITS, number.to_string().as_str()).map_err(|e| failed(&e))?;
            let mut table = write.open_table(ENTRIES).map_err(|e| failed(&e))?;
            for (key, value) in batch {
                match value {
                    Some(value) => {
                        table.insert(key.as_str(), value.as_slice()).map_err(|e| failed(&e))?;
                    }
                    None => {
                        table.remove(key.as_str()).map_err(|e| failed(&e))?;
                    }
                }
            }
        }
        write.commit().map_err(|e| failed(&e))
    }
}

/// Does `work`; redb panics on some damaged pages, and a damaged file must end in a clear error, never in a panic.
fn unharmed<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
        let cause = "a page cannot be read".to_owned();
        Err(JournalError::Corrupt { path: path.to_owned(), cause })
    })
}

/// Nothing was ever made at this path, or no more than a name.
fn is_new(path: &Path) -> Result<bool, JournalError> {
    match std::fs::metadata(path) {
        Ok(there) => Ok(there.len() == 0),
        Err(e) => absent_is_fine(Err(e)).map(|()| true).map_err(|e| open_error(path, e)),
    }
}

fn absent_is_fine(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn open_error(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Open { path: path.to_owned(), source }
}

fn database_error(path: &Path, e: DatabaseError) -> JournalError {
    let path = path.to_owned();
    match e {
        DatabaseError::DatabaseAlreadyOpen => JournalError::Busy { path },
        DatabaseError::UpgradeRequired(found) => {
            JournalError::Newer { path, found: format!("redb {found}"), known: FORMAT }
        }
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != std::io::ErrorKind::InvalidData
                && source.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            JournalError::Open { path, source }
        }
        other => JournalError::Corrupt { path, cause: other.to_string() },
    }
}
