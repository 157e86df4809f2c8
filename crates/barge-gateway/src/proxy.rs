//! Passes one request on: picks an instance, asks it, tries another one where that is safe, and carries upgrades.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barge_model::InstanceId;
use futures_util::future::{Either, ready};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use crate::admission::Admission;
use crate::answer::{Coming, Counted, Stalls};
use crate::background::Background;
use crate::body::{self, Answer, Resumable};
use crate::carry;
use crate::headers::{self, Client};
use crate::pool::{self, Place, Pool};
use crate::route::{self, HEADER_INSTANCE, Route};
use crate::server::GatewayConfig;
use crate::table::{InFlight, NoInstance, Picked, Table};
use crate::upstream::{Asked, Failure, Upstream};

/// The forwarding part of a gateway, on one of its threads.
#[derive(Debug)]
pub(crate) struct Proxy {
    table: Arc<Table>,
    domain: Arc<str>,
    admission: Arc<Admission>,
    upstream: Upstream,
    search_limit: Duration,
    stalls: Arc<Stalls>,
    room: Arc<Semaphore>,
    background: Background,
}

/// What the threads of a gateway share beside its table.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Room for upgraded connections: one that is carried counts as none of the listener's any more.
    room: Arc<Semaphore>,
    connections: Arc<pool::Shared>,
}

/// The client's side of an upgrade, and its place among those that are carried.
type Upgrade = (OnUpgrade, OwnedSemaphorePermit);

/// A request that will be passed on.
struct Taken {
    /// As an instance gets it.
    parts: Parts,
    body: Resumable,
    route: Route,
    client_side: Option<Upgrade>,
}

/// What one request has tried.
#[derive(Debug, Default)]
struct Tried {
    /// Instances that never got it.
    untold: Vec<InstanceId>,
    /// The one that broke off, and so may be hurt by it. A second one is risked, a third one is not.
    broke: Option<InstanceId>,
    last: String,
    /// What the gateway lacked itself to ask one.
    lack: Option<String>,
}

impl Shared {
    /// For so many threads.
    pub(crate) fn new(threads: NonZeroUsize, config: &GatewayConfig) -> Self {
        let clients = config.max_connections;
        // As many connections to instances as both kinds of clients may have.
        let connections = Arc::new(pool::Shared::new(threads, clients.saturating_mul(2)));
        Self { room: Arc::new(Semaphore::new(clients.clamp(1, Semaphore::MAX_PERMITS))), connections }
    }
}

impl Proxy {
    /// That of the thread with the `number`.
    pub(crate) fn of_thread(
        number: usize,
        table: &Arc<Table>,
        config: &GatewayConfig,
        shared: &Shared,
        admission: Admission,
    ) -> Self {
        let (background, pool) = (Background::default(), Pool::of_thread(number, &shared.connections));
        Self {
            table: Arc::clone(table),
            domain: config.domain.as_str().into(),
            admission: Arc::new(admission),
            upstream: Upstream::new(pool, config.answer_limit, background.clone()),
            search_limit: config.search_limit,
            stalls: Arc::new(Stalls::new(config.stall_limit)),
            room: Arc::clone(&shared.room),
            background,
        }
    }

    /// Answers one request of a client. What need not be waited for is done at once: the future is moved where hyper keeps it, and has no room
    /// for more than what is waited with.
    pub(crate) fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
    ) -> impl Future<Output = Response<Answer>> + Send + use<> {
        match self.take(request, client) {
            Ok(taken) => Either::Left(self.pass_on(taken)),
            Err(refused) => Either::Right(ready(*refused)),
        }
    }

    /// Looks at a request, and makes of it what an instance is asked.
    fn take(&self, mut request: Request<Incoming>, client: &Client) -> Result<Taken, Box<Response<Answer>>> {
        if let Err(refused) = headers::check(&request) {
            return Err(last(StatusCode::BAD_REQUEST, &refused.to_string()).into());
        }
        let route = match route::route(request.uri(), request.headers(), &self.domain) {
            Ok(route) => route,
            Err(error) => return Err(problem(StatusCode::BAD_REQUEST, &error.to_string()).into()),
        };
        let upgrade = headers::upgrade_protocol(&request);
        let client_side = match upgrade.is_some().then(|| Arc::clone(&self.room).try_acquire_owned()) {
            Some(Ok(permit)) => Some((hyper::upgrade::on(&mut request), permit)),
            Some(Err(_)) => {
                let text = "the gateway carries no more upgraded connections";
                return Err(problem(StatusCode::SERVICE_UNAVAILABLE, text).into());
            }
            None => None,
        };
        let (mut parts, body) = request.into_parts();
        headers::prepare(&mut parts, client, !body.is_end_stream(), upgrade.as_ref());
        Ok(Taken { parts, body: Resumable::new(body), route, client_side })
    }

    /// Asks instances until one answers, or none can be asked any more.
    async fn pass_on(self: Arc<Self>, mut taken: Taken) -> Response<Answer> {
        let _admitted = self.admission.admit().await;
        let mut tried = Tried::default();
        let mut until = Instant::now() + self.search_limit;
        while Instant::now() < until {
            let picked = match self.pick(&taken.route, &tried) {
                Ok(picked) => picked,
                Err(reason) => return in_vain(&taken.route, Some(reason), &tried),
            };
            let asked = Asked { parts: &taken.parts, body: &taken.body, again: tried.broke.is_some(), until };
            match self.upstream.send(asked, &picked).await {
                Ok(response) => {
                    return self.pass_back(response, picked, taken.client_side.take(), taken.body.clone());
                }
                // No word of the instance, and for another one it may do: ports are counted for each.
                Err(Failure::Lack(text)) => {
                    tried.untold.push(picked.uid);
                    tried.lack = Some(text);
                }
                Err(Failure::Untold(text)) => {
                    picked.refused();
                    tried.untold.push(picked.uid);
                    tried.last = text;
                }
                Err(Failure::Repeatable(text)) if tried.broke.is_none() => {
                    tried.broke = Some(picked.uid);
                    tried.last = text;
                    // How long it worked on the request is no part of the search.
                    until = Instant::now() + self.search_limit;
                }
                Err(Failure::Repeatable(text)) => return problem(StatusCode::BAD_GATEWAY, &text),
                Err(Failure::Final(StatusCode::REQUEST_TIMEOUT, text)) => {
                    return last(StatusCode::REQUEST_TIMEOUT, &text);
                }
                Err(Failure::Final(status, text)) => return problem(status, &text),
            }
        }
        in_vain(&taken.route, None, &tried)
    }

    /// Another instance than those that were tried; where there is none, once more the one that broke off.
    fn pick(&self, route: &Route, tried: &Tried) -> Result<Picked, NoInstance> {
        let only = route.instance.as_ref();
        let all: Vec<InstanceId> = tried.untold.iter().chain(&tried.broke).cloned().collect();
        self.table.pick(&route.key, only, &all).or_else(|_| self.table.pick(&route.key, only, &tried.untold))
    }

    /// The instance's answer as the client gets it.
    fn pass_back(
        &self,
        mut response: Response<Coming>,
        picked: Picked,
        client_side: Option<Upgrade>,
        request: Resumable,
    ) -> Response<Answer> {
        let protocol = headers::changed_protocol(response.headers());
        headers::strip_hop_by_hop(response.headers_mut());
        // How the client's connection speaks is not the instance's business: an answer of HTTP/1.0 would end with it, and one that broke
        // off look whole.
        *response.version_mut() = Version::HTTP_11;
        response.headers_mut().insert(HEADER_INSTANCE, picked.name.clone());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response.map(|body| Counted::new(body, picked.in_flight, request, &self.stalls)).map(Answer::Right);
        }
        let (Some(client_side), Some(protocol)) = (client_side, protocol) else {
            return problem(StatusCode::BAD_GATEWAY, "the instance changed the protocol without being asked");
        };
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, protocol);
        let instance = hyper::upgrade::on(&mut response);
        let (parts, coming) = response.into_parts();
        self.carry(client_side, instance, (picked.in_flight, coming.into_place()));
        Response::from_parts(parts, body::text(String::new()))
    }

    /// Carries an upgraded connection, which counts as in flight and takes its places until its end.
    fn carry(&self, (client, permit): Upgrade, instance: OnUpgrade, held: (InFlight, Option<Arc<Place>>)) {
        let limit = self.stalls.limit();
        self.background.spawn(async move {
            if let (Ok(client), Ok(instance)) = tokio::join!(client, instance) {
                carry::carry(client, instance, limit).await;
            }
            drop((held, permit));
        });
    }

    /// Looks after what nobody asks for: answers that stand still, and connections to instances that are used no more. Goes on for ever.
    pub(crate) async fn look_after(&self, every: Duration) {
        tokio::join!(self.sweep(every), self.admission.look_after());
    }

    async fn sweep(&self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.stalls.sweep();
            self.upstream.sweep();
        }
    }

    /// Who may ask an instance now.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// What goes on beside the clients' connections.
    pub(crate) fn background(&self) -> &Background {
        &self.background
    }
}

/// The last answer of its connection, the rest of which cannot be trusted: the request was refused for its form, or has not come in full.
fn last(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = problem(status, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What is said where no instance took the request; without a `reason` there was no more time.
fn in_vain(route: &Route, reason: Option<NoInstance>, tried: &Tried) -> Response<Answer> {
    if let Some(lack) = &tried.lack {
        return problem(StatusCode::SERVICE_UNAVAILABLE, lack);
    }
    let (key, last) = (&route.key, &tried.last);
    let Some(reason) = reason else {
        let text = format!("no instance of {key} took the request in time; {last}");
        return problem(StatusCode::BAD_GATEWAY, &text);
    };
    let text = match (reason, &route.instance) {
        (NoInstance::UnknownService, _) => format!("no instance of {key} is registered"),
        (NoInstance::NoneOnline, Some(uid)) if last.is_empty() => format!("instance {uid} of {key} is not online"),
        (NoInstance::NoneOnline, Some(uid)) => format!("instance {uid} of {key} cannot be reached; {last}"),
        (NoInstance::NoneOnline, None) if last.is_empty() => format!("no instance of {key} is online"),
        (NoInstance::NoneOnline, None) => format!("no instance of {key} can be reached; {last}"),
    };
    problem(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// The gateway's own answers, so that nobody takes them for the service's (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response<Answer> {
    let document =
        serde_json::json!({ "type": "about:blank", "title": "gateway", "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(body::text(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
