//! What is said to ZooKeeper, message for message, and what becomes of answers that no ZooKeeper gives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{agent, start, wait_state, zookeeper};
use crate::support::eventually;

const SESSION: i64 = 0x1234_5678_9abc_def0;
const PASSWORD: &[u8; 16] = b"a secret of ours";

/// Kinds of requests.
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;

/// A message from the agent, and when it came.
#[derive(Debug, Clone)]
struct Message {
    /// Which connection.
    connection: usize,
    bytes: Vec<u8>,
    at: Instant,
}

impl Message {
    fn int(&self, at: usize) -> i32 {
        i32::from_be_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn long(&self, at: usize) -> i64 {
        i64::from_be_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn kind(&self) -> i32 {
        self.int(4)
    }
}

/// What is answered to a message; without anything the connection ends.
type Answer = fn(&Message) -> Option<Vec<u8>>;

/// A server that gives a session of `timeout` and answers each request as it is told: nothing ends the connection.
#[derive(Clone)]
struct Fake {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Fake {
    fn start(timeout: i32, answer: impl Fn(&Message) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self { address: listener.local_addr().unwrap(), messages: Arc::default() };
        let (messages, answer) = (Arc::clone(&fake.messages), Arc::new(answer));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (messages, answer) = (Arc::clone(&messages), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), connection, timeout, &messages, &*answer));
            }
        });
        fake
    }

    fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    timeout: i32,
    messages: &Mutex<Vec<Message>>,
    answer: &dyn Fn(&Message) -> Option<Vec<u8>>,
) -> Option<()> {
    for number in 0.. {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut bytes).ok()?;
        let message = Message { connection, bytes, at: Instant::now() };
        messages.lock().unwrap().push(message.clone());
        let said = if number == 0 { framed(&greeting(timeout)) } else { answer(&message)? };
        stream.write_all(&said).ok()?;
    }
    None
}

fn greeting(timeout: i32) -> Vec<u8> {
    [&0i32.to_be_bytes()[..], &timeout.to_be_bytes(), &SESSION.to_be_bytes(), &16i32.to_be_bytes(), PASSWORD, &[0]]
        .concat()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// An answer to `message`: a code, and what follows.
fn reply(message: &Message, code: i32, rest: &[u8]) -> Vec<u8> {
    framed(&[&message.bytes[..4], &7i64.to_be_bytes(), &code.to_be_bytes(), rest].concat())
}

/// A node's description, with our session as its owner.
fn stat() -> Vec<u8> {
    [vec![0; 44], SESSION.to_be_bytes().to_vec(), vec![0; 16]].concat()
}

/// Everything is as it should be.
fn good(message: &Message) -> Option<Vec<u8>> {
    Some(reply(message, 0, &if message.kind() == EXISTS { stat() } else { Vec::new() }))
}

#[test]
fn heartbeats_follow_the_time_that_the_server_gives() {
    let fake = Fake::start(900, good);
    let (handle, _) = start(&agent(zookeeper(&[fake.address]), 60_000));
    handle.ready(true, "");
    let beats = eventually("heartbeats", || {
        let beats: Vec<_> = fake.messages().into_iter().filter(|message| message.kind() == EXISTS).collect();
        (beats.len() >= 4).then_some(beats)
    });
    for pair in beats.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(270), "more often than three times");
    }
    let messages = fake.messages();
    assert!(messages.iter().all(|message| message.connection == 0));
    // The first message asks for what the plan says, in a new session, whatever the server has seen.
    let hello = &messages[0];
    assert_eq!((hello.long(4), hello.int(12), hello.long(16), hello.int(24)), (0, 60_000, 0, 16));
    assert_eq!(messages[1].kind(), CREATE);
}

#[test]
fn an_instance_that_is_not_ready_keeps_its_session_by_pings() {
    let fake = Fake::start(900, good);
    let (handle, _) = start(&agent(zookeeper(&[fake.address]), 60_000));
    handle.ready(false, "starting");
    eventually("pings", || (fake.messages().iter().filter(|message| message.kind() == 11).count() >= 2).then_some(()));
    assert!(fake.messages().iter().all(|message| message.kind() != CREATE));
}

#[test]
fn a_session_is_taken_up_on_the_next_connection() {
    // The connection breaks with the first heartbeat.
    let fake =
        Fake::start(
            3000,
            |message| if (message.connection, message.kind()) == (0, EXISTS) { None } else { good(message) },
        );
    let (handle, told) = start(&agent(zookeeper(&[fake.address]), 3000));
    handle.ready(true, "");
    let hello =
        eventually("a second connection", || fake.messages().into_iter().find(|message| message.connection == 1));
    assert_eq!((hello.long(16), hello.int(24), &hello.bytes[28..44]), (SESSION, 16, &PASSWORD[..]));
    eventually("a heartbeat on it", || {
        fake.messages().into_iter().find(|message| (message.connection, message.kind()) == (1, EXISTS))
    });
    // Nothing had to be registered anew, and nobody had to hear of it.
    assert_eq!(fake.messages().iter().filter(|message| message.kind() == CREATE).count(), 1);
    assert_eq!(told.lines().len(), 1, "{:?}", told.lines());
    drop(handle);
}

#[test]
fn a_node_that_another_instance_has_taken_is_left_to_it() {
    let looked = AtomicBool::new(false);
    let fake = Fake::start(3000, move |message| match message.kind() {
        EXISTS if !looked.swap(true, Ordering::SeqCst) => Some(reply(message, 0, &[0; 68])),
        _ => good(message),
    });
    let (handle, _) = start(&agent(zookeeper(&[fake.address]), 3000));
    handle.ready(true, "");
    wait_state(&handle, "another instance has taken the node");
    wait_state(&handle, "present");
    let kinds: Vec<i32> = fake.messages().iter().map(Message::kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == CREATE).count(), 1, "{kinds:?}");
    assert!(!kinds.contains(&DELETE), "{kinds:?}");
}

#[test]
fn refusals_are_told_in_words() {
    for (code, words) in [(-102, "does not allow that (NoAuth)"), (-108, "its error -108"), (-4, "its error -4")] {
        let fake = Fake::start(3000, move |message| Some(reply(message, code, &[])));
        let (handle, _) = start(&agent(zookeeper(&[fake.address]), 3000));
        handle.ready(true, "");
        let state = wait_state(&handle, words);
        assert!(state.starts_with("not registered in ZooKeeper at 127.0.0.1:"), "{state}");
        // Tried again, on the same connection.
        eventually("another try", || {
            (fake.messages().iter().filter(|message| message.kind() == CREATE).count() >= 3).then_some(())
        });
        assert!(fake.messages().iter().all(|message| message.connection == 0));
    }
}

#[test]
fn a_node_that_somebody_else_makes_again_and_again_is_given_up_for_a_while() {
    let fake = Fake::start(3000, move |message| {
        Some(match message.kind() {
            CREATE => reply(message, -110, &[]),
            EXISTS => reply(message, 0, &[0; 68]),
            _ => reply(message, 0, &[]),
        })
    });
    let (handle, _) = start(&agent(zookeeper(&[fake.address]), 3000));
    handle.ready(true, "");
    wait_state(&handle, "is made and removed by somebody else");
}

#[test]
fn answers_that_no_zookeeper_gives_are_told_of() {
    let table: [(&str, Answer); 6] = [
        ("another number", |message| {
            let mut answer = reply(message, 0, &[]);
            answer[7] ^= 1;
            Some(answer)
        }),
        ("a short head", |message| Some(framed(&message.bytes[..4]))),
        ("nothing", |_| Some(framed(&[]))),
        ("a negative length", |_| Some((-1i32).to_be_bytes().to_vec())),
        ("a length beyond all limits", |_| Some(i32::MAX.to_be_bytes().to_vec())),
        ("a short description", |message| {
            Some(reply(message, if message.kind() == CREATE { -110 } else { 0 }, &[0; 20]))
        }),
    ];
    for (name, answer) in table {
        let fake = Fake::start(3000, answer);
        let (handle, _) = start(&agent(zookeeper(&[fake.address]), 3000));
        handle.ready(true, "");
        let state = wait_state(&handle, "does not speak ZooKeeper's protocol");
        assert!(state.starts_with("not registered in "), "{name}: {state}");
        let begin = Instant::now();
        handle.leave(Duration::from_millis(300));
        assert!(begin.elapsed() < Duration::from_secs(2), "{name}");
    }
}

#[test]
fn a_server_that_gives_no_session_is_told_of() {
    let fake = Fake::start(0, good);
    let (handle, _) = start(&agent(zookeeper(&[fake.address]), 3000));
    handle.ready(true, "");
    wait_state(&handle, "it gives no session");
}
