//! A client of ZooKeeper that shares nothing with the agent's: it reads what is there, and meddles with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(super) struct Tree(TcpStream);

impl Tree {
    /// Connects with a session of its own.
    pub(super) fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut tree = Self(stream);
        let mut hello = vec![0; 12];
        hello.extend(10_000i32.to_be_bytes());
        hello.extend([0; 8]);
        hello.extend(16i32.to_be_bytes());
        hello.extend([0; 16]);
        tree.send(&hello)?;
        tree.receive().map(|_| tree)
    }

    /// A node's data; nothing where there is no node.
    #[allow(clippy::option_option)] // No answer is not no node.
    pub(super) fn data(&mut self, path: &str) -> Option<Option<Vec<u8>>> {
        let (error, answer) = self.ask(4, &[text(path), vec![0]].concat())?;
        match error {
            0 => {
                let length = i32::from_be_bytes(answer[..4].try_into().unwrap());
                Some(Some(answer[4..4 + usize::try_from(length).unwrap()].to_vec()))
            }
            -101 => Some(None),
            error => panic!("ZooKeeper's error {error}"),
        }
    }

    /// The session that a node lives as long as.
    pub(super) fn owner(&mut self, path: &str) -> Option<i64> {
        let (error, answer) = self.ask(3, &[text(path), vec![0]].concat())?;
        (error == 0).then(|| i64::from_be_bytes(answer[44..52].try_into().unwrap()))
    }

    /// Removes a node.
    pub(super) fn delete(&mut self, path: &str) -> bool {
        self.ask(2, &[text(path), (-1i32).to_be_bytes().to_vec()].concat()).unwrap().0 == 0
    }

    /// Replaces a node's data.
    pub(super) fn write(&mut self, path: &str, data: &[u8]) -> bool {
        let data = [i32::try_from(data.len()).unwrap().to_be_bytes().to_vec(), data.to_vec()].concat();
        self.ask(5, &[text(path), data, (-1i32).to_be_bytes().to_vec()].concat()).unwrap().0 == 0
    }

    fn ask(&mut self, operation: i32, body: &[u8]) -> Option<(i32, Vec<u8>)> {
        self.send(&[&1i32.to_be_bytes(), &operation.to_be_bytes(), body].concat())?;
        let answer = self.receive()?;
        Some((i32::from_be_bytes(answer[12..16].try_into().unwrap()), answer[16..].to_vec()))
    }

    fn send(&mut self, message: &[u8]) -> Option<()> {
        let length = i32::try_from(message.len()).unwrap();
        self.0.write_all(&[&length.to_be_bytes(), message].concat()).ok()
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut message).ok()?;
        Some(message)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A session that is not ended lives on in the server.
        let _ = self.send(&[1i32.to_be_bytes(), (-11i32).to_be_bytes()].concat());
        let _ = self.receive();
    }
}

fn text(text: &str) -> Vec<u8> {
    [i32::try_from(text.len()).unwrap().to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}
