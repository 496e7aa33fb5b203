//! Removes what a lab left, also when its process was killed: found by name only, no state needed.

use super::{FabricError, names, netns, port, tool};

/// Removes every namespace and link of a lab; nothing there is no error. Collects failures and goes on.
///
/// The ports go first and by themselves: their other ends disappear with them wherever they are, even if a process
/// still keeps the router's namespace alive.
pub fn cleanup(lab_id: &str) -> Result<(), FabricError> {
    names::check_lab_id(lab_id)?;
    let io =
        |what: &str, source| FabricError::Io { doing: format!("{what} of lab {lab_id}"), source };
    let vpc = names::vpc_namespace(lab_id);
    let prefix = names::instance_namespace(lab_id, "");
    let mut outcome = Ok(());
    let all = netns::list().map_err(|e| io("listing the namespaces", e))?;
    if all.contains(&vpc) {
        let line = format!("link del group {}", port::PORT_GROUP);
        outcome = tool::ip_remove(&vpc, "removing all ports", &[line]);
    }
    for namespace in all.iter().filter(|name| name.starts_with(&prefix)) {
        let removed = netns::delete(namespace).map_err(|e| io("removing the namespaces", e));
        outcome = outcome.and(removed);
    }
    outcome
}
