//! What the end of a process means.

use barge_model::Millis;
use barge_model::hold::{Ended, Ending, MAX_BACK_OFF, Verdict, back_off, verdict};
use barge_model::rollout::Role;

#[test]
fn an_end_is_a_stop_a_failed_start_or_a_crash() {
    use Role::{Candidate, Defunct, Stable};
    let at_once = Verdict::Restart(Millis(0));
    // role, stopping, was_ready, restarts -> verdict
    let rows = [
        // Somebody asked for it.
        (Stable, true, true, 0, Verdict::Gone),
        (Candidate, true, false, 0, Verdict::Gone),
        (Defunct, true, true, 3, Verdict::Gone),
        // Nobody needs it any more.
        (Defunct, false, true, 0, Verdict::Gone),
        (Defunct, false, false, 0, Verdict::Gone),
        // A failed start of a candidate is kept, whether it ran before or not.
        (Candidate, false, false, 0, Verdict::Hold),
        (Candidate, false, false, 5, Verdict::Hold),
        // A crash after a good start.
        (Candidate, false, true, 0, at_once),
        (Stable, false, true, 0, at_once),
        // What was approved is tried again even where it cannot start at the moment.
        (Stable, false, false, 0, at_once),
        (Stable, false, false, 3, Verdict::Restart(Millis(4000))),
    ];
    for (role, stopping, was_ready, restarts, expected) in rows {
        let ended = Ended { role, stopping, was_ready, restarts };
        assert_eq!(verdict(ended), expected, "{ended:?}");
    }
}

#[test]
fn back_off_grows_to_a_minute_and_no_further() {
    let rows = [(0, 0), (1, 1000), (2, 2000), (3, 4000), (6, 32_000), (7, 60_000), (100, 60_000), (u32::MAX, 60_000)];
    for (restarts, millis) in rows {
        assert_eq!(back_off(restarts), Millis(millis), "after {restarts} restarts");
    }
    assert_eq!(back_off(u32::MAX), MAX_BACK_OFF);
}

#[test]
fn endings_are_told_in_words() {
    let rows = [
        (Ending::Exited { code: 0 }, "it ended by itself with exit code 0"),
        (Ending::Exited { code: 1 }, "it ended with exit code 1"),
        (Ending::Exited { code: 126 }, "it could not be executed (exit code 126)"),
        (Ending::Exited { code: 127 }, "its command was not found (exit code 127)"),
        (Ending::Signalled { signal: 9 }, "it was ended by SIGKILL (killed, perhaps for its use of memory)"),
        (Ending::Signalled { signal: 11 }, "it was ended by SIGSEGV (bad memory access)"),
        (Ending::Signalled { signal: 15 }, "it was ended by SIGTERM"),
        (Ending::Signalled { signal: 42 }, "it was ended by signal 42"),
        (Ending::NotStarted, "it could not be started"),
        (Ending::Unknown, "its process is gone"),
    ];
    for (ending, expected) in rows {
        assert_eq!(ending.in_words(), expected);
    }
}
