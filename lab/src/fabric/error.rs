//! Why the fabric could not do what it was asked.

use std::io;

/// A failure of the fabric. The text names the cause and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FabricError {
    /// The machine cannot carry a lab at all.
    #[error("this machine cannot run the lab's network: {}", .problems.join("; "))]
    Unsupported {
        /// One entry per missing thing, each with its remedy.
        problems: Vec<String>,
    },
    /// A name that would not survive as a namespace or link name.
    #[error("{what} {name:?} is not usable: {rule}")]
    Name {
        /// What is named.
        what: &'static str,
        /// The refused name.
        name: String,
        /// What a good one looks like.
        rule: &'static str,
    },
    /// No such instance in this lab.
    #[error("no instance named {instance:?} in this lab: create it first")]
    UnknownInstance {
        /// Name that was asked for.
        instance: String,
    },
    /// The ENI is not attached.
    #[error("ENI {eni} is not attached: attach it first")]
    NotAttached {
        /// Id of the ENI.
        eni: String,
    },
    /// The ENI is attached to another instance.
    #[error("ENI {eni} is attached to instance {instance}: detach it first")]
    AttachedElsewhere {
        /// Id of the ENI.
        eni: String,
        /// Where it is.
        instance: String,
    },
    /// The link of the ENI is not in its instance's namespace (a pod has it).
    #[error("the link of ENI {eni} is not in instance {instance}: move it back first")]
    LinkAway {
        /// Id of the ENI.
        eni: String,
        /// Where it should be.
        instance: String,
    },
    /// A tool of the kernel refused.
    #[error("{tool} failed in namespace {namespace} ({doing}): {said}")]
    Tool {
        /// `ip`, `nft` or `tc`.
        tool: &'static str,
        /// Namespace in which it ran.
        namespace: String,
        /// What was being done.
        doing: String,
        /// Its error output.
        said: String,
    },
    /// A system call or file access failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What the watch for lost links did by itself.
#[derive(Debug)]
pub enum FabricEvent {
    /// An ENI whose link had vanished is back in its instance's namespace.
    Restored {
        /// Id of the ENI.
        eni: String,
        /// Name of the instance.
        instance: String,
    },
    /// A lost ENI could not be put back. Told in every round until it succeeds.
    RestoreFailed(FabricError),
}
