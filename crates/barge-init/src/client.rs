//! The other end of the socket, for engines and for `barge-init status`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error;

use crate::files;
use crate::socket::Request;
use crate::status::Status;

/// Why barge-init could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers in the directory.
    #[error("connect to barge-init in {directory}")]
    Connect {
        /// The instance's directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("talk to barge-init")]
    Talk(#[source] std::io::Error),
    /// Something else answered.
    #[error("understand barge-init")]
    Answer(#[source] serde_json::Error),
}

/// A connection for one request.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the barge-init that lives in `directory`.
    ///
    /// # Errors
    /// None lives there.
    pub fn connect(directory: &Path) -> Result<Self, ClientError> {
        let fail = |source| ClientError::Connect { directory: directory.to_owned(), source };
        let handle = File::open(directory).map_err(fail)?;
        let stream = UnixStream::connect(short_path(&handle)).map_err(fail)?;
        stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(fail)?;
        // A watched barge-init says something at least every 5 s.
        stream.set_read_timeout(Some(Duration::from_secs(15))).map_err(fail)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(ClientError::Answer)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(ClientError::Talk)
    }

    /// Waits for the next status; `None` when barge-init has ended.
    ///
    /// # Errors
    /// The connection broke, or the answer is not a status.
    pub fn next_status(&mut self) -> Result<Option<Status>, ClientError> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).map_err(ClientError::Talk)? == 0 {
                return Ok(None);
            }
            if !line.trim().is_empty() {
                return understand(&line).map(Some).map_err(ClientError::Answer);
            }
        }
    }

    /// Asks for the status once.
    ///
    /// # Errors
    /// As for `next_status`.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.send(&Request::Status)?;
        self.next_status()?.ok_or_else(|| ClientError::Talk(std::io::ErrorKind::UnexpectedEof.into()))
    }

    /// A second handle on the connection, with which another thread can end it.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn handle(&self) -> Result<UnixStream, ClientError> {
        self.stream.get_ref().try_clone().map_err(ClientError::Talk)
    }
}

/// A status that names no instance is something else, such as an error in words.
fn understand(line: &str) -> serde_json::Result<Status> {
    let status: Status = serde_json::from_str(line)?;
    if status.instance.is_empty() { Err(serde_json::Error::custom(line.trim())) } else { Ok(status) }
}

/// A socket's path may have 107 bytes (unix(7)); through the directory's descriptor it is short wherever the directory is.
pub(crate) fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), files::SOCKET))
}
