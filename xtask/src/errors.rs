//! The catalogue of causes in `docs/errors.md`, generated from the table in `crates/model`.

use anyhow::{Context as _, bail};
use tideway_model::Cause;

const HEAD: &str = "\
<!-- Generated from crates/model/src/cause.rs by `cargo run -p xtask -- errors`; do not edit. -->

# Why a pod waits or fails

Every cause by its name. The name stands in brackets at the end of the CNI error (`… [subnet_full]`), in `tideway pod` and `tideway status`, as `cause` in the daemon's log, and as label `cause` of `tideway_waiting_pods` and `tideway_cni_failures_total`; causes that are answers of the cloud are the `outcome` of `tideway_cloud_calls_total` too. The pod itself has it as the reason of an event (`SubnetFull`), whose text is that of the case with the two last columns: one event for each pod and cause, renewed every five minutes while it lasts. Where many pods of a node wait at once, the first have events of their own, two more each minute, and an event `PodsWaitForNetwork` on the Node counts all of them (`kubectl describe node`). The text before the name says what is known of the one case: which subnet, which permission, which pod. \"Code\" is that of the CNI error; a pod that waits has none yet, and gets it when `pool.addTimeoutSeconds` are over.

| cause | code | what it means | what Tideway does | what you can do |
|---|---|---|---|---|
";

/// Writes the file, or with `check` compares it with what would be written.
pub(crate) fn errors(check: bool) -> anyhow::Result<String> {
    let path = crate::root()?.join("docs/errors.md");
    let rows = Cause::ALL.iter().map(|cause| {
        let (word, code) = (cause.word(), cause.code());
        let texts = [cause.what(), cause.daemon(), cause.person()].join(" | ");
        format!("| `{word}` | {code} | {texts} |\n")
    });
    let text = format!("{HEAD}{}", rows.collect::<String>());
    if !check {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
        bail!(
            "docs/errors.md is not what crates/model says; run `cargo run -p xtask -- errors` and commit the result"
        );
    }
    let state = if check { "are up to date" } else { "written" };
    Ok(format!("errors: {} causes {state}", Cause::ALL.len()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_catalogue_in_the_docs_is_that_of_the_code() {
        super::errors(true).unwrap();
    }
}
