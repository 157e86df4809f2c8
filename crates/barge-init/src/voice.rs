//! What barge-init says itself. Nobody may be there to hear it, and nobody may take it: a container's output goes through a pipe, whose
//! reader ends or stands still at times. That is no reason to end with it, as `println!` does, or to wait for it.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a pipe that can be written to takes without a wait (pipe(7)).
const AT_ONCE: usize = 4096;

/// Says on standard error what somebody may like to know; lost where it is not taken.
pub(crate) fn say(what: &str) {
    let mut text = format!("barge-init: {what}\n");
    if text.len() > AT_ONCE {
        text.truncate(text.floor_char_boundary(AT_ONCE - 1));
        text.push('\n');
    }
    let mut error = io::stderr().lock();
    let room = {
        let mut asked = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    };
    if room {
        let _ = error.write_all(text.as_bytes());
    }
}

/// Answers on standard output whoever has asked for it.
pub(crate) fn answer(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
