//! What is said of an instance is read by engines of other versions.

use barge_init::{Phase, Status};
use serde_json::{Map, Value, json};

use crate::support::{Init, at_once, ready, shell};

/// The last word of an instance that has said everything once.
fn full() -> Map<String, Value> {
    let mut init = Init::start(&ready(shell("echo said; sleep 1000")));
    let running = init.wait_phase(Phase::Ready);
    assert!(running.process.is_some() && !running.probes.is_empty());
    init.wait_output("said");
    init.stop(at_once(5000));
    init.exit();
    let mut status = init.file().unwrap();
    assert_eq!((status.pid, &status.process), (None, &None));
    status.process = running.process;
    let Value::Object(fields) = serde_json::to_value(status).unwrap() else { panic!("a status is an object") };
    fields
}

fn read(fields: Map<String, Value>) -> Status {
    serde_json::from_value(Value::Object(fields)).unwrap()
}

#[test]
fn a_status_is_read_whatever_an_earlier_or_later_version_leaves_out_or_adds() {
    let full = full();
    let whole = read(full.clone());
    for name in full.keys() {
        let mut without = full.clone();
        without.remove(name);
        let read = read(without);
        assert!(name == "instance" || read.instance == whole.instance, "{name}");
    }
    for list in ["probes", "timeline"] {
        let mut short = full.clone();
        short[list] = json!([{}]);
        read(short);
    }
    let mut more = full.clone();
    more.insert("mood".to_owned(), json!("good"));
    assert_eq!(read(more), whole);
}

#[test]
fn words_of_a_later_version_count_as_not_said() {
    let mut later = full();
    later["phase"] = json!("dreaming");
    later["ending"] = json!({ "ended": "transcended", "into": 7 });
    later["process"] = json!({ "name": "somebody" });
    let read = read(later);
    assert_eq!((read.phase, read.ending, read.process), (Phase::Starting, None, None));
    assert!(read.was_ready);
}
