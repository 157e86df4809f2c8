//! The client's end of the exec WebSocket.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::ApiError;
use crate::exec::ExecFrame;

type ExecSocket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Connects and says what to run; `None` when the server has not taken it within `limit`.
pub(crate) async fn open(
    request: Request,
    open: String,
    limit: Duration,
) -> Option<Result<ExecConnection, tungstenite::Error>> {
    let connect = async {
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
        socket.send(Message::text(open)).await?;
        Ok::<_, tungstenite::Error>(ExecConnection { socket })
    };
    tokio::time::timeout(limit, connect).await.ok()
}

fn exec_error(error: tungstenite::Error) -> ApiError {
    ApiError::Exec(Box::new(error))
}

/// A program that runs in an instance.
#[derive(Debug)]
pub struct ExecConnection {
    socket: ExecSocket,
}

impl ExecConnection {
    /// Sends a frame.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, frame: &ExecFrame) -> Result<(), ApiError> {
        self.socket.send(Message::binary(frame.encode())).await.map_err(exec_error)
    }

    /// Waits for the next frame; `None` when the connection has ended. May be given up at any await without losing a frame.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn receive(&mut self) -> Result<Option<ExecFrame>, ApiError> {
        next_frame(&mut self.socket).await
    }

    /// Both directions apart. A program that is fed faster than it reads would otherwise stop its own output: whoever waits to
    /// send does not receive.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        let (sink, stream) = self.socket.split();
        (ExecSender { sink }, ExecReceiver { stream })
    }
}

/// The way to the program.
#[derive(Debug)]
pub struct ExecSender {
    sink: SplitSink<ExecSocket, Message>,
}

impl ExecSender {
    /// Sends a frame.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, frame: &ExecFrame) -> Result<(), ApiError> {
        self.sink.send(Message::binary(frame.encode())).await.map_err(exec_error)
    }

    /// Asks for a sign of life, which also keeps an idle connection open.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn ping(&mut self) -> Result<(), ApiError> {
        self.sink.send(Message::Ping(bytes::Bytes::new())).await.map_err(exec_error)
    }
}

/// The way from the program.
#[derive(Debug)]
pub struct ExecReceiver {
    stream: SplitStream<ExecSocket>,
}

impl ExecReceiver {
    /// Waits for the next frame; `None` when the connection has ended. May be given up at any await without losing a frame.
    ///
    /// # Errors
    /// The connection broke, or neither frames nor answers to pings have come for `silence`.
    pub async fn receive(&mut self, silence: Duration) -> Result<Option<ExecFrame>, ApiError> {
        loop {
            let message = tokio::time::timeout(silence, self.stream.next()).await;
            match frame_of(message.map_err(|_| ApiError::Silent(silence))?)? {
                Received::Frame(frame) => return Ok(Some(frame)),
                Received::End => return Ok(None),
                Received::Other => {}
            }
        }
    }
}

enum Received {
    Frame(ExecFrame),
    Other,
    End,
}

fn frame_of(message: Option<Result<Message, tungstenite::Error>>) -> Result<Received, ApiError> {
    Ok(match message {
        Some(Ok(Message::Binary(bytes))) => ExecFrame::decode(&bytes).map_or(Received::Other, Received::Frame),
        Some(Ok(Message::Close(_))) | None => Received::End,
        Some(Ok(_)) => Received::Other,
        Some(Err(error)) => return Err(exec_error(error)),
    })
}

async fn next_frame(socket: &mut ExecSocket) -> Result<Option<ExecFrame>, ApiError> {
    loop {
        match frame_of(socket.next().await)? {
            Received::Frame(frame) => return Ok(Some(frame)),
            Received::End => return Ok(None),
            Received::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_not_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = format!("ws://{}/", silent.local_addr().unwrap()).into_client_request().unwrap();
        let opened = open(request, "{}".to_owned(), Duration::from_millis(20)).await;
        assert!(opened.is_none(), "{opened:?}");
    }
}
