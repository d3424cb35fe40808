//! What real models take of memory: two side by side, and one replaced by another again and again.

#![expect(clippy::print_stderr, reason = "the figures, beside whether they are good enough")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::bundles::edit;
use super::common::{repository, texts};
use super::running::Running;

const ADMIN: [&str; 2] = ["--admin-key", "secret"];

/// A copy of models/default, byte for byte, under another name. `own` makes its files differ from those of every other copy,
/// so that it has nothing to share.
fn copy(models: &Path, name: &str, own: bool) {
    let dir = models.join(name);
    fs::create_dir(&dir).expect("a folder");
    for entry in fs::read_dir(repository("models/default")).expect("models/default") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
    }
    edit(&dir.join("tasnif.toml"), |text| {
        let text = text.replacen("name = \"default\"", &format!("name = \"{name}\""), 1);
        if own {
            text.split("[files]").next().expect("a part").to_owned()
        } else {
            text
        }
    });
    if own {
        edit(&dir.join("tokenizer.json"), |text| {
            format!("{text}\n{}", " ".repeat(name.len()))
        });
    }
}

fn ask(running: &Running, model: &str) {
    for text in texts() {
        let (status, verdict) = running.send("POST", "/v1/classify", Some(&json!({"text": text, "model": model})));
        assert_eq!(
            (status, verdict["model"]["name"].as_str()),
            (200, Some(model)),
            "{verdict}"
        );
    }
}

/// Embeddings and vocabulary are most of a model, and fine-tunes of one base have the same.
#[test]
fn a_second_model_on_the_same_embeddings_costs_its_layers_alone() {
    let models = tempfile::tempdir().expect("a folder");
    copy(models.path(), "first", false);
    copy(models.path(), "second", false);
    let running = Running::start(models.path(), &[&["--model", "first"], &ADMIN[..]].concat());
    ask(&running, "first");
    let one = running.memory();
    assert_eq!(running.administer("POST", "/v1/admin/models/second", None).0, 200);
    ask(&running, "second");
    let more = running.memory().saturating_sub(one);
    eprintln!("one model: {one} kB, a second one: {more} kB more");
    // 24 MB of packed layers, and what loading leaves; embeddings and vocabulary of its own would be some 60 MB more.
    assert!(more < 50_000, "{more} kB more for the second of two, beside {one} kB");
}

/// Twenty swaps under a light load, of models that share and of models that don't. The figures are in docs/performance.md.
#[test]
#[ignore = "takes minutes: cargo test --test tests -- --ignored --nocapture swaps"]
fn swaps_of_a_real_model_give_its_memory_back() {
    for own in [false, true] {
        let models = tempfile::tempdir().expect("a folder");
        for name in ["first", "second"] {
            copy(models.path(), name, own);
            // One name, so that each load takes the place of the other.
            edit(&models.path().join(name).join("tasnif.toml"), |text| {
                text.replacen(&format!("name = \"{name}\""), "name = \"swapped\"", 1)
            });
        }
        let running = Running::start(models.path(), &[&["--model", "first"], &ADMIN[..]].concat());
        ask(&running, "swapped");
        // The first swap shows what a load takes beside what is served; every later one must find that room again.
        let mut resident = vec![running.memory()];
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ask(&running, "swapped");
                }
            });
            for index in 0..20 {
                let name = ["second", "first"][index % 2];
                assert_eq!(
                    running.administer("POST", &format!("/v1/admin/models/{name}"), None).0,
                    200
                );
                resident.push(running.memory());
            }
            done.store(true, Ordering::Relaxed);
        });
        ask(&running, "swapped");
        let (before, after) = (resident[0], running.memory());
        eprintln!("nothing shared: {own}; {before} kB before, {after} kB after 20 swaps; on the way: {resident:?}");
        assert!(
            after as f64 <= before as f64 * 1.1,
            "{before} kB before, {after} kB after"
        );
    }
}
