//! Connections that are slow, large, left or encrypted, against the real program.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::common::{repository, texts};
use super::running::{Running, exchange};

fn start(flags: &[&str]) -> Running {
    Running::start(&repository("models"), &[&["--model", "tiny"], flags].concat())
}

/// What comes until the service closes the connection, and how long that took.
fn answer(address: SocketAddr, sent: &[&[u8]], pause: Duration) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    for piece in sent {
        if stream.write_all(piece).is_err() {
            break;
        }
        std::thread::sleep(pause);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("still open: {error}"),
        _ => (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed()),
    }
}

#[test]
fn slow_and_large_senders_are_cut_off() {
    let running = start(&["--client-timeout-seconds", "1"]);
    let post = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{";
    let trickle: Vec<&[u8]> = std::iter::once(&post[..]).chain([&b" "[..]; 30]).collect();
    let head: Vec<&[u8]> = std::iter::once(&b"GET /health/live HTTP/1.1\r\n"[..])
        .chain([&b"a: b\r\n"[..]; 30])
        .collect();
    let large = format!("GET /health/live HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let keep = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let step = Duration::from_millis(100);
    for (name, sent, pause, status) in [
        ("nothing", vec![], Duration::ZERO, ""),
        ("half a head", vec![&b"GET /health"[..]], Duration::ZERO, ""),
        ("a head in drops", head, step, ""),
        ("no body", vec![&post[..]], Duration::ZERO, "408"),
        ("a body in drops", trickle, step, "408"),
        ("a large head", vec![large.as_bytes()], Duration::ZERO, "431"),
        ("idle after an answer", vec![&keep[..]], Duration::ZERO, "200"),
    ] {
        let (answer, time) = answer(running.address, &sent, pause);
        assert!(time < Duration::from_secs(8), "{name}: {time:?}");
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            found == status || name == "a head in drops" && found == "408",
            "{name}: {answer}"
        );
    }
    assert_eq!(running.send("GET", "/health/live", None).0, 200);
}

/// The connections beyond the bound wait, and each that ends lets one in.
#[test]
fn a_connection_beyond_the_bound_waits_for_one_to_end() {
    let running = start(&["--max-connections", "2"]);
    let connect = || {
        let mut stream = TcpStream::connect(running.address).expect("a connection");
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("sent");
        stream
    };
    let answered = |stream: &mut TcpStream, patience: Duration| {
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            read => {
                read.expect("an answer");
                answer == *b"HTTP/1.1 200"
            }
        }
    };
    let (soon, long) = (Duration::from_millis(200), Duration::from_secs(20));
    let mut open = [connect(), connect()];
    for stream in &mut open {
        assert!(answered(stream, long));
    }
    let [mut third, mut fourth] = [connect(), connect()];
    assert!(!answered(&mut third, soon) && !answered(&mut fourth, soon));
    let [first, mut second] = open;
    drop(first);
    assert!(answered(&mut third, long) && !answered(&mut fourth, soon));
    // Two are open, and one of them says so.
    second
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut figures = String::new();
    second.read_to_string(&mut figures).expect("an answer");
    assert!(figures.contains("\ntasnif_http_connections 2\n"), "{figures}");
    assert!(answered(&mut fourth, long));
}

#[test]
fn a_client_that_leaves_frees_its_place_and_is_counted() {
    let running = start(&["--threads", "1", "--batch-tokens", "64"]);
    let figure = |name: &str| {
        let text = running.text("/metrics");
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.map_or(0.0, |line| {
            line.rsplit(' ')
                .next()
                .and_then(|value| value.parse().ok())
                .expect("a number")
        })
    };
    let article = json!({"text": texts()[4].repeat(20)}).to_string();
    let mut stream = TcpStream::connect(running.address).expect("a connection");
    let head = format!(
        "POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        article.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(article.as_bytes()).expect("sent");
    let wait_for = |what: &str, condition: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for("in work", &|| figure("tasnif_queue_tokens") > 0.0);
    drop(stream);
    wait_for("left", &|| figure("tasnif_queue_tokens") == 0.0);
    let abandoned = "tasnif_articles_total{model=\"tiny\",outcome=\"abandoned\"}";
    wait_for("counted", &|| figure(abandoned) == 1.0);
    assert_eq!(
        figure("tasnif_http_requests_total{route=\"/v1/classify\",status=\"499\"}"),
        1.0
    );
    // Most of it was never encoded.
    assert!(figure("tasnif_batch_tokens_sum") < 20.0 * 300.0);
}

/// Sixteen clients without a pause, and SIGTERM among them: whoever was accepted has an answer. What the kernel let in between
/// the last look and the end of the listening socket is reset by it, and was never accepted.
#[test]
fn sigterm_under_load_loses_nothing() {
    let mut running = start(&[]);
    let address = running.address;
    let (stopping, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (stopping, stopped) = (Arc::clone(&stopping), Arc::clone(&stopped));
            std::thread::spawn(move || {
                let article = json!({"text": texts()[1]});
                let mut answered = 0;
                while !stopped.load(Ordering::Relaxed) {
                    match exchange(address, "POST", "/v1/classify", "", Some(&article)) {
                        Ok((status, _)) => {
                            assert_eq!(status, 200);
                            answered += 1;
                        }
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                        Err(error)
                            if error.kind() == ErrorKind::ConnectionReset && stopping.load(Ordering::Relaxed) =>
                        {
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                answered
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    stopping.store(true, Ordering::Relaxed);
    running.terminate();
    let exit = running.child.wait().expect("it ends");
    stopped.store(true, Ordering::Relaxed);
    assert!(exit.success(), "{exit}");
    let answered: usize = clients
        .into_iter()
        .map(|client| client.join().expect("all were answered"))
        .sum();
    assert!(answered > 16, "{answered}");
}

#[test]
fn https_by_flags_and_a_renewed_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let data = repository("tests/data/tls");
    std::fs::copy(data.join("cert.pem"), &cert).expect("copied");
    std::fs::copy(data.join("key.pem"), &key).expect("copied");
    let flags = [
        "--tls-cert",
        cert.to_str().expect("text"),
        "--tls-key",
        key.to_str().expect("text"),
    ];
    let running = Running::start_without_waiting(&repository("models"), &[&["--model", "tiny"], &flags[..]].concat());

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(data.join("ca.pem")).expect("a certificate"))
        .expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let live = || {
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(&config), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(running.address).expect("a connection"));
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert!(live().starts_with("HTTP/1.1 200"));
    // A broken renewal leaves what was there.
    std::fs::write(&cert, "no certificate").expect("written");
    assert!(live().starts_with("HTTP/1.1 200"));
    std::fs::copy(data.join("cert.pem"), &cert).expect("copied");
    assert!(live().starts_with("HTTP/1.1 200"));
    // Who speaks no TLS gets no answer.
    let (plain, _) = answer(running.address, &[b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"], Duration::ZERO);
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
}
