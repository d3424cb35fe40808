//! `tasnif classify` and `tasnif bench` as a user runs them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::common::{repository, texts};

fn tasnif(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tasnif"))
        .args(args)
        .env("TASNIF_MODELS", repository("models"))
        .env("TASNIF_MODEL", "tiny")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that refuses its flags may be gone before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_pipe_gets_json() {
    let text = &texts()[4];
    let verdict = json(&tasnif(
        &["classify", "--target", "الأمن", "--target", "oil", "--evidence"],
        text.as_bytes(),
    ));
    assert_eq!(verdict["model"]["name"], "tiny");
    assert_eq!(verdict["language"]["code"], "ar");
    assert_eq!(verdict["stance"][1]["target"], "oil");
    assert_eq!(verdict["usage"]["truncated"], false);

    let verdict = json(&tasnif(
        &["classify", "--json", "--task", "topics", "--top-k", "2", "-"],
        text.as_bytes(),
    ));
    assert_eq!(verdict["topics"].as_array().map(Vec::len), Some(2));
    assert!(verdict.get("stance").is_none());
}

#[test]
fn labels_take_the_place_of_topics() {
    let flags = ["--label", "oil", "--label", "النفط", "--task", "topics"];
    let many = json(&tasnif(&[&["classify"], &flags[..]].concat(), b"Oil prices rose."));
    let labels = |verdict: &Value| -> Vec<String> {
        let topics = verdict["topics"].as_array().expect("topics");
        let mut labels: Vec<String> = topics.iter().map(|topic| topic["label"].to_string()).collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(&many), ["\"oil\"", "\"النفط\""]);
    let one = json(&tasnif(
        &[&["classify", "--single-label"], &flags[..]].concat(),
        b"Oil prices rose.",
    ));
    let sum: f64 = (0..2).filter_map(|index| one["topics"][index]["score"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{one}");

    let refused = tasnif(&["classify", "--single-label"], b"Oil.");
    assert!(!refused.status.success(), "without labels it means nothing");
}

#[test]
fn a_json_file_is_an_article_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("article.json");
    std::fs::write(&file, r#"{"id": "a1", "text": "Oil prices rose.", "targets": ["oil"]}"#).expect("written");
    let verdict = json(&tasnif(&["classify", file.to_str().expect("a path")], b""));
    assert_eq!(
        (&verdict["id"], &verdict["stance"][0]["target"]),
        (&"a1".into(), &"oil".into())
    );
}

#[test]
fn what_is_wrong_is_said_and_named() {
    for (args, input, expected) in [
        (vec!["classify"], &b" \n"[..], "text is empty"),
        (vec!["classify"], b"caf\xe9", "not UTF-8 from byte 3"),
        (vec!["classify", "no/such/file.txt"], b"", "no/such/file.txt"),
        (vec!["classify", "--model", "nothing"], b"x", "nothing"),
        (vec!["classify", "--target", " "], b"x", "targets[0]"),
        (vec!["classify", "--task", "sentiment"], b"x", "sentiment"),
        (vec!["bench", "no/such/file.jsonl"], b"", "no/such/file.jsonl"),
    ] {
        let output = tasnif(&args, input);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn bench_reports_what_it_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("articles.jsonl");
    let lines: String = texts()
        .iter()
        .map(|text| format!("{}\n", serde_json::json!({"text": text, "source": "x"})))
        .collect();
    std::fs::write(&file, lines).expect("written");
    let file = file.to_str().expect("a path");

    let report = json(&tasnif(&["bench", "--json", file], b""));
    assert_eq!(report["articles"], 5);
    for figure in [
        "/saturated/articles_per_s",
        "/saturated/tokens_per_s",
        "/saturated/latency/p99_ms",
        "/alone/p50_ms",
        "/peak_memory_mb",
    ] {
        let value = report.pointer(figure).and_then(Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{figure}: {report}");
    }
    let table = tasnif(&["bench", file], b"");
    assert!(String::from_utf8_lossy(&table.stdout).contains("articles/s"));

    std::fs::write(dir.path().join("bad.jsonl"), "{\"text\": \"x\"}\n{\"text\": 5}\n").expect("written");
    let bad = tasnif(&["bench", dir.path().join("bad.jsonl").to_str().expect("a path")], b"");
    assert!(String::from_utf8_lossy(&bad.stderr).contains("line 2"));
}

/// On a terminal the answer is a table. `script` gives a program one.
#[test]
fn a_terminal_gets_a_table() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("article.txt");
    std::fs::write(&file, &texts()[4]).expect("written");
    let command = format!(
        "{} classify --evidence --target 'الأمن السيبراني' {}",
        env!("CARGO_BIN_EXE_tasnif"),
        file.display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TASNIF_MODELS", repository("models"))
        .env("TASNIF_MODEL", "tiny")
        .stdin(Stdio::null())
        .output()
        .expect("script (util-linux) runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}");
    assert!(
        table.contains("Topics") && table.contains('█') && table.contains("Stance: "),
        "{table}"
    );
    // Foreign text stands in isolates, and nothing stands behind it on its line.
    for line in table.lines().filter(|line| line.contains('\u{2068}')) {
        assert!(line.trim_end().ends_with('\u{2069}'), "{line}");
    }
}

#[test]
fn the_version_tells_commit_and_features() {
    let said = tasnif(&["--version"], b"");
    let text = String::from_utf8(said.stdout).expect("text");
    let rest = text.strip_prefix(concat!("tasnif ", env!("CARGO_PKG_VERSION"), " (commit "));
    let (commit, features) = rest.and_then(|rest| rest.split_once(", features: ")).expect("its form");
    assert!(
        commit == "unknown" || commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit()),
        "{text}"
    );
    assert!(features.trim_end().ends_with(')'), "{text}");
}

#[test]
fn a_key_is_shown_once_and_kept_as_its_hash() {
    let output = tasnif(&["key", "desk", "--scope", "classify,admin"], b"");
    assert!(output.status.success());
    let key = String::from_utf8(output.stderr).expect("text");
    let line = String::from_utf8(output.stdout).expect("text");
    assert!(
        key.starts_with("tsn_") && line.starts_with("desk:classify+admin:"),
        "{key} {line}"
    );
    // A key that is given has the same line each time.
    let again = tasnif(&["key", "desk", "--scope", "classify,admin", "--stdin"], key.as_bytes());
    assert_eq!(String::from_utf8(again.stdout).expect("text"), line);
    for (args, input, expected) in [
        (vec!["key", "a:b"], &b""[..], "NAME:SCOPES:SHA256"),
        (vec!["key", "desk", "--stdin"], b" \n", "standard input is empty"),
        (vec!["key", "desk", "--scope", "all"], b"", "classify"),
        (vec!["serve", "--api-key", "secret"], b"", "tasnif key NAME"),
        (vec!["serve", "--api-keys-file", "no/such/file"], b"", "no/such/file"),
        (vec!["serve", "--tls-cert", "cert.pem"], b"", "--tls-key"),
        (
            vec!["serve", "--tls-cert", "no/such/cert", "--tls-key", "no/such/key"],
            b"",
            "no/such/cert",
        ),
    ] {
        let output = tasnif(&args, input);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{args:?}: {message}"
        );
    }
}
