//! Why a journal cannot be used, and what to do.

use std::path::PathBuf;

/// A journal failed. The texts name the file, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its directory cannot be opened or made.
    #[error(
        "journal {path}: cannot be opened ({source}); check the directory's rights and the disk"
    )]
    Open {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("journal {path}: another process has it open; stop the other tidewayd first")]
    Busy {
        /// File.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "journal {path}: the file is damaged ({cause}); start once with --rebuild-journal, which moves it aside and reads cloud, runtime and kernel instead"
    )]
    Corrupt {
        /// File.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// The file was written by a newer program.
    #[error(
        "journal {path}: it has format {found}, this program knows up to {known}; install the newer version again, or start once with --rebuild-journal"
    )]
    Newer {
        /// File.
        path: PathBuf,
        /// Format of the file.
        found: String,
        /// Newest format that this program knows.
        known: u32,
    },
    /// The file belongs to another instance.
    #[error(
        "journal {path}: it belongs to instance {found}, this is {wanted}: it was cloned into an image; start once with --rebuild-journal, and keep /var/lib/tideway out of images"
    )]
    OtherInstance {
        /// File.
        path: PathBuf,
        /// Instance in the file.
        found: String,
        /// This instance.
        wanted: String,
    },
    /// The file is older than what was made durable since the machine started.
    #[error(
        "journal {path}: it was set back: its last commit is number {there}, and {seen} were made; what was promised since is not in it. Put the newest file back, or start once with --rebuild-journal"
    )]
    SetBack {
        /// File.
        path: PathBuf,
        /// Number of its last commit.
        there: u64,
        /// Commits that were made.
        seen: u64,
    },
    /// A commit failed.
    #[error(
        "journal {path}: a commit failed ({cause}); nothing of it was promised. Free space or repair the disk; tidewayd tries again by itself"
    )]
    Commit {
        /// File.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// Reading failed.
    #[error("journal {path}: reading failed ({cause}); check the disk")]
    Read {
        /// File.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
}
