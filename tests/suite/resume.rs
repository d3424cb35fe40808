//! Runs that are cut: killed, out of room, interrupted. What goes on must end as what was not cut.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::archive::{Archive, read_jsonl, score, scoring};
use super::common::repository;

/// Kills for each format; TASNIF_TEST_KILLS asks for more.
fn kills() -> u64 {
    std::env::var("TASNIF_TEST_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(1)
}

#[test]
fn killed_at_any_moment_the_output_is_the_same() {
    let archive = Archive::new(1_500);
    // Steps of the golden ratio spread the moments over the run, whatever their number.
    let mut fraction = f64::from(std::process::id()) * 0.618_034;
    for format in ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet"] {
        let whole = archive.path(&format!("whole.{format}"));
        let begun = Instant::now();
        let flags = ["--keep", "source,text", "--resume"];
        let run = score(&archive.jsonl, &whole, &flags);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let time = begun.elapsed();
        let whole = fs::read(&whole).expect("written");

        let (mut killed, mut went_on) = (0, 0);
        for number in 0..kills() {
            let output = archive.path(&format!("cut{number}.{format}"));
            // Killed again and again until one run comes to its end.
            loop {
                let mut child = scoring(&archive.jsonl, &output, &flags)
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("the program starts");
                fraction = (fraction + 0.618_034) % 1.0;
                std::thread::sleep(time.mul_f64(fraction * 1.1));
                let _ = child.kill();
                let run = child.wait_with_output().expect("it ends");
                let told = String::from_utf8_lossy(&run.stderr);
                went_on += u64::from(told.contains("going on behind row"));
                match run.status.code() {
                    None => killed += 1,
                    Some(0) => break,
                    Some(code) => panic!("{format}: {code}: {told}"),
                }
            }
            assert!(
                fs::read(&output).expect("written") == whole,
                "{format}: the output differs"
            );
        }
        #[expect(clippy::print_stdout, reason = "what a run with more kills is made for")]
        {
            println!(
                "{format}: {} outputs, {killed} kills, {went_on} runs that went on, {time:.1?} uncut",
                kills()
            );
        }
    }
    let left: Vec<_> = archive
        .names()
        .into_iter()
        .filter(|name| {
            name.ends_with(".partial")
                || name.ends_with(".journal")
                || name.ends_with(".assembled")
                || name.ends_with(".new")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A limit on the size of files fails a write as a full disk does, in the midst of a chunk.
#[test]
fn out_of_room_it_fails_and_goes_on_later() {
    let archive = Archive::new(1_500);
    let (whole, output) = (archive.path("whole.jsonl"), archive.path("cut.jsonl"));
    assert!(score(&archive.jsonl, &whole, &[]).status.success());
    let size = fs::metadata(&whole).expect("written").len();
    let limited = format!(
        "trap '' XFSZ; ulimit -f {}; exec {} score --resume {} {}",
        size / 2 / 1024,
        env!("CARGO_BIN_EXE_tasnif"),
        archive.jsonl.display(),
        output.display()
    );
    let run = Command::new("bash")
        .args(["-c", &limited])
        .env("TASNIF_MODELS", repository("models"))
        .env("TASNIF_MODEL", "tiny")
        .output()
        .expect("bash runs");
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cut.jsonl.partial") && told.contains("--resume"),
        "{told}"
    );
    assert!(!output.exists());

    let run = score(&archive.jsonl, &output, &["--resume"]);
    assert!(run.status.success() && String::from_utf8_lossy(&run.stderr).contains("going on behind row"));
    assert!(fs::read(&output).expect("written") == fs::read(&whole).expect("written"));
}

/// Runs until it has counted a chunk, and kills it.
fn cut(input: &Path, output: &Path, flags: &[&str], signal: &str) -> (Option<i32>, String) {
    let child = scoring(input, output, flags)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut journal = output.as_os_str().to_owned();
    journal.push(".journal");
    let counted = || fs::read_to_string(&journal).is_ok_and(|journal| !journal.contains("\"rows\":0,"));
    let begun = Instant::now();
    while !counted() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
    let run = child.wait_with_output().expect("it ends");
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn an_interrupt_ends_in_good_order() {
    let archive = Archive::new(3_000);
    let output = archive.path("out.csv");
    let (code, told) = cut(&archive.jsonl, &output, &[], "-INT");
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("stopped") && told.contains("--resume"), "{told}");
    assert!(!output.exists());
    assert!(score(&archive.jsonl, &output, &["--resume"]).status.success());
    let lines = fs::read_to_string(&output).expect("written");
    assert_eq!(
        lines
            .lines()
            .filter(|line| line.split(',').nth(1).is_some_and(|id| id.starts_with('a')))
            .count(),
        3_000
    );
}

#[test]
fn a_run_goes_on_only_as_it_began() {
    let archive = Archive::new(3_000);
    let output = archive.path("out.jsonl");
    let flags = ["--top-k", "2"];
    assert_eq!(cut(&archive.jsonl, &output, &flags, "-KILL").0, None);

    let refused = |flags: &[&str], expected: &str| {
        let run = score(&archive.jsonl, &output, flags);
        let told = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
    };
    refused(&flags, "--resume goes on with it, --force starts again");
    refused(&["--resume"], "--top-k was Some(2), is None");
    refused(&["--resume", "--top-k", "2", "--target", "oil"], "--target was");
    let model = archive.path("other");
    fs::create_dir(&model).expect("a folder");
    for file in fs::read_dir(repository("models/tiny")).expect("a folder") {
        let file = file.expect("a file");
        let mut bytes = fs::read(file.path()).expect("read");
        if file.file_name() == "tasnif.toml" {
            bytes.extend(b"\n# another one\n");
        }
        fs::write(model.join(file.file_name()), bytes).expect("written");
    }
    let model = model.to_str().expect("a path");
    refused(
        &["--resume", "--top-k", "2", "--model", model],
        "the model was tiny 1.0.0 (",
    );
    let input = fs::read(&archive.jsonl).expect("read");
    fs::write(&archive.jsonl, [input.as_slice(), b"{\"text\": \"more\"}\n"].concat()).expect("written");
    refused(&["--resume", "--top-k", "2"], "the input was");

    // Written again as it was, and run with what doesn't matter.
    fs::write(&archive.jsonl, &input).expect("written");
    let run = score(
        &archive.jsonl,
        &output,
        &["--resume", "--top-k", "2", "--threads", "1", "--strict"],
    );
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && told.contains("going on behind row"), "{told}");
    let lines = read_jsonl(&output);
    assert!(lines.iter().zip(0..).all(|(line, row)| line["id"] == format!("a{row}")));
    assert_eq!(lines.len(), 3_000);

    let again = score(&archive.jsonl, &output, &["--resume", "--top-k", "2"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("complete already"));
}
