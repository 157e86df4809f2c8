//! What every program of Barge needs at its edges: logging, signals, owned tasks, files that stay whole, the chain of an error.
//!
//! It leaves out everything that knows what Barge is about.

pub mod files;
pub mod listen;

use std::error::Error;
use std::io::IsTerminal;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Sets up logging to standard error; `BARGE_LOG` filters it (default: warnings).
pub fn start_logging() {
    // The client for Kubernetes logs what it tells its caller as well.
    let filter = tracing_subscriber::EnvFilter::try_from_env("BARGE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,kube_client::client::builder=off"));
    // A second call, as in tests, keeps the first set-up.
    let colours = std::io::stderr().is_terminal();
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).try_init();
}

/// Chooses the cryptography that TLS uses in this process. Every program calls it before its first connection; calling it again is
/// harmless.
pub fn choose_cryptography() {
    // An error says that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An error and its causes in one line. A Display never prints its own source, so nothing stands there twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A token that is cancelled by the first SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// The signals cannot be watched.
pub fn cancelled_by_signal(tasks: &mut Tasks) -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = tasks.shutdown.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let cancel = token.clone();
    tasks.spawn("signals", async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            () = cancel.cancelled() => {}
        }
        cancel.cancel();
    });
    Ok(token)
}

/// Why tasks came to their end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// Somebody asked for it.
    Asked,
    /// One of them ended or panicked before anybody asked; the sentence says which.
    Broke(String),
}

/// Tasks with one owner: all are told to stop at once, and awaited with a deadline.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// The token that tells the tasks to stop.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Owns a task. One that ends early, or panics, stops the others through `until_stopped`.
    pub fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            work.await;
            name
        });
    }

    /// Waits until somebody cancels the token or a task ends, and tells the other tasks to stop.
    pub async fn until_stopped(&mut self) -> Stopped {
        let ended = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Stopped::Asked,
            // Without any task this waits for the token alone.
            Some(ended) = self.set.join_next() => ended,
        };
        // A task may be quicker than we in seeing that somebody has asked.
        let asked = self.shutdown.is_cancelled();
        self.shutdown.cancel();
        match ended {
            Ok(_) if asked => Stopped::Asked,
            Ok(name) => Stopped::Broke(format!("its {name} ended by itself")),
            Err(error) => Stopped::Broke(error.to_string()),
        }
    }

    /// Stops all tasks and waits for them, at most `limit`; those that do not stop are cut off.
    pub async fn stop(mut self, limit: Duration) {
        self.shutdown.cancel();
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("some tasks did not stop in time");
        }
    }
}
