//! Codes of the CNI error object: those of the specification that we use, and ours.
//!
//! Plugin, daemon and allocator all make such errors, and a code is what tools count and alert by. So each stands once,
//! here: whoever needs another one adds it to the table.

macro_rules! codes {
    ($($(#[doc = $what:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $what])+ pub const $name: u32 = $code;)+

        /// Every code with its name.
        pub const ALL: &[(&str, u32)] = &[$((stringify!($name), $name)),+];
    };
}

/// First code that the specification leaves to plugins.
pub const FIRST_OF_OURS: u32 = 100;

codes! {
    /// The version of the configuration is not supported.
    INCOMPATIBLE_VERSION = 1;
    /// CHECK for something that was never added, or was deleted.
    UNKNOWN_CONTAINER = 3;
    /// An environment variable is missing or wrong.
    INVALID_ENVIRONMENT = 4;
    /// Reading or writing failed.
    IO = 5;
    /// The configuration is no JSON.
    DECODE = 6;
    /// A key of the configuration is missing or wrong, or what the pod asks for cannot be given.
    INVALID_CONFIG = 7;
    /// The runtime should try again later.
    TRY_AGAIN = 11;
    /// STATUS: no ADD can be served now.
    NOT_AVAILABLE = 50;
    /// Ours: the daemon answered what it must not.
    DAEMON = 100;
    /// Ours: something failed on this node, most often in the kernel.
    INTERNAL = 101;
    /// Ours: CHECK found that the pod's network is not as it was made.
    CHECK_FAILED = 102;
    /// Ours: the delegated `portmap` plugin failed without a code of its own.
    PORTMAP = 103;
    /// Ours: the pod asks for an ENI and the kubelet gave it no device.
    NO_DEVICE = 104;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_errors_share_a_code_and_ours_stay_out_of_the_specifications_range() {
        let mut seen = std::collections::BTreeMap::new();
        for (name, code) in ALL {
            assert_eq!(seen.insert(code, name), None, "{name} has a code that is taken: {code}");
        }
        let ours = [DAEMON, INTERNAL, CHECK_FAILED, PORTMAP, NO_DEVICE];
        assert!(ours.iter().all(|code| *code >= FIRST_OF_OURS), "{ours:?}");
    }
}
