//! `tasnif score` as a user runs it: formats, bad rows, refusals, exit codes.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::archive::{Archive, FORMATS, read_jsonl, score, tasnif};
use super::common::texts;

/// Broken lines of JSONL, each with the code that its record has. Those with `%` carry the row's number.
const BAD: [(&[u8], &str); 30] = [
    (b"", "row_empty"),
    (b"   ", "row_empty"),
    (b"\t", "row_empty"),
    (b"\r", "row_empty"),
    (b"{", "json_malformed"),
    (b"{\"text\": \"cut", "json_malformed"),
    (b"{\"text\": \"two\"} {\"text\": \"objects\"}", "json_malformed"),
    (b"{'text': 'single quotes'}", "json_malformed"),
    (b"{\"text\": \"a quote \" within\"}", "json_malformed"),
    (b"{\"text\": \"comma\",}", "json_malformed"),
    (b"{\"text\": \"a raw\ttab\"}", "json_malformed"),
    (b"{\"text\": \"\\ud800 half a surrogate\"}", "json_malformed"),
    (b"{\"text\": NaN}", "json_malformed"),
    (b"\xef\xbb\xbf{\"text\": \"a mark in the midst\"}", "json_malformed"),
    (b"text,title", "json_malformed"),
    (b"{\"text\": \"NUL \0\"}", "nul_byte"),
    (b"{\0\"\0t\0e\0x\0t\0\"\0", "nul_byte"),
    (b"{\"text\": \"caf\xe9\"}", "utf8_invalid"),
    (b"{\"text\": \"\xd8\"}", "utf8_invalid"),
    (b"\xff\xfe{\"text\": \"x\"}", "utf8_invalid"),
    (b"[\"text\"]", "field_invalid"),
    (b"\"text\"", "field_invalid"),
    (b"null", "field_invalid"),
    (b"{\"text\": 5}", "field_invalid"),
    (b"{\"text\": \"x\", \"title\": [\"y\"]}", "field_invalid"),
    (b"{\"text\": \"x\", \"language\": \"Arabic, I think\"}", "field_invalid"),
    (b"{\"title\": \"no text\"}", "field_missing"),
    (b"{\"text\": null}", "field_missing"),
    (b"{\"text\": \" \\n\"}", "text_empty"),
    (b"HUGE", "row_too_long"),
];

#[test]
fn a_thousand_bad_rows_of_thirty_kinds_among_nine_thousand() {
    let dir = tempfile::tempdir().expect("a folder");
    let (input, output) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
    let mut file = b"\xef\xbb\xbf".to_vec();
    let mut bad = 0;
    let mut expected: Vec<Result<String, &str>> = Vec::new();
    for row in 1..=10_000 {
        if row % 10 == 4 {
            let (line, code) = BAD[bad % BAD.len()];
            bad += 1;
            if line == b"HUGE" {
                file.extend(format!("{{\"text\": \"{}\"}}", "x".repeat(5_000)).bytes());
            } else {
                file.extend(line);
            }
            expected.push(Err(code));
        } else {
            let id = format!("a{row}");
            // Good ones in the shapes that archives have.
            let line = match row % 3 {
                0 => json!({"id": id, "text": "Oil prices rose.", "unknown": {"x": [1]}}).to_string(),
                1 => format!("  {{\"text\":\"\\u0627\\n\\\"quoted\\\"\", \"id\":\"{id}\", \"title\":null}} "),
                _ => json!({"id": id, "text": "ЁЖ 🚀 sport", "language": "", "targets": "oil"}).to_string(),
            };
            file.extend(line.bytes());
            expected.push(Ok(id));
        }
        file.extend(if row % 7 == 0 { &b"\r\n"[..] } else { b"\n" });
    }
    fs::write(&input, file).expect("written");

    let run = score(&input, &output, &["--max-row-bytes", "4096", "--tasks", "topics"]);
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = read_jsonl(&output);
    assert_eq!(lines.len(), 10_000);
    assert_eq!(lines.iter().filter(|line| line.get("error").is_some()).count(), 1_000);
    for ((row, line), expected) in (1..).zip(&lines).zip(&expected) {
        match expected {
            Ok(id) => assert_eq!((&line["id"], line.get("error")), (&json!(id), None), "row {row}"),
            Err(code) => {
                assert_eq!(
                    (&line["row"], &line["error"]["code"]),
                    (&json!(row), &json!(code)),
                    "{line}"
                );
                assert!(
                    line["error"]["message"]
                        .as_str()
                        .is_some_and(|message| message.len() > 10),
                    "{line}"
                );
            }
        }
    }

    let run = score(&input, &dir.path().join("strict.jsonl"), &["--strict"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("row 4: the line is empty"));
}

/// From each format into each, with the same scores; kept columns with their types.
#[test]
fn every_format_in_and_out() {
    let archive = Archive::new(40);
    let first = archive.path("first.jsonl");
    assert!(
        score(&archive.jsonl, &first, &["--keep", "source,words"])
            .status
            .success()
    );
    let verdicts = read_jsonl(&first);
    assert_eq!(verdicts[2]["kept"], json!({"source": "s2", "words": 2}));

    for output in FORMATS {
        // Through this format and back: what it kept must be what it got.
        let path = archive.path(&format!("out.{output}"));
        let run = score(&archive.jsonl, &path, &["--keep", "text,source,words"]);
        assert!(
            run.status.success(),
            "{output}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        if output.starts_with("jsonl") {
            continue;
        }
        let back = archive.path(&format!("back.{output}.jsonl"));
        let columns = "id,source,topics,stance,topic_politics,tokens,error";
        let run = score(&path, &back, &["--keep", columns]);
        assert!(
            run.status.success(),
            "{output}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        for (verdict, again) in verdicts.iter().zip(read_jsonl(&back)) {
            let kept = &again["kept"];
            assert_eq!(again["topics"], verdict["topics"], "{output}");
            assert_eq!(kept["id"], verdict["id"], "{output}");
            assert_eq!(kept["source"], verdict["kept"]["source"], "{output}");
            assert_eq!(kept["stance"], verdict["stance"][0]["label"], "{output}");
            let number = |value: &Value| {
                value
                    .as_f64()
                    .or_else(|| value.as_str()?.parse().ok())
                    .expect("a number")
            };
            assert_eq!(number(&kept["tokens"]), number(&verdict["usage"]["tokens"]), "{output}");
            let topics = verdict["topics"].as_array().expect("topics");
            let politics = topics
                .iter()
                .find(|topic| topic["label"] == "politics")
                .expect("a topic");
            assert!(
                (number(&kept["topic_politics"]) - number(&politics["score"])).abs() < 1e-6,
                "{output}"
            );
            let assigned: Vec<_> = topics.iter().filter(|topic| topic["assigned"] == true).collect();
            let labels: Vec<_> = assigned.iter().filter_map(|topic| topic["label"].as_str()).collect();
            assert_eq!(kept["topics"], labels.join("|"), "{output}");
            assert!(kept["error"].is_null() || kept["error"] == "", "{output}");
        }
    }
}

#[test]
fn a_pipe_in_and_out() {
    let mut child = tasnif(&["score", "--input-format", "jsonl", "--output-format", "csv", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = "{\"text\": \"Oil, \\\"prices\\\"\", \"id\": 7}\nno\n";
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("row,id,language,language_confidence,topics,topic_politics"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("1,7,") && lines[2].contains("json_malformed"),
        "{text}"
    );
}

#[test]
fn targets_of_all_rows_and_of_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("in.csv");
    fs::write(&input, "body,about\n\"Oil, up.\",oil|sport\nOil down.,\n").expect("written");
    let own = dir.path().join("own.jsonl");
    let run = score(&input, &own, &["--text-field", "body", "--target-field", "about"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let targets: Vec<Vec<Value>> = read_jsonl(&own)
        .iter()
        .map(|line| {
            line["stance"]
                .as_array()
                .expect("stances")
                .iter()
                .map(|stance| stance["target"].clone())
                .collect()
        })
        .collect();
    assert_eq!(targets, [vec![json!("oil"), json!("sport")], vec![Value::Null]]);

    let all = dir.path().join("all.csv");
    let run = score(
        &input,
        &all,
        &["--text-field", "body", "--target", "a", "--target", "b"],
    );
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let header = fs::read_to_string(&all).expect("written");
    assert!(
        header.contains(",stance_unrelated,target_2,stance_2,stance_favor_2,"),
        "{header}"
    );
}

#[test]
fn what_is_refused_says_why_and_touches_nothing() {
    let archive = Archive::new(3);
    let csv = archive.path("in.csv");
    fs::write(&csv, "body,date\nx,y\n").expect("written");
    let utf16 = archive.path("utf16.csv");
    fs::write(&utf16, b"\xff\xfet\0").expect("written");
    let broken = archive.path("broken.parquet");
    fs::write(&broken, b"PAR1 and nothing").expect("written");
    let old = archive.path("old.jsonl");
    fs::write(&old, "old").expect("written");
    let jsonl = archive.jsonl.clone();
    let new = archive.path("new.jsonl");
    for (input, output, flags, expected) in [
        (&csv, &new, &[][..], "no column \"text\"; its columns are body, date"),
        (&csv, &new, &["--text-field", "body", "--keep", "source"], "\"source\""),
        (&utf16, &new, &[], "UTF-16"),
        (&broken, &new, &[], "no Parquet file"),
        (&jsonl, &archive.path("new.xlsx"), &[], "--output-format"),
        (&jsonl, &jsonl, &[], "both input and output"),
        (&jsonl, &old, &[], "--force"),
        (&archive.path("gone.csv"), &new, &[], "gone.csv"),
        (&jsonl, &new, &["--tasks", "stance", "--target", " "], "targets[0]"),
        (&jsonl, &new, &["--threshold", "2"], "threshold"),
        (&jsonl, &new, &["--model", "nothing"], "nothing"),
        (&Path::new("-").to_owned(), &new, &["--input-format", "parquet"], "pipe"),
        (
            &Path::new("-").to_owned(),
            &new,
            &["--input-format", "csv", "--resume"],
            "pipe",
        ),
    ] {
        let run = score(input, output, flags);
        let message = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{flags:?}: {message}");
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(
            !new.exists() && !archive.path("new.jsonl.partial").exists(),
            "{expected}"
        );
    }
    assert_eq!(fs::read_to_string(&old).expect("still there"), "old");
    assert!(score(&jsonl, &old, &["--force"]).status.success());
    assert_eq!(read_jsonl(&old).len(), 3);
}

/// Rows are answered with the same bits whatever they are encoded beside, which is what lets a run that was cut go on.
#[test]
fn an_answer_is_the_same_in_any_company() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows: Vec<String> = (0..60)
        .map(|row| json!({"id": row.to_string(), "text": format!("{} {row}", texts()[row % 5])}).to_string())
        .collect();
    let run = |name: &str, rows: &[String], flags: &[&str]| {
        let (input, output) = (
            dir.path().join(format!("{name}.jsonl")),
            dir.path().join(format!("{name}.out.jsonl")),
        );
        fs::write(&input, rows.join("\n")).expect("written");
        let run: Output = score(&input, &output, flags);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        fs::read_to_string(&output).expect("written")
    };
    for precision in ["int8", "f32"] {
        let all = run("all", &rows, &["--precision", precision, "--force"]);
        let alone = run(
            "alone",
            &rows,
            &[
                "--precision",
                precision,
                "--batch-tokens",
                "1",
                "--threads",
                "1",
                "--force",
            ],
        );
        let half = run(
            "half",
            &rows[30..],
            &["--precision", precision, "--threads", "3", "--force"],
        );
        assert_eq!(all, alone, "{precision}");
        assert!(all.ends_with(&half), "{precision}");
    }
}

/// On a terminal there is a bar. `script` gives a program one.
#[test]
fn a_terminal_gets_a_bar() {
    let archive = Archive::new(300);
    let command = format!(
        "{} score {} {}",
        env!("CARGO_BIN_EXE_tasnif"),
        archive.jsonl.display(),
        archive.path("out.jsonl").display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TASNIF_MODELS", super::common::repository("models"))
        .env("TASNIF_MODEL", "tiny")
        .stdin(Stdio::null())
        .output()
        .expect("script (util-linux) runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(
        shown.contains('█') && shown.contains("rows, ") && shown.contains("/s"),
        "{shown}"
    );
    assert!(shown.contains("300 rows at ") && shown.contains("all good"), "{shown}");
}

#[test]
fn a_cut_gzip_file_fails_and_leaves_no_half_window() {
    let archive = Archive::new(700);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(&fs::read(&archive.jsonl).expect("read"))
        .expect("memory");
    let whole = encoder.finish().expect("memory");
    let (input, output) = (archive.path("cut.jsonl.gz"), archive.path("out.jsonl"));
    fs::write(&input, &whole[..whole.len() - 100]).expect("written");
    let run = score(&input, &output, &[]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{told}");
    assert!(told.contains("can't read the input"), "{told}");
    let rows = read_jsonl(&archive.path("out.jsonl.partial")).len();
    assert!(rows.is_multiple_of(128) && rows < 700, "{rows}");
}
