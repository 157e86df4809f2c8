//! What a process is given of its own: user, group, umask, limits, environment.

use std::collections::BTreeMap;

use barge_init::Phase;
use barge_init::plan::Limit;

use crate::support::{Init, shell};

/// What the script prints, as the process of a plan that was changed.
fn printed(script: &str, change: impl FnOnce(&mut barge_init::Plan)) -> Vec<String> {
    let mut plan = shell(script);
    change(&mut plan);
    Init::start(&plan).wait_phase(Phase::Held).log_tail
}

#[test]
fn limits_and_umask_are_the_processs_own() {
    let lines = printed("ulimit -Sn; ulimit -c; umask; ulimit -Hn", |plan| {
        plan.main.limits = BTreeMap::from([(Limit::OpenFiles, 123), (Limit::Core, 0)]);
        plan.main.umask = Some("027".to_owned());
    });
    assert_eq!(lines[..3], ["123", "0", "0027"]);
    let own = printed("ulimit -Hn", |_| {});
    assert_eq!(lines[3], own[0], "the hard limit stays");
}

#[test]
fn a_limit_above_the_hard_one_takes_that() {
    let hard = printed("ulimit -Hn", |_| {});
    let lines = printed("ulimit -Sn", |plan| {
        plan.main.limits = BTreeMap::from([(Limit::OpenFiles, u64::MAX - 1)]);
    });
    assert_eq!(lines, hard);
}

#[test]
fn a_user_is_found_by_name_and_by_number() {
    if !nix::unistd::geteuid().is_root() {
        barge_testkit::skipped("only root may become somebody else");
        return;
    }
    for (user, expected) in [
        ("nobody", "65534 65534 65534"),
        ("12345", "12345 12345 12345"),
        ("12345:678", "12345 678 678"),
        ("nobody:daemon", "65534 1 1"),
    ] {
        let lines = printed("echo $(id -u) $(id -g) $(id -G)", |plan| plan.main.user = Some(user.to_owned()));
        assert_eq!(lines, [expected], "{user}");
    }
    let mut plan = shell("true");
    plan.main.user = Some("no-such-user".to_owned());
    let status = Init::start(&plan).wait_phase(Phase::Held);
    assert!(status.reason.as_deref().unwrap().contains("find the user \"no-such-user\""), "{:?}", status.reason);
}

#[test]
fn an_environment_is_whole_unless_it_inherits() {
    let script = "echo ${HOME:-none} $OWN";
    let own = |plan: &mut barge_init::Plan| drop(plan.main.env.insert("OWN".to_owned(), "mine".to_owned()));
    assert_eq!(printed(script, own), ["none mine"]);
    let inherited = printed(script, |plan| {
        own(plan);
        plan.main.inherit_env = true;
    });
    assert_eq!(inherited, [format!("{} mine", std::env::var("HOME").unwrap())]);
}
