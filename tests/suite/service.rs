//! The real program over loopback: concurrency, order, shutdown.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tasnif::article::Article;

use super::common::{alone, assert_close, repository, texts, tiny};
use super::running::{Running, exchange};

#[test]
fn two_hundred_requests_at_concurrency_sixteen() {
    let running = Running::start(&repository("models"), &["--model", "tiny"]);
    let articles: Vec<Value> = texts()
        .iter()
        .cycle()
        .take(200)
        .enumerate()
        .map(|(index, text)| {
            let text = format!("{text} {index}");
            match index % 3 {
                0 => json!({"id": index.to_string(), "text": text}),
                1 => json!({"id": index.to_string(), "text": text, "targets": ["المحادثات", "oil prices"], "evidence": true}),
                _ => json!({"id": index.to_string(), "text": text, "tasks": ["topics"], "title": "خبر"}),
            }
        })
        .collect();
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(article) = articles.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = running.send("POST", "/v1/classify", Some(article));
                    answers.lock().expect("no panic").push((article, answer));
                }
            });
        }
    });
    let answers = answers.into_inner().expect("no panic");
    assert_eq!(answers.len(), 200);
    for (article, (status, verdict)) in answers {
        assert_eq!(status, 200, "{verdict}");
        assert_eq!(verdict["id"], article["id"]);
        let article = Article::from_json(article.clone()).expect("an article");
        assert_close(&verdict, &json!(alone(&tiny(), &article)), 1e-4);
    }
}

#[test]
fn sigterm_answers_what_was_accepted() {
    let mut running = Running::start(&repository("models"), &["--model", "tiny"]);
    let long = json!({"text": texts()[4].repeat(8)});
    let address = running.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let long = long.clone();
            std::thread::spawn(move || exchange(address, "POST", "/v1/classify", "", Some(&long)))
        })
        .collect();
    // Until all four are in work: the queue's length isn't visible from outside, so by time; each takes far longer.
    std::thread::sleep(Duration::from_millis(200));
    running.terminate();
    for client in clients {
        let (status, verdict) = client.join().expect("no panic").expect("an answer");
        assert_eq!(status, 200, "{verdict}");
        assert!(verdict["usage"]["windows"].as_u64() > Some(100));
    }
    let exit = running.child.wait().expect("it ends");
    assert!(exit.success(), "{exit}");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_told_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_tasnif"))
        .args(["serve", "--model", "tiny", "--port", &port, "--models"])
        .arg(repository("models"))
        .output()
        .expect("the program runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains(&port) && message.contains("--port"), "{message}");
}

#[test]
fn health_succeeds_while_the_service_is_ready_and_fails_once_it_is_gone() {
    let mut running = Running::start(&repository("models"), &["--model", "tiny"]);
    let port = running.address.port().to_string();
    let health = || {
        let output = Command::new(env!("CARGO_BIN_EXE_tasnif"))
            .args(["health", "--port", &port])
            .output()
            .expect("the program runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(health(), (true, String::new()));
    running.terminate();
    running.child.wait().expect("it ends");
    let (healthy, said) = health();
    assert!(
        !healthy && said.contains(&format!("the service at 127.0.0.1:{port} is not ready")),
        "{said}"
    );
}
