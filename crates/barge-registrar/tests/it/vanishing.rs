//! Instances that the engine does not list any more (R4).

use std::net::SocketAddr;
use std::time::Duration;

use barge_model::registration::Intent::{Online, Terminal};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Bench, ending, key, ready, service};

async fn four_online() -> Bench<crate::support::Fake> {
    let mut bench = Bench::fake();
    bench.want((1..=4).map(ready));
    for number in 1..=4 {
        bench.wait_online(number).await;
    }
    bench
}

#[tokio::test]
async fn an_instance_that_vanished_is_taken_back() {
    let mut bench = four_online().await;
    bench.want((2..=4).map(ready));
    bench.wait_target(1, Terminal).await;
    bench.settle(90).await;
    assert_eq!(bench.target.state(2), Some(Online));
    bench.wait_healthy().await;
    bench.check();
}

#[tokio::test]
async fn many_that_vanish_at_once_raise_an_alarm_and_stay() {
    let mut bench = four_online().await;
    bench.want([ready(1)]);
    bench.wait_unhealthy("3 of 4 instances vanished at once").await;
    bench.restart().await;
    bench.wait_unhealthy("vanished at once").await;
    for number in 1..=4 {
        assert_eq!(bench.target.calls(number), [Online]);
        assert!(bench.acknowledged(number).is_some_and(|seen| seen.online));
    }
    // They were there all the time.
    bench.want((1..=4).map(ready));
    bench.wait_healthy().await;
    bench.check();
}

#[tokio::test]
async fn an_empty_list_of_a_service_is_many_at_once() {
    let mut bench = four_online().await;
    bench.want([]);
    bench.wait_unhealthy("4 of 4 instances vanished at once").await;
    assert_eq!(bench.target.state(1), Some(Online));
}

#[tokio::test]
async fn the_empty_list_of_one_service_among_many_is_not_believed() {
    let mut bench = four_online().await;
    // The others have so many that the four are few of all.
    bench.wanted.send_modify(|wanted| {
        wanted.insert(service("other"), (11..=19).map(ready).collect());
        wanted.insert(service("single"), vec![ready(21)]);
    });
    for number in (11..=19).chain([21]) {
        bench.wait_online(number).await;
    }
    bench.want([]);
    bench.wait_unhealthy("4 of 14 instances vanished at once").await;
    // Where there is one alone, it is all that its service has.
    bench.wanted.send_modify(|wanted| {
        wanted.insert(service("single"), Vec::new());
    });
    bench.wait_unhealthy("5 of 14 instances vanished at once").await;
    for number in (1..=4).chain(11..=19).chain([21]) {
        assert_eq!(bench.target.calls(number), [Online]);
    }
    bench.check();
}

#[tokio::test]
async fn those_that_end_do_not_make_an_empty_list_believable() {
    let mut bench = four_online().await;
    bench.want([ready(1), ready(2), ending(3), ending(4)]);
    bench.wait_target(3, Terminal).await;
    bench.wait_target(4, Terminal).await;
    bench.want([]);
    bench.wait_unhealthy("2 of ").await;
    assert_eq!(bench.target.calls(1), [Online]);
    assert_eq!(bench.target.calls(2), [Online]);
    bench.check();
}

#[tokio::test]
async fn a_service_that_is_not_listed_is_not_complete_and_says_nothing() {
    let mut bench = four_online().await;
    bench.wanted.send_modify(|wanted| {
        wanted.remove(&key());
    });
    bench.settle(90).await;
    bench.wait_healthy().await;
    for number in 1..=4 {
        assert_eq!(bench.target.calls(number), [Online]);
    }
}

/// An address that takes connections until its task is ended.
async fn listening() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { while listener.accept().await.is_ok() {} }))
}

#[tokio::test]
async fn of_many_that_vanished_those_go_whose_addresses_refuse_connections() {
    let (address, serving) = listening().await;
    let mut bench = Bench::fake();
    // Nobody listens on the ports of the others.
    let mut alive = ready(4);
    alive.address = Some(address);
    bench.want([ready(1), ready(2), ready(3), alive]);
    for number in 1..=4 {
        bench.wait_online(number).await;
    }
    bench.want([]);
    bench.wait_unhealthy("4 of 4 instances vanished at once").await;
    for number in 1..=4 {
        assert_eq!(bench.target.state(number), Some(Online), "{number}: a few refused connections prove nothing");
    }
    for number in 1..=3 {
        bench.wait_target(number, Terminal).await;
    }
    bench.wait_unhealthy("1 of 1 instances vanished at once").await;
    // Several times as long as it took the others.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.target.state(4), Some(Online), "one that takes connections serves, however few are left");
    // Somebody does what the alarm says.
    serving.abort();
    bench.wait_target(4, Terminal).await;
    bench.wait_healthy().await;
    bench.check();
}

/// An address that says nothing: its listener takes no more connections.
async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (address, listener, waiting)
}

#[tokio::test]
async fn silence_is_an_end_where_addresses_go_with_their_instances_and_nowhere_else() {
    let (address, _listener, _waiting) = silent().await;
    let (listens, _serving) = listening().await;
    for silence in [None, Some(Duration::from_secs(1))] {
        let mut bench = Bench::fake_that_believes(silence);
        let (mut gone, mut alive) = (ready(1), ready(2));
        (gone.address, alive.address) = (Some(address), Some(listens));
        bench.want([gone, alive]);
        bench.wait_online(1).await;
        bench.wait_online(2).await;
        bench.want([]);
        bench.wait_unhealthy("2 of 2 instances vanished at once").await;
        if silence.is_some() {
            bench.wait_target(1, Terminal).await;
            bench.wait_unhealthy("1 of 1 instances vanished at once").await;
        } else {
            // Longer than three questions take.
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert_eq!(bench.target.state(1), Some(Online));
        }
        assert_eq!(bench.target.state(2), Some(Online), "one that takes connections serves");
        bench.check();
    }
}

#[tokio::test]
async fn where_another_one_is_a_vanished_one_is_no_more() {
    let mut bench = Bench::fake();
    let (address, _serving) = listening().await;
    let (mut old, mut new) = (ready(1), ready(2));
    (old.address, new.address) = (Some(address), Some(address));
    bench.want([old]);
    bench.wait_online(1).await;
    bench.want([]);
    bench.wait_unhealthy("1 of 1 instances vanished at once").await;
    new.ready = false;
    bench.want([new]);
    bench.wait_target(1, Terminal).await;
    bench.wait_healthy().await;
    bench.check();
}
