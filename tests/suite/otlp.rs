//! The real program, built with `otlp`, before a collector of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::common::repository;
use super::running::{Running, exchange};

/// Listens on loopback and keeps the bodies of what it is sent.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            kept.lock().expect("no panic").extend(body);
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.get_mut().write_all(answer).expect("sent");
        }
    });
    (endpoint, received)
}

#[test]
fn a_requests_span_arrives_in_the_trace_of_its_caller() {
    let (endpoint, received) = collector();
    let flags = ["--model", "tiny", "--otlp-endpoint", &endpoint];
    let mut running = Running::start(&repository("models"), &flags);
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
    let traceparent = format!("traceparent: 00-{trace:032x}-b7ad6b7169203331-01\r\n");
    let article = json!({"text": "Oil prices rose on world markets."});
    let answer = exchange(running.address, "POST", "/v1/classify", &traceparent, Some(&article));
    assert_eq!(answer.expect("an answer").0, 200);
    // What is left is sent at the end.
    running.terminate();
    assert!(running.child.wait().expect("it ends").success());
    let spans = received.lock().expect("no panic");
    let has = |bytes: &[u8]| spans.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(&trace.to_be_bytes()), "{}", String::from_utf8_lossy(&spans));
    for text in ["POST /v1/classify", "tasnif.tokens", "tiny@1.0.0", "service.name"] {
        assert!(has(text.as_bytes()), "{text}: {}", String::from_utf8_lossy(&spans));
    }
}
