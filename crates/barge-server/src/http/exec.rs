//! Programs in instances, over a WebSocket. Frames as in `barge_api::ExecFrame`; the program ends with the connection.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use barge_api::{ExecFrame, ExecOpen, TokenRole};
use barge_engine::{Engine, EngineError, ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
use barge_model::{InstanceId, ServiceKey};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;

use super::extract::{ApiPath, InstancePath};
use super::services::environment;
use crate::access::Caller;
use crate::problem::{ReadProblems, ServerError};
use crate::store::NewAudit;
use crate::{App, now};

/// How long the first message may take.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// A ping at least so often keeps an idle terminal open, and finds out whether anybody is still there.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long the other side may take to close the connection.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The largest message, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;

/// Runs a program in an instance, over a WebSocket.
#[utoipa::path(
    get,
    path = "/api/v1/environments/{environment}/services/{service}/instances/{instance}/exec",
    tag = "instances",
    params(InstancePath),
    operation_id = "exec",
    responses(
        (status = 101, description = "A WebSocket. The client's first message is an `ExecOpen` as JSON text; all others are binary: one byte for the kind, then the payload"),
        ReadProblems
    )
)]
pub(crate) async fn exec(
    caller: Caller,
    State(app): State<App>,
    ApiPath(path): ApiPath<InstancePath>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ServerError> {
    let key = ServiceKey::new(path.environment, path.service);
    caller.require(TokenRole::Developer, &key)?;
    let engine = environment(&app, &key.environment)?.engine.clone();
    let report = engine.report(&key).await?;
    let exists = report.is_some_and(|report| report.instances.iter().any(|one| one.id == path.instance));
    if !exists {
        return Err(ServerError::NotFound(format!("there is no instance {} of {key}", path.instance)));
    }
    let upgrade = upgrade.map_err(|rejection| ServerError::Invalid(rejection.body_text()))?;
    let serve = async move |socket: WebSocket| {
        serve(socket, &app, engine.as_ref(), &caller, &key, &path.instance).await;
    };
    Ok(upgrade.max_message_size(MAX_MESSAGE).on_upgrade(serve))
}

async fn serve(
    mut socket: WebSocket,
    app: &App,
    engine: &dyn Engine,
    caller: &Caller,
    key: &ServiceKey,
    instance: &InstanceId,
) {
    let opened = open(&mut socket, app, engine, caller, key, instance).await;
    let (mut sink, mut messages) = socket.split();
    let last = match opened {
        // Each direction goes on by itself: a program that does not read must not keep its output from being read.
        Ok(session) => tokio::select! {
            last = outwards(&mut sink, session.output) => last,
            () = inwards(&mut messages, session.input) => None,
            () = app.until_over(caller) => Some(ExecFrame::Failed("the server ends this session".to_owned())),
        },
        Err(reason) => Some(ExecFrame::Failed(reason)),
    };
    if let Some(frame) = last {
        // Whoever is gone does not need the last word.
        let _ = send(&mut sink, &frame).await;
    }
    let _ = sink.send(Message::Close(None)).await;
    // A connection that is closed with something unread is reset, and the last frames may be lost with it.
    let unread = async { while let Some(Ok(_)) = messages.next().await {} };
    let _ = tokio::time::timeout(CLOSE_LIMIT, unread).await;
}

/// Reads what to run, records it, and starts it. The error is a sentence for people.
async fn open(
    socket: &mut WebSocket,
    app: &App,
    engine: &dyn Engine,
    caller: &Caller,
    key: &ServiceKey,
    instance: &InstanceId,
) -> Result<ExecSession, String> {
    let first = tokio::time::timeout(OPEN_LIMIT, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else {
        return Err("the first message must say what to run".to_owned());
    };
    let open: ExecOpen =
        serde_json::from_str(&text).map_err(|error| format!("the first message is not valid: {error}"))?;
    let what = if open.command.is_empty() { "a shell".to_owned() } else { open.command.join(" ") };
    let detail: String = format!("{instance}: {what}").chars().take(500).collect();
    let entry =
        NewAudit { actor: &caller.0.name, action: "instance.exec", key: Some(key), release: None, detail: &detail };
    // What cannot be recorded is not done.
    if let Err(error) = app.store.audit(&entry, now()).await {
        tracing::error!(error = &error as &dyn std::error::Error, "a terminal is refused");
        return Err("the audit cannot be written".to_owned());
    }
    let terminal = open.terminal.map(|(rows, columns)| WindowSize { rows, columns });
    let request = ExecRequest { command: open.command, terminal };
    engine.exec(key, instance, request).await.map_err(|error| {
        tracing::warn!(%key, error = &error as &dyn std::error::Error, "a program cannot be run");
        without_internals(&error)
    })
}

/// What the engine was doing, and what the system said to it; nothing else of the chain is for callers.
fn without_internals(error: &EngineError) -> String {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match cause.and_then(std::io::Error::raw_os_error) {
        Some(code) => format!("{error}: {}", std::io::Error::from_raw_os_error(code)),
        None => error.to_string(),
    }
}

/// Carries output until the program ends or nobody takes it; the answer is the last frame to send.
async fn outwards(
    sink: &mut SplitSink<WebSocket, Message>,
    mut output: mpsc::Receiver<ExecOutput>,
) -> Option<ExecFrame> {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            output = output.recv() => match output {
                Some(ExecOutput::Stdout(bytes)) => send(sink, &ExecFrame::Stdout(bytes.to_vec())).await?,
                Some(ExecOutput::Stderr(bytes)) => send(sink, &ExecFrame::Stderr(bytes.to_vec())).await?,
                Some(ExecOutput::Exit(code)) => return Some(ExecFrame::Exit(code)),
                None => return Some(ExecFrame::Failed("the program is gone".to_owned())),
            },
            _ = heartbeat.tick() => sink.send(Message::Ping(Bytes::new())).await.ok()?,
        }
    }
}

/// Carries input until whoever asked is gone.
async fn inwards(messages: &mut SplitStream<WebSocket>, program: mpsc::Sender<ExecInput>) {
    while let Some(Ok(message)) = messages.next().await {
        let Some(input) = input(message) else { return };
        if let Some(input) = input {
            // A program that has ended takes nothing more; its exit code is on its way.
            let _ = program.send(input).await;
        }
    }
}

/// What a message means for the program: the outer `None` ends the connection, the inner one is nothing.
#[allow(clippy::option_option)]
fn input(message: Message) -> Option<Option<ExecInput>> {
    let bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Close(_) => return None,
        Message::Text(_) | Message::Ping(_) | Message::Pong(_) => return Some(None),
    };
    Some(match ExecFrame::decode(&bytes) {
        Some(ExecFrame::Stdin(data)) => Some(ExecInput::Data(data.into())),
        Some(ExecFrame::StdinEnd) => Some(ExecInput::End),
        Some(ExecFrame::Resize(rows, columns)) => Some(ExecInput::Resize(WindowSize { rows, columns })),
        Some(ExecFrame::Signal(number)) => Some(ExecInput::Signal(i32::from(number))),
        _ => None,
    })
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, frame: &ExecFrame) -> Option<()> {
    sink.send(Message::Binary(frame.encode().into())).await.ok()
}
