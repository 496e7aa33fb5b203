//! Puts the program together.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tideway_kubeapi::{ClusterClient, watch_cluster};
use tideway_telemetry::ExtenderMetrics;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::decide::Decider;
use crate::state::{Books, State};
use crate::{feed, server};

/// Events of the watches that wait to be taken in; a full channel makes the watches wait.
const EVENTS: usize = 1024;

/// A running extender.
#[derive(Debug)]
pub struct Running {
    /// Where the scheduler asks.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are.
    pub http: SocketAddr,
    tasks: TaskTracker,
}

impl Running {
    /// Waits until everything has ended, after `cancel`.
    pub async fn ended(self) {
        self.tasks.wait().await;
    }
}

/// Starts everything; it runs until `cancel`.
///
/// # Errors
/// An address cannot be listened on, or a file of the configuration cannot be used.
pub async fn run(config: Config, cancel: CancellationToken) -> anyhow::Result<Running> {
    let tls =
        config.tls.as_ref().map(server::acceptor).transpose().context("TLS cannot be served")?;
    let client = ClusterClient::new(config.kubeconfig.clone())
        .await
        .context("there is no way to the API server")?;
    let metrics = ExtenderMetrics::new(env!("CARGO_PKG_VERSION"));
    let policy = config.policy();
    let books = Books::new(Decider::new(policy), config.scheduler_names.clone());
    let state = Arc::new(State::new(books, policy.strict, client, metrics.clone()));
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; is the port taken? (keys listen and http)")
        })
    };
    let listener = bind(config.listen).await?;
    let pages = bind(config.http).await?;
    let (listen, http) = (listener.local_addr()?, pages.local_addr()?);

    let (sender, events) = mpsc::channel(EVENTS);
    watch_cluster(config.kubeconfig, sender, cancel.clone());
    let tasks = TaskTracker::new();
    tasks.spawn(feed::feed(Arc::clone(&state), events, cancel.clone()));
    let readiness = {
        let state = Arc::clone(&state);
        move || std::future::ready(state.ready())
    };
    tasks.spawn(tideway_telemetry::serve_on(pages, metrics, readiness, cancel.clone()));
    tasks.spawn(server::serve(listener, tls, state, cancel));
    tasks.close();
    tracing::info!(%listen, %http, strict = policy.strict, profile = %policy.profile, "serving");
    Ok(Running { listen, http, tasks })
}
