//! Names that reach the kernel, checked before they do: they stand in batches of commands and in paths.

use super::FabricError;

const LAB_ID: &str = "1 to 4 of a-z 0-9";
const INSTANCE: &str = "1 to 32 of a-z 0-9 and -, not \"vpc\"";
const SYSCTL: &str = "a name below net., of a-z A-Z 0-9 _ - and dots";

/// Accepts 1 to 4 lower case letters and digits.
pub(super) fn check_lab_id(id: &str) -> Result<(), FabricError> {
    let good = (1..=4).contains(&id.len()) && id.bytes().all(is_plain);
    refuse_unless(good, "lab id", id, LAB_ID)
}

/// Accepts names of instances; `vpc` is taken by the router.
pub(super) fn check_instance(name: &str) -> Result<(), FabricError> {
    let good = (1..=32).contains(&name.len())
        && name != "vpc"
        && name.bytes().all(|byte| is_plain(byte) || byte == b'-');
    refuse_unless(good, "instance name", name, INSTANCE)
}

/// Accepts sysctls that belong to a namespace.
pub(super) fn check_sysctl(key: &str) -> Result<(), FabricError> {
    let word = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    refuse_unless(key.starts_with("net.") && key.split('.').all(word), "sysctl", key, SYSCTL)
}

/// Namespace of the VPC's router.
pub(super) fn vpc_namespace(lab_id: &str) -> String {
    format!("{lab_id}-vpc")
}

/// Namespace of an instance.
pub(super) fn instance_namespace(lab_id: &str, instance: &str) -> String {
    format!("{lab_id}-{instance}")
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn refuse_unless(
    good: bool,
    what: &'static str,
    name: &str,
    rule: &'static str,
) -> Result<(), FabricError> {
    if good { Ok(()) } else { Err(FabricError::Name { what, name: name.to_owned(), rule }) }
}

#[cfg(test)]
mod tests {
    use super::{check_instance, check_lab_id, check_sysctl};

    #[test]
    fn names_that_would_become_commands_or_paths_are_refused() {
        for good in ["lab", "a", "t0x9"] {
            assert!(check_lab_id(good).is_ok(), "{good}");
        }
        for bad in ["", "labor", "La", "a-b", "../x", "a b"] {
            assert!(check_lab_id(bad).is_err(), "{bad}");
        }
        for good in ["cp", "n1", "node-12"] {
            assert!(check_instance(good).is_ok(), "{good}");
        }
        for bad in ["", "vpc", "a/b", "n1\nlink del", "N1"] {
            assert!(check_instance(bad).is_err(), "{bad}");
        }
        for good in ["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"] {
            assert!(check_sysctl(good).is_ok(), "{good}");
        }
        for bad in ["kernel.panic", "net", "net..ipv4", "net.ipv4/../../kernel", "net.ipv4."] {
            assert!(check_sysctl(bad).is_err(), "{bad}");
        }
    }
}
