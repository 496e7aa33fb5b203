//! `tideway maxpods`.

use std::io::{Read as _, Write};

use tideway_proto::node as pb;

use crate::{
    CommandError,
    args::{MaxPodsOptions, Output},
    capacity::{self, Capacity},
    node,
};

/// Asks the daemon, or reads the cloud's answer about a type, and prints.
pub(crate) fn run(options: &MaxPodsOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let (capacity, instance_type) = match (&options.instance_type, &options.from) {
        (Some(name), Some(from)) => {
            let config = capacity::config(&options.config)?;
            (Capacity::of_type(name, &read(from)?, &config)?, name.clone())
        }
        _ => of_this_node(options)?,
    };
    let told = capacity.max_pods(&instance_type, options.host_network);
    match options.output {
        Output::Json => writeln!(out, "{:#}", serde_json::json!(told))?,
        Output::Table | Output::Wide => {
            writeln!(out, "maxPods: {}\n{}: {}", told.max_pods, told.instance_type, told.why)?;
        }
    }
    Ok(())
}

fn of_this_node(options: &MaxPodsOptions) -> Result<(Capacity, String), CommandError> {
    let show = node::ask(&options.connection, async |mut client| {
        client.show(pb::ShowRequest {}).await.map(tonic::Response::into_inner)
    })?;
    let capacity = show.capacity.as_ref().ok_or_else(|| {
        CommandError::Refused("it is too old to tell its capacity; update tidewayd".into())
    })?;
    Ok((capacity.into(), show.instance_type))
}

fn read(path: &str) -> Result<String, CommandError> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
        .map_err(|error| CommandError::Input(format!("{path} cannot be read: {error}")))
}
