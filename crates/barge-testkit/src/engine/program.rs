//! Programs that the fake engine runs: each does what its command says, and nothing else.

use barge_engine::{ExecInput, ExecOutput};
use tokio::sync::mpsc;

/// `exit N` ends with a code, `cat` gives back what it gets, `notes` tells what else it gets, anything else waits until nobody is there.
#[allow(clippy::unwrap_used)] // For tests alone, where a panic is how to fail.
pub(super) async fn run(command: &[String], mut inputs: mpsc::Receiver<ExecInput>, outputs: &mpsc::Sender<ExecOutput>) {
    let code = match command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["exit", code] => code.parse().unwrap(),
        ["cat"] => loop {
            match inputs.recv().await {
                Some(ExecInput::Data(bytes)) => {
                    if outputs.send(ExecOutput::Stdout(bytes)).await.is_err() {
                        return;
                    }
                }
                Some(ExecInput::End) => break 0,
                Some(_) => {}
                None => return,
            }
        },
        ["notes"] => loop {
            let told = match inputs.recv().await {
                Some(ExecInput::End) => break 0,
                Some(other) => format!("{other:?}\n"),
                None => return,
            };
            if outputs.send(ExecOutput::Stderr(told.into())).await.is_err() {
                return;
            }
        },
        _ => {
            while inputs.recv().await.is_some() {}
            return;
        }
    };
    // Whoever asked may be gone.
    let _ = outputs.send(ExecOutput::Exit(code)).await;
}
