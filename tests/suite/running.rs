//! The real program as a service, and a client of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

pub struct Running {
    pub child: Child,
    pub address: SocketAddr,
}

impl Running {
    /// `tasnif serve` on a free port, with these flags, ready to answer.
    pub fn start(models: &Path, flags: &[&str]) -> Self {
        let running = Self::start_without_waiting(models, flags);
        for _ in 0..600 {
            if running.send("GET", "/health/ready", None).0 == 200 {
                return running;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not ready within 30 s");
    }

    /// As soon as it listens.
    pub fn start_without_waiting(models: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tasnif"))
            .args(["serve", "--port", "0", "--log-format", "json", "--models"])
            .arg(models)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = loop {
            let line = log.next().expect("a line that tells the address").expect("text");
            if let Some((_, address)) = line.split_once("listening on ") {
                break address
                    .trim_start_matches("http")
                    .trim_start_matches("s")
                    .trim_start_matches("://")
                    .trim_end_matches(|c: char| !c.is_ascii_digit())
                    .split('"')
                    .next()
                    .expect("an address")
                    .parse();
            }
        };
        // Somebody must read on, or the program would block on a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address: address.expect("an address"),
        }
    }

    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        exchange(self.address, method, path, "", body).expect("an answer")
    }

    /// What a GET answers that isn't JSON.
    pub fn text(&self, path: &str) -> String {
        exchange_text(self.address, "GET", path, "", "").expect("an answer").1
    }

    /// As the administrator whose key is "secret".
    pub fn administer(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        exchange(self.address, method, path, "authorization: Bearer secret\r\n", body).expect("an answer")
    }

    /// Resident memory in kB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub fn terminate(&self) {
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .expect("kill runs");
        assert!(killed.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own. `headers` end in a line break each.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&Value>,
) -> std::io::Result<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let (status, body) = exchange_text(address, method, path, headers, &body)?;
    Ok((status, serde_json::from_str(&body).expect("a JSON body")))
}

fn exchange_text(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Ok((status, body.to_owned()))
}
