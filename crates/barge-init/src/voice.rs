//! What barge-init says itself. Nobody may be there to hear it, and nobody may take it: a container's output goes through a pipe, whose
//! reader ends or stands still at times. That is no reason to end with it, as `println!` does, or to wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Standard error, opened anew.
const OWN_WAY: &str = "/proc/self/fd/2";

/// What a pipe that can be written to takes without a wait (pipe(7)).
const AT_ONCE: usize = 4096;

/// Says on standard error what somebody may like to know; lost where it is not taken.
pub(crate) fn say(what: &str) {
    let mut text = format!("barge-init: {what}\n");
    if text.len() > AT_ONCE {
        text.truncate(text.floor_char_boundary(AT_ONCE - 1));
        text.push('\n');
    }
    if let Some(mut pipe) = own_way() {
        let _ = pipe.write_all(text.as_bytes());
        return;
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

/// A way to the pipe that standard error is, which does not wait; the processes that share standard error itself may count on waiting.
/// None where it is no pipe, or may not be opened. Then it is looked at first whether there is room, which another process may take.
fn own_way() -> Option<File> {
    let is_pipe = std::fs::metadata(OWN_WAY).ok()?.file_type().is_fifo();
    is_pipe.then(|| OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(OWN_WAY).ok())?
}

/// Answers on standard output whoever has asked for it.
pub(crate) fn answer(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
