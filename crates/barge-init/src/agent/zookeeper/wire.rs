//! The few messages of ZooKeeper's protocol that a registration needs, on one connection, one after the other.
//!
//! Frames have a length of four bytes before them; numbers are big-endian; texts and bytes have their length before them, -1 for none
//! (zookeeper.jute in ZooKeeper's sources). It leaves out watches, which would come unasked, and reads of data.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::agent::connect::left;

/// The longest answer that is taken, in bytes: ZooKeeper's own limit.
const LONGEST: usize = 1024 * 1024;
/// The number of the request that a heartbeat is, and of the one that says who we are.
const PING_XID: i32 = -2;
const AUTH_XID: i32 = -4;

/// Kinds of requests (`ZooDefs.OpCode`).
mod operation {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const PING: i32 = 11;
    pub(super) const AUTH: i32 = 100;
    pub(super) const CLOSE: i32 = -11;
}

/// Answers that are no success (`KeeperException.Code`).
pub(super) mod code {
    pub(in super::super) const NO_NODE: i32 = -101;
    pub(in super::super) const NO_AUTH: i32 = -102;
    pub(in super::super) const NODE_EXISTS: i32 = -110;
    pub(in super::super) const NOT_EMPTY: i32 = -111;
    pub(in super::super) const SESSION_EXPIRED: i32 = -112;
    pub(in super::super) const AUTH_FAILED: i32 = -115;
    pub(in super::super) const SESSION_MOVED: i32 = -118;
}

/// Why a message did not do what it should.
#[derive(Debug)]
pub(super) enum WireError {
    /// The connection.
    Io(io::Error),
    /// The other side does not speak ZooKeeper's protocol.
    Nonsense,
    /// The server has said no.
    Code(i32),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        WireError::Io(error)
    }
}

/// What the server knows us by, over more than one connection. The password is what lets others in, so that there is no `Debug`.
pub(super) struct Session {
    pub(super) id: i64,
    password: Vec<u8>,
    /// How long the server waits for a sign of life.
    pub(super) timeout: Duration,
}

/// Who may do what with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody everything.
    Open,
    /// Everything for who has made it, reading for everybody.
    Own,
}

/// A connection with a session.
pub(super) struct Connection {
    stream: TcpStream,
    xid: i32,
}

impl Connection {
    /// Takes up `session`, or begins one that lives for `timeout`; nothing where the server says that it has expired.
    pub(super) fn open(
        mut stream: TcpStream,
        session: Option<&Session>,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Option<(Self, Session)>, WireError> {
        let mut frame = Frame::default();
        frame.int(0);
        // The last change that we have seen. With another number than 0, servers that were set up anew, and have seen less, would refuse
        // us for good.
        frame.long(0);
        frame.int(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
        frame.long(session.map_or(0, |session| session.id));
        frame.bytes(session.map_or(&[0; 16], |session| &session.password));
        // A server that cannot write is of no use.
        frame.bool(false);
        send(&mut stream, frame, deadline)?;
        let answer = receive(&mut stream, deadline)?;
        let mut answer = Reader(&answer);
        let (_version, millis, id) = (answer.int()?, answer.int()?, answer.long()?);
        let password = answer.bytes()?.to_vec();
        match u64::try_from(millis) {
            Ok(0) => Ok(None),
            Ok(millis) => {
                let timeout = Duration::from_millis(millis);
                Ok(Some((Self { stream, xid: 0 }, Session { id, password, timeout })))
            }
            Err(_) => Err(WireError::Nonsense),
        }
    }

    /// The stream, for its own address.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says who we are: `USER:PASSWORD`.
    pub(super) fn authenticate(&mut self, token: &str, deadline: Instant) -> Result<(), WireError> {
        let mut frame = Frame::request(AUTH_XID, operation::AUTH);
        frame.int(0);
        frame.text("digest");
        frame.bytes(token.as_bytes());
        self.exchange(AUTH_XID, frame, deadline).map(drop)
    }

    /// Makes a node: one that lives as long as the session, or one that stays.
    pub(super) fn create(
        &mut self,
        path: &str,
        data: &[u8],
        access: Access,
        ephemeral: bool,
        deadline: Instant,
    ) -> Result<(), WireError> {
        self.call(operation::CREATE, deadline, |frame| {
            frame.text(path);
            frame.bytes(data);
            frame.access(access);
            frame.int(i32::from(ephemeral));
        })
        .map(drop)
    }

    /// Removes a node, whatever its version.
    pub(super) fn delete(&mut self, path: &str, deadline: Instant) -> Result<(), WireError> {
        self.call(operation::DELETE, deadline, |frame| {
            frame.text(path);
            frame.int(-1);
        })
        .map(drop)
    }

    /// Replaces a node's data, whatever its version.
    pub(super) fn set(&mut self, path: &str, data: &[u8], deadline: Instant) -> Result<(), WireError> {
        self.call(operation::SET_DATA, deadline, |frame| {
            frame.text(path);
            frame.bytes(data);
            frame.int(-1);
        })
        .map(drop)
    }

    /// The session that a node lives as long as; 0 for a node that stays.
    pub(super) fn owner(&mut self, path: &str, deadline: Instant) -> Result<i64, WireError> {
        let answer = self.call(operation::EXISTS, deadline, |frame| {
            frame.text(path);
            frame.bool(false);
        })?;
        let mut stat = Reader(&answer);
        // Four long numbers of transactions and times, three versions.
        let before = 4 * 8 + 3 * 4;
        stat.take(before)?;
        stat.long()
    }

    /// A sign of life.
    pub(super) fn ping(&mut self, deadline: Instant) -> Result<(), WireError> {
        self.exchange(PING_XID, Frame::request(PING_XID, operation::PING), deadline).map(drop)
    }

    /// Ends the session, and with it its nodes.
    pub(super) fn close(&mut self, deadline: Instant) -> Result<(), WireError> {
        self.call(operation::CLOSE, deadline, |_| {}).map(drop)
    }

    fn call(&mut self, operation: i32, deadline: Instant, fill: impl FnOnce(&mut Frame)) -> Result<Vec<u8>, WireError> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut frame = Frame::request(self.xid, operation);
        fill(&mut frame);
        self.exchange(self.xid, frame, deadline)
    }

    /// Sends a request; the result is what follows the head of its answer.
    fn exchange(&mut self, xid: i32, frame: Frame, deadline: Instant) -> Result<Vec<u8>, WireError> {
        send(&mut self.stream, frame, deadline)?;
        let answer = receive(&mut self.stream, deadline)?;
        let mut reader = Reader(&answer);
        let (answered, _change, error) = (reader.int()?, reader.long()?, reader.int()?);
        match error {
            // Answers come in the order of the requests, and we have never more than one.
            _ if answered != xid => Err(WireError::Nonsense),
            0 => Ok(reader.0.to_vec()),
            code => Err(WireError::Code(code)),
        }
    }
}

/// A message on its way out.
#[derive(Default)]
struct Frame(Vec<u8>);

impl Frame {
    fn request(xid: i32, operation: i32) -> Self {
        let mut frame = Self::default();
        frame.int(xid);
        frame.int(operation);
        frame
    }

    fn int(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn long(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.int(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn access(&mut self, access: Access) {
        const READ: i32 = 1;
        const ALL: i32 = 31;
        let list: &[(i32, &str, &str)] = match access {
            Access::Open => &[(ALL, "world", "anyone")],
            Access::Own => &[(ALL, "auth", ""), (READ, "world", "anyone")],
        };
        self.int(i32::try_from(list.len()).unwrap_or(i32::MAX));
        for (rights, scheme, id) in list {
            self.int(*rights);
            self.text(scheme);
            self.text(id);
        }
    }
}

/// A message that has arrived.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Nonsense)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, WireError> {
        let bytes = self.take(4)?.try_into().map_err(|_| WireError::Nonsense)?;
        Ok(i32::from_be_bytes(bytes))
    }

    fn long(&mut self) -> Result<i64, WireError> {
        let bytes = self.take(8)?.try_into().map_err(|_| WireError::Nonsense)?;
        Ok(i64::from_be_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.int()?).map_err(|_| WireError::Nonsense)?;
        self.take(length)
    }
}

fn send(stream: &mut TcpStream, frame: Frame, deadline: Instant) -> Result<(), WireError> {
    let length = i32::try_from(frame.0.len()).map_err(|_| WireError::Nonsense)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&frame.0);
    stream.set_write_timeout(Some(left(deadline).max(Duration::from_millis(1))))?;
    stream.write_all(&message)?;
    Ok(())
}

fn receive(stream: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, WireError> {
    let mut length = [0; 4];
    read(stream, &mut length, deadline)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= LONGEST);
    let mut message = vec![0; length.ok_or(WireError::Nonsense)?];
    read(stream, &mut message, deadline)?;
    Ok(message)
}

/// Reads exactly so much, until `deadline`, however slowly it comes.
fn read(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = left(deadline);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
