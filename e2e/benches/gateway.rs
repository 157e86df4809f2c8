//! The gateway beside nginx: the same instances behind both, one worker each, the same load from wrk, in turns.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barge_testkit::TestGateway;
use tempfile::TempDir;

/// How often each is measured, in turns.
const ROUNDS: usize = 5;
/// How long one measurement takes.
const SPAN: &str = "4s";
/// What is measured: connections, and the size of an answer in bytes.
const CASES: [(u32, usize); 4] = [(64, 100), (1000, 100), (64, 65_536), (1000, 65_536)];

fn main() {
    let directory = TempDir::new().unwrap();
    let instances = [Nginx::serving(directory.path(), "one"), Nginx::serving(directory.path(), "two")];
    let addresses: Vec<SocketAddr> = instances.iter().map(|nginx| nginx.address).collect();
    let peer = Nginx::passing_on(directory.path(), &addresses);
    let gateway = TestGateway::start_with_threads(1);
    for (at, address) in addresses.iter().enumerate() {
        gateway.register("bench", at, *address);
    }
    println!(
        "| connections, answer | nginx | barge gateway | ratio (goal 0.90) | p99 nginx | p99 barge | ratio (goal 1.20) |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (connections, size) in CASES {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(wrk("nginx", peer.address, connections, size));
            ours.push(wrk("barge gateway", gateway.address, connections, size));
        }
        row(connections, size, &mut theirs, &mut ours);
    }
}

/// Requests per second, and the 99th percentile of the time that one takes.
#[derive(Debug, Clone, Copy)]
struct Measured {
    rate: f64,
    p99: Duration,
}

fn wrk(proxy: &str, address: SocketAddr, connections: u32, size: usize) -> Measured {
    let refused = listen_overflows();
    let output = Command::new("wrk")
        .args(["--threads", "1", "--latency", "--duration", SPAN, "--connections", &connections.to_string()])
        .args(["--header", "Host: bench.test.localhost", &format!("http://{address}/{size}")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    let refused = listen_overflows() - refused;
    assert!(
        !told.contains("Non-2xx") && !told.contains("Socket errors"),
        "requests through {proxy} failed, and the kernel refused {refused} connections to full queues of listeners:\n{told}"
    );
    let after = |name: &str| {
        let line = told.lines().find(|line| line.trim().starts_with(name)).unwrap_or_else(|| panic!("{told}"));
        line.trim().trim_start_matches(name).trim().to_owned()
    };
    Measured { rate: after("Requests/sec:").parse().unwrap(), p99: span(&after("99%")) }
}

/// How many connections the kernel has refused because nobody accepted those before them. Each is tried again after a second, which
/// is what a slow answer may be due to.
fn listen_overflows() -> u64 {
    let counts = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = counts.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(values).find(|(name, _)| *name == "ListenOverflows").unwrap().1.parse().unwrap()
}

/// wrk's way to write a time.
fn span(text: &str) -> Duration {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number: f64 = text[..text.len() - unit.len()].parse().unwrap();
    Duration::from_secs_f64(
        number
            * match unit {
                "us" => 1e-6,
                "ms" => 1e-3,
                _ => 1.0,
            },
    )
}

fn row(connections: u32, size: usize, theirs: &mut [Measured], ours: &mut [Measured]) {
    let median = |list: &mut [Measured]| {
        list.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let rate = list[list.len() / 2].rate;
        list.sort_by_key(|measured| measured.p99);
        Measured { rate, p99: list[list.len() / 2].p99 }
    };
    let (theirs, ours) = (median(theirs), median(ours));
    let size = if size >= 1024 { format!("{} KiB", size / 1024) } else { format!("{size} B") };
    println!(
        "| {connections}, {size} | {:.0}/s | {:.0}/s | {:.2} | {:.1} ms | {:.1} ms | {:.2} |",
        theirs.rate,
        ours.rate,
        ours.rate / theirs.rate,
        theirs.p99.as_secs_f64() * 1e3,
        ours.p99.as_secs_f64() * 1e3,
        ours.p99.as_secs_f64() / theirs.p99.as_secs_f64()
    );
}

/// An nginx of the bench's own, with one worker.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// One that answers itself.
    fn serving(directory: &Path, name: &str) -> Self {
        let files = directory.join(name).join("html");
        std::fs::create_dir_all(&files).unwrap();
        for (_, size) in CASES {
            std::fs::write(files.join(size.to_string()), vec![b'x'; size]).unwrap();
        }
        Self::start(&directory.join(name), &format!("location / {{ root {}; }}", files.display()), "")
    }

    /// One that passes everything on as the gateway does, with the same headers.
    fn passing_on(directory: &Path, instances: &[SocketAddr]) -> Self {
        let servers: String = instances.iter().map(|address| format!("server {address};")).collect();
        let upstream = format!("upstream instances {{ {servers} keepalive 1024; }}");
        let location = "location / { proxy_pass http://instances; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                        proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; \
                        proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto $scheme; \
                        add_header Instance $upstream_addr; }";
        Self::start(&directory.join("peer"), location, &upstream)
    }

    fn start(directory: &Path, location: &str, rest: &str) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let address = free_address();
        let config = format!(
            "daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {pid}; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000; {rest}\n\
             server {{ listen {address} backlog=4096; {location} }} }}\n",
            pid = directory.join("pid").display()
        );
        let file: PathBuf = directory.join("nginx.conf");
        std::fs::write(&file, format!("user root;\n{config}")).unwrap();
        let child =
            Command::new("nginx").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not start; its configuration is {}", file.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        barge_testkit::signal("TERM", self.child.id());
        // It ends its worker first.
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
