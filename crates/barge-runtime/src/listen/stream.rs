//! A client's stream. Beside reading and writing it can be asked whether the client has gone, which takes nothing off it: hyper would find that
//! out by reading, and for that allocate a buffer for each request.

use std::io::{Error, IoSlice, Result};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What is read from and written to.
#[derive(Debug)]
pub(super) struct ClientStream {
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

/// The one at the other end of a stream of HTTP/1, as long as a request of his is open. One of HTTP/2 is read from all the time.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<OwnedWriteHalf>);

/// The client has closed its connection, and waits for no answer.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
pub(super) struct Gone;

impl ClientStream {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write: Arc::new(write) }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer(Arc::clone(&self.write))
    }

    fn stream(&self) -> &TcpStream {
        self.write.as_ref().as_ref()
    }

    fn poll_write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        loop {
            ready!(self.stream().poll_write_ready(context))?;
            match write(self.stream()) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Peer {
    /// Pending while he is there. Where more of his request is to be read, or the next one, nobody sees an end behind that; who reads it brings
    /// the task back here.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Gone> {
        let mut byte = [0];
        let stream: &TcpStream = self.0.as_ref().as_ref();
        match ready!(stream.poll_peek(context, &mut ReadBuf::new(&mut byte))) {
            Ok(0) | Err(_) => Poll::Ready(Gone),
            Ok(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.read).poll_read(context, into)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        Self::poll_write(&self, context, |stream| stream.try_write(from))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Self::poll_write(&self, context, |stream| stream.try_write_vectored(from))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(shutdown(self.stream().as_raw_fd(), Shutdown::Write).map_err(Error::from))
    }
}
