//! Durable state of a node, behind a trait.
//!
//! A journal is a map from keys to values. A commit changes several keys at once, completely or not at all, and is on the
//! disk when it returns. What the values mean is the allocator's business. The file belongs to one instance of the cloud: a
//! journal that came along in an image is refused, since its ENIs and addresses are another machine's. A file that was lost
//! looks like one that is new: whether a journal without entries is to be believed, the kernel's links must tell.

mod error;
mod lasting;
mod memory;
mod redb_file;

pub use error::JournalError;
pub use lasting::LastingJournal;
pub use memory::MemoryJournal;
pub use redb_file::RedbJournal;

/// One change: a key with its new value, or its end.
pub type Change = (String, Option<Vec<u8>>);

/// A durable map.
pub trait Journal {
    /// Everything that is kept, in the order of the keys.
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, JournalError>;

    /// Makes all changes of the batch, in order, in one durable commit. After an error nothing of the batch is durable as
    /// far as the caller may rely on it; it must not act on it.
    fn commit(&mut self, batch: &[Change]) -> Result<(), JournalError>;
}
