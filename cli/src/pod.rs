//! `tideway pod NAMESPACE/NAME`.

use std::io::{self, Write};

use tideway_proto::node as pb;

use crate::{
    CommandError,
    args::{Output, PodOptions},
    node, status, table,
    view::Pod,
};

/// Asks and prints.
pub(crate) fn run(options: &PodOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let key = &options.pod;
    let request = pb::ExplainRequest { namespace: key.namespace.clone(), name: key.name.clone() };
    let reply = node::ask(&options.connection, async |mut client| {
        client.explain(request).await.map(tonic::Response::into_inner)
    })?;
    let pod = Pod::new(key.to_string(), reply);
    if pod.attachments.is_empty() && pod.waiting.is_empty() && pod.findings.is_empty() {
        return Err(CommandError::UnknownPod(pod.pod));
    }
    match options.output {
        Output::Json => writeln!(out, "{:#}", serde_json::json!(pod))?,
        Output::Table | Output::Wide => write(&pod, out)?,
    }
    Ok(())
}

fn write(pod: &Pod, out: &mut dyn Write) -> io::Result<()> {
    for waiting in &pod.waiting {
        let since = table::span(waiting.seconds);
        writeln!(out, "{} waits since {since}: {}", pod.pod, waiting.cause)?;
    }
    for attachment in &pod.attachments {
        let way = match attachment.mode.as_str() {
            "exclusive" => "owns the ENI",
            _ => "shares the ENI",
        };
        writeln!(
            out,
            "{} has {} on {}: {way} {}",
            pod.pod,
            attachment.ips.join(" and "),
            attachment.ifname,
            attachment.eni
        )?;
    }
    if pod.findings.is_empty() && !pod.attachments.is_empty() {
        writeln!(out, "The kernel has what it must have.")?;
    }
    for finding in &pod.findings {
        writeln!(out, "Finding: {finding}")?;
    }
    status::pods(&pod.attachments, out)
}
