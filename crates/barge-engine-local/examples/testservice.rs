//! The smallest web service that a test needs, with no dependency: it listens on `$HOST:$PORT` and answers every path with its version.
//!
//! `/slow?MS` answers late, `/env?NAME` answers with a variable, `/log?TEXT` writes a line, `/exit?CODE` ends the process. Beside a
//! file `broken` it does not start. The version is the text of the file `version.txt`, where there is one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    println!("testservice {} starts", version());
    if std::path::Path::new("broken").exists() {
        eprintln!("Caused by: this version is broken");
        return ExitCode::from(3);
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    match serve(&format!("{}:{}", variable("HOST"), variable("PORT"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testservice: {error}");
            ExitCode::FAILURE
        }
    }
}

fn version() -> String {
    std::fs::read_to_string("version.txt").unwrap_or_else(|_| "unknown".to_owned()).trim().to_owned()
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {address}");
    for stream in listener.incoming() {
        // A client that goes away is its own affair.
        std::thread::spawn(move || stream.and_then(answer));
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or("/");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = respond(path, query);
        write!(&stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

fn respond(path: &str, query: &str) -> String {
    match path {
        "/slow" => std::thread::sleep(Duration::from_millis(query.parse().unwrap_or(0))),
        "/env" => return std::env::var(query).unwrap_or_default(),
        "/log" => println!("{query}"),
        "/exit" => std::process::exit(query.parse().unwrap_or(1)),
        _ => {}
    }
    version()
}
