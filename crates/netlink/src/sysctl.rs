//! Kernel settings below `/proc/sys`. `/proc/sys/net` shows the namespace of the calling thread, therefore the caller
//! enters the right one first.

use std::{fs, io, path::Path};

/// Writes a value if it differs; gives back the old one if it did.
pub(crate) fn set(key: &str, value: &str) -> io::Result<Option<String>> {
    let path = Path::new("/proc/sys").join(key);
    let old = fs::read_to_string(&path)?;
    let old = old.trim();
    if old == value {
        return Ok(None);
    }
    fs::write(&path, value)?;
    Ok(Some(old.to_owned()))
}
