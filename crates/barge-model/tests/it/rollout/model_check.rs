//! Every state of small worlds: I1 to I8 hold in each of them, and from each of them everything comes to rest.

use barge_model::manifest::Count;
use barge_model::rollout::step;

use super::explorer::{Budget, Explorer};
use super::fixtures::{Catalogue, plan};
use super::world::World;

struct Setting {
    replicas: u32,
    surge: u32,
    unavailable: u32,
    batches: &'static [&'static str],
    sizes: &'static [u32],
    /// Which releases are rollbacks; the first is stable already.
    releases: &'static [bool],
    budget: Budget,
}

fn check(setting: &Setting) -> usize {
    let plan = plan(Count::Absolute(setting.surge), Count::Absolute(setting.unavailable), setting.batches);
    let catalogue = Catalogue::new(&plan, setting.releases);
    let mut explorer = Explorer::new(step, &catalogue, setting.sizes);
    explorer
        .explore(World::with_stable(&catalogue, setting.replicas), setting.budget)
        .unwrap_or_else(|found| panic!("{found:?}"))
}

const CALM: Budget = Budget { faults: 0, ticks: 1, outages: 0, scales: 0, aborts: 1, deploys: 1 };
/// Each release with one instance more, with one instance less, and with both.
const LIMITS: [(u32, u32); 3] = [(1, 0), (0, 1), (1, 1)];

fn check_all_limits_without_batches(name: &str, setting: &Setting) -> usize {
    let check = |(surge, unavailable)| check(&Setting { surge, unavailable, ..*setting });
    let states = LIMITS.into_iter().map(check).sum();
    println!("{name}: {states} states");
    states
}

fn check_all_limits(name: &str, setting: &Setting) -> usize {
    let mut states = 0;
    // With one instance there is nothing to divide into batches.
    let divisible = setting.replicas.max(setting.sizes.iter().copied().max().unwrap_or(0)) > 1;
    let batches: &[&[&str]] = if divisible { &[&[], &["1"]] } else { &[&[]] };
    for (surge, unavailable) in LIMITS {
        for batches in batches {
            states += check(&Setting { surge, unavailable, batches, ..*setting });
        }
    }
    println!("{name}: {states} states");
    states
}

const ONE_RELEASE: Setting = Setting {
    replicas: 1,
    surge: 1,
    unavailable: 0,
    batches: &[],
    sizes: &[],
    releases: &[false, false],
    budget: CALM,
};

#[test]
fn one_release_with_a_fault_anywhere() {
    for replicas in 1..=3 {
        let budget = Budget { faults: 1, ..CALM };
        let states = check_all_limits("one fault", &Setting { replicas, budget, ..ONE_RELEASE });
        assert!(states > 5_000, "so few states mean that the world does nothing: {states}");
    }
}

#[test]
fn scaling_at_any_time() {
    let budget = Budget { scales: 2, ..CALM };
    check_all_limits_without_batches("scaling", &Setting { replicas: 2, sizes: &[0, 3], budget, ..ONE_RELEASE });
    let budget = Budget { scales: 1, faults: 1, ..CALM };
    check_all_limits_without_batches(
        "scaling and a fault",
        &Setting { replicas: 1, sizes: &[0, 2], budget, ..ONE_RELEASE },
    );
}

#[test]
fn the_registrar_down_at_any_time() {
    let budget = Budget { outages: 1, faults: 1, ..CALM };
    check_all_limits("outage", &Setting { replicas: 1, budget, ..ONE_RELEASE });
    let budget = Budget { outages: 1, scales: 1, ..CALM };
    check_all_limits_without_batches(
        "outage and scaling",
        &Setting { replicas: 2, sizes: &[1, 3], budget, ..ONE_RELEASE },
    );
}

#[test]
fn a_newer_release_at_any_time() {
    let budget = Budget { deploys: 2, ..CALM };
    let setting = Setting { replicas: 2, releases: &[false, false, false], budget, ..ONE_RELEASE };
    check_all_limits("superseded", &setting);
}

#[test]
fn a_rollback_at_any_time() {
    let budget = Budget { deploys: 2, ..CALM };
    let setting = Setting { replicas: 2, releases: &[false, false, true], budget, ..ONE_RELEASE };
    check_all_limits("rolled back", &setting);
    let budget = Budget { faults: 1, ..budget };
    check_all_limits_without_batches("rolled back, with a fault", &Setting { replicas: 1, budget, ..setting });
}

#[test]
fn larger_worlds() {
    let budget = Budget { faults: 1, outages: 1, scales: 1, ..CALM };
    let setting = Setting { replicas: 1, sizes: &[0, 2], budget, ..ONE_RELEASE };
    check_all_limits("a fault, an outage and scaling", &setting);
    let budget = Budget { faults: 2, ..CALM };
    for replicas in 1..=3 {
        check_all_limits("two faults", &Setting { replicas, budget, ..ONE_RELEASE });
    }
    let budget = Budget { faults: 1, deploys: 2, ..CALM };
    for releases in [&[false, false, false], &[false, false, true]] {
        let setting = Setting { replicas: 2, releases, budget, ..ONE_RELEASE };
        check_all_limits_without_batches("two releases and a fault", &setting);
    }
    let budget = Budget { faults: 1, scales: 2, ..CALM };
    let setting = Setting { replicas: 2, sizes: &[1, 3], budget, ..ONE_RELEASE };
    check_all_limits_without_batches("scaling twice and a fault", &setting);
}
