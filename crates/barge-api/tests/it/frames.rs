//! Frames of the exec WebSocket.

use barge_api::ExecFrame;

#[test]
fn every_frame_is_read_as_it_was_written() {
    for frame in [
        ExecFrame::Stdin(Vec::new()),
        ExecFrame::Stdin(vec![0, 1, 255]),
        ExecFrame::StdinEnd,
        ExecFrame::Resize(24, 65535),
        ExecFrame::Signal(15),
        ExecFrame::Stdout(b"out".to_vec()),
        ExecFrame::Stderr(b"err".to_vec()),
        ExecFrame::Exit(-1),
        ExecFrame::Failed("there is no such program".to_owned()),
    ] {
        assert_eq!(ExecFrame::decode(&frame.encode()), Some(frame));
    }
}

#[test]
fn the_bytes_are_those_that_the_documentation_tells() {
    let check = |frame: ExecFrame, bytes: &[u8]| assert_eq!(frame.encode(), bytes);
    check(ExecFrame::Stdin(b"a".to_vec()), &[0, b'a']);
    check(ExecFrame::StdinEnd, &[1]);
    check(ExecFrame::Resize(24, 80), &[2, 0, 24, 0, 80]);
    check(ExecFrame::Signal(2), &[3, 2]);
    check(ExecFrame::Stdout(b"b".to_vec()), &[4, b'b']);
    check(ExecFrame::Stderr(b"c".to_vec()), &[5, b'c']);
    check(ExecFrame::Exit(7), &[6, 0, 0, 0, 7]);
    check(ExecFrame::Failed("d".to_owned()), &[7, b'd']);
}

#[test]
fn what_is_no_frame_is_told_from_one() {
    for bytes in
        [&[][..], &[8], &[255, 1], &[1, 0], &[2, 0, 24], &[2, 0, 24, 0, 80, 0], &[3], &[3, 1, 2], &[6, 0, 0, 0]]
    {
        assert_eq!(ExecFrame::decode(bytes), None, "{bytes:?}");
    }
    let broken = ExecFrame::decode(&[7, 0xff]);
    assert_eq!(broken, Some(ExecFrame::Failed("\u{fffd}".to_owned())), "text that is none is shown as far as it goes");
}
