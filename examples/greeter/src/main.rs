//! Greeter: a small HTTP service to release. It knows nothing of containers, and nothing of Barge but two variables.
//!
//! It reads `greeter.conf` beside it, listens where `HOST` and `PORT` say, and answers `GET /`, `/slow?ms=N` and `/healthcheck`.
//! It needs no shutdown code of its own: it is told to stop only after its last request.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What `greeter.conf` says.
struct Config {
    version: String,
    greeting: String,
}

fn main() -> ExitCode {
    match read_config("greeter.conf").and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("greeter: {message}");
            ExitCode::FAILURE
        }
    }
}

fn read_config(path: &str) -> Result<Config, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    let mut config = Config { version: String::new(), greeting: String::new() };
    for (number, line) in text.lines().enumerate() {
        let place = format!("{path}, line {}", number + 1);
        let (name, value) = line.split_once('=').ok_or(format!("{place}: {line:?} is not NAME=VALUE"))?;
        match name.trim() {
            "version" => config.version = value.trim().to_owned(),
            "greeting" => config.greeting = value.trim().to_owned(),
            other => return Err(format!("{place}: the setting {other:?} is unknown")),
        }
    }
    println!("greeter {}: {path} says {:?}", config.version, config.greeting);
    Ok(config)
}

fn serve(config: Config) -> Result<(), String> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let address = format!("{}:{}", variable("HOST", "127.0.0.1"), variable("PORT", "8080"));
    let listener = TcpListener::bind(&address).map_err(|error| format!("listen on {address}: {error}"))?;
    println!("greeter {}: listening on {address}", config.version);
    let config = Arc::new(config);
    for stream in listener.incoming().flatten() {
        let config = Arc::clone(&config);
        // A client that goes away ends its own connection and nothing else.
        // Where the machine has no room for another thread, this client is turned away, and the others are served.
        let _ = std::thread::Builder::new().spawn(move || answer_all(stream, &config));
    }
    Ok(())
}

/// Answers the requests of one connection, one after the other.
fn answer_all(stream: TcpStream, config: &Config) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?).lines();
    let mut answers = stream;
    while let Some(first) = requests.next() {
        let first = first?;
        // Headers say nothing that is needed here; an empty line ends them.
        for header in requests.by_ref() {
            if header?.is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let (status, body) = answer(path, config);
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
        answers.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn answer(path: &str, config: &Config) -> (&'static str, String) {
    if let Some(ms) = path.strip_prefix("/slow?ms=").and_then(|ms| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(ms));
    }
    match path {
        "/healthcheck" => ("200 OK", "ok\n".to_owned()),
        _ if path == "/" || path.starts_with("/slow") => {
            ("200 OK", format!("{} from greeter {}\n", config.greeting, config.version))
        }
        _ => ("404 Not Found", "there is nothing here\n".to_owned()),
    }
}
