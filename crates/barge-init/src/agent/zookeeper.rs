//! Registration in ZooKeeper: a node that lives as long as our session, with the instance in JSON as its data, below the service's node.
//!
//! The data are as Curator's service discovery writes them, which most consumers understand. An instance that is not ready has no node.
//! A session outlives a connection: it is taken up again at the next server, and when it has expired, or the servers were set up anew, the
//! node is made in a new one. A node that an earlier session of the same instance has left is removed first: it would vanish later.

mod wire;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use serde_json::json;

use self::wire::{Access, Connection, Session, WireError, code};
use super::connect::{self, Host, Trouble, left, told};
use super::course::{Call, Names, Outcome, Standing, What};
use super::handle::{Instance, Registry};
use super::secret::Credentials;
use crate::status::now_ms;

/// How often it is tried to be the one who has made the node.
const PLACE_TRIES: usize = 4;

/// How many former sessions are remembered.
const FORMER: usize = 8;

/// One instance in ZooKeeper.
pub(super) struct ZooKeeper {
    servers: Vec<Host>,
    /// Which of them is asked next.
    turn: usize,
    credentials: Credentials,
    instance: Instance,
    path: String,
    /// When the registration began, in milliseconds since the Unix epoch.
    since: i64,
    session: Option<Session>,
    /// The last sessions that we have had: a node of theirs is ours as well, until they expire.
    former: VecDeque<i64>,
    /// Whether this run has had its say. A node that was there before is an earlier run's, a later one somebody else's.
    told: bool,
    connection: Option<Connection>,
    /// Whose our node is to be: our own, where the connection has told who we are.
    access: Access,
}

impl ZooKeeper {
    pub(super) fn new(servers: Vec<String>, root: &str, credentials: Credentials, instance: Instance) -> Self {
        let path = format!("{}/{}/{}", root.trim_end_matches('/'), instance.service, instance.id);
        // Many instances must not all be at the first server.
        let turn = usize::try_from(RandomState::new().hash_one(&path) >> 32).unwrap_or(0);
        Self {
            servers: servers.into_iter().map(Host::new).collect(),
            turn,
            credentials,
            instance,
            path,
            since: now_ms(),
            session: None,
            former: VecDeque::new(),
            told: false,
            connection: None,
            access: Access::Open,
        }
    }

    /// Makes a call, on the connection that is there or on a new one.
    fn attempt(&mut self, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(deadline)?,
        };
        let done = match call.what {
            What::Tell(Standing::Ready) => self.place(&mut connection, deadline),
            What::Tell(Standing::NotReady) => self.remove(&mut connection, deadline),
            What::Beat(Standing::Ready) => self.look(&mut connection, deadline),
            What::Beat(Standing::NotReady) => connection.ping(deadline).map(|()| Outcome::Done),
            What::Leave => self.leave(&mut connection, deadline),
        };
        match done {
            Ok(outcome) => {
                self.told = true;
                self.connection = Some(connection).filter(|_| call.what != What::Leave);
                Ok(outcome)
            }
            Err(error) => {
                if let WireError::Code(code::SESSION_EXPIRED) = error {
                    self.end_session();
                } else if let WireError::Code(code) = error
                    && code != code::SESSION_MOVED
                {
                    // It was understood, and refused: the connection is sound.
                    self.connection = Some(connection);
                }
                if self.connection.is_none() {
                    self.turn = self.turn.wrapping_add(1);
                }
                Err(Trouble::Failed(in_words(&error)))
            }
        }
    }

    /// Connects to the first server that takes us, beginning with the one whose turn it is.
    fn connect(&mut self, deadline: Instant) -> Result<Connection, Trouble> {
        let token = self.credentials.read().map_err(Trouble::Unreached)?;
        let mut why = Vec::new();
        for tried in 0..self.servers.len() {
            let share = left(deadline) / u32::try_from(self.servers.len() - tried).unwrap_or(1);
            let server = self.turn % self.servers.len();
            let name = |agent: &Self| agent.servers[server].name().to_owned();
            match self.join(server, Instant::now() + share) {
                Ok(mut connection) => {
                    self.access = Access::Open;
                    if let Some(token) = token {
                        if let Err(error) = connection.authenticate(token.reveal(), deadline) {
                            self.turn = self.turn.wrapping_add(1);
                            return Err(Trouble::Unreached(format!("{}: {}", name(self), in_words(&error))));
                        }
                        self.access = Access::Own;
                    }
                    return Ok(connection);
                }
                Err(error) => why.push(format!("{}: {error}", name(self))),
            }
            self.turn = self.turn.wrapping_add(1);
        }
        // Another one begins the next round: the first one may have taken all the time.
        self.turn = self.turn.wrapping_add(1);
        why.sort();
        Err(Trouble::Unreached(why.join(", ")))
    }

    /// Takes up our session at a server, or begins a new one there.
    fn join(&mut self, server: usize, deadline: Instant) -> Result<Connection, String> {
        let timeout = self.instance.ttl;
        loop {
            let stream = self.servers[server].connect(deadline)?;
            let opened = Connection::open(stream, self.session.as_ref(), timeout, deadline);
            match opened.map_err(|error| in_words(&error))? {
                Some((connection, session)) => {
                    self.session = Some(session);
                    return Ok(connection);
                }
                // It has expired, or these servers have never heard of it.
                None if self.session.is_some() => self.end_session(),
                None => return Err("it gives no session".to_owned()),
            }
        }
    }

    /// Makes the node in our session.
    fn place(&self, connection: &mut Connection, deadline: Instant) -> Result<Outcome, WireError> {
        let data = self.data(connection);
        for _ in 0..PLACE_TRIES {
            match connection.create(&self.path, data.as_bytes(), self.access, true, deadline) {
                Ok(()) => return Ok(Outcome::Done),
                Err(WireError::Code(code::NO_NODE)) => self.make_parents(connection, deadline)?,
                Err(WireError::Code(code::NODE_EXISTS)) => match connection.owner(&self.path, deadline) {
                    // We have made it, and did not hear of it.
                    Ok(owner) if self.is_ours(owner) => {
                        connection.set(&self.path, data.as_bytes(), deadline)?;
                        return Ok(Outcome::Done);
                    }
                    Ok(_) => unless(code::NO_NODE, connection.delete(&self.path, deadline))?,
                    Err(WireError::Code(code::NO_NODE)) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Failed(format!("the node {} is made and removed by somebody else", self.path)))
    }

    /// Nodes that stay, and that everybody may put instances below: who wants them otherwise makes them before.
    fn make_parents(&self, connection: &mut Connection, deadline: Instant) -> Result<(), WireError> {
        let last = self.path.rfind('/').unwrap_or(0);
        for (end, _) in self.path.match_indices('/').filter(|(at, _)| *at > 0) {
            let made = connection.create(&self.path[..end], &[], Access::Open, false, deadline);
            // Who may not make it is told so also where it is there already.
            let made = if end < last { unless(code::NO_AUTH, made) } else { made };
            unless(code::NODE_EXISTS, made)?;
        }
        Ok(())
    }

    /// Removes the node, unless another instance of the same id has taken it meanwhile.
    fn remove(&self, connection: &mut Connection, deadline: Instant) -> Result<Outcome, WireError> {
        match connection.owner(&self.path, deadline) {
            Ok(owner) if !self.told || self.is_ours(owner) || self.former.contains(&owner) => {
                unless(code::NO_NODE, connection.delete(&self.path, deadline))?;
            }
            Ok(_) | Err(WireError::Code(code::NO_NODE)) => {}
            Err(error) => return Err(error),
        }
        Ok(Outcome::Done)
    }

    /// The heartbeat: every request is one, and this one also tells whether the node is there.
    fn look(&self, connection: &mut Connection, deadline: Instant) -> Result<Outcome, WireError> {
        match connection.owner(&self.path, deadline) {
            Ok(owner) if self.is_ours(owner) => Ok(Outcome::Done),
            Ok(owner) if self.former.contains(&owner) => Ok(Outcome::Forgotten),
            // The one that came last has it. To take it back would begin a fight that nobody wins.
            Ok(_) => Ok(Outcome::Failed(format!("another instance has taken the node {}", self.path))),
            Err(WireError::Code(code::NO_NODE)) => Ok(Outcome::Forgotten),
            Err(error) => Err(error),
        }
    }

    /// Removes the node, then ends the session, which also ends whatever else it may have.
    fn leave(&mut self, connection: &mut Connection, deadline: Instant) -> Result<Outcome, WireError> {
        let removed = self.remove(connection, deadline);
        // With the session goes its node, also where we may not remove it.
        let closed = connection.close(deadline);
        self.end_session();
        if closed.is_ok() { Ok(Outcome::Done) } else { removed }
    }

    fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.former.truncate(FORMER - 1);
            self.former.push_front(session.id);
        }
    }

    fn is_ours(&self, owner: i64) -> bool {
        self.session.as_ref().is_some_and(|session| session.id == owner)
    }

    fn data(&self, connection: &Connection) -> String {
        let Instance { id, service, address, tags, meta, .. } = &self.instance;
        let address = told(*address, connection.stream());
        let payload = json!({ "tags": tags, "meta": meta });
        let says_nothing = tags.is_empty() && meta.is_empty();
        json!({
            "name": service,
            "id": id,
            "address": address.ip(),
            "port": address.port(),
            "sslPort": null,
            "payload": if says_nothing { serde_json::Value::Null } else { payload },
            "registrationTimeUTC": self.since,
            "serviceType": "DYNAMIC",
            "uriSpec": null,
        })
        .to_string()
    }
}

impl Registry for ZooKeeper {
    fn names(&self) -> Names {
        let place = format!("ZooKeeper at {}", self.servers.iter().map(Host::name).collect::<Vec<_>>().join(", "));
        Names { place, ready: "present", not_ready: "absent" }
    }

    fn carry_out(&mut self, call: &Call, deadline: Instant) -> Outcome {
        let was_connected = self.connection.is_some();
        let first = if was_connected { Instant::now() + left(deadline) / 2 } else { deadline };
        let mut done = self.attempt(call, first);
        if done.is_err() && was_connected && self.connection.is_none() {
            // It may be broken since long: the server has ended it, or the session. On a new one it is tried once more.
            done = self.attempt(call, deadline);
        }
        done.unwrap_or_else(Outcome::from)
    }

    fn ttl(&self) -> Option<Duration> {
        self.session.as_ref().map(|session| session.timeout)
    }
}

/// Takes one refusal for a success.
fn unless(code: i32, done: Result<(), WireError>) -> Result<(), WireError> {
    match done {
        Err(WireError::Code(said)) if said == code => Ok(()),
        done => done,
    }
}

fn in_words(error: &WireError) -> String {
    match error {
        WireError::Io(error) => connect::in_words(error),
        WireError::Nonsense => "what answers there does not speak ZooKeeper's protocol".to_owned(),
        WireError::Code(code::NO_AUTH) => "it does not allow that (NoAuth)".to_owned(),
        WireError::Code(code::AUTH_FAILED) => "it does not take the token (AuthFailed)".to_owned(),
        WireError::Code(code::NOT_EMPTY) => "the instance's node has children (NotEmpty)".to_owned(),
        WireError::Code(code::SESSION_EXPIRED) => "the session has expired".to_owned(),
        WireError::Code(code) => format!("it answered with its error {code}"),
    }
}
