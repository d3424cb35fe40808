//! Many models side by side, and replaced under load.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasnif::article::Article;
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;

use super::bundles::variant;
use super::common::{alone, assert_close, texts};
use super::running::Running;

const ADMIN: [&str; 2] = ["--admin-key", "secret"];

/// A models folder with variants of models/tiny: (folder, version, the bias of a calibration, which shows in the scores).
fn folder(variants: &[(&str, &str, f32)]) -> tempfile::TempDir {
    let models = tempfile::tempdir().expect("a folder");
    for (folder, version, bias) in variants {
        variant(&models.path().join(folder), version, |text| {
            text.replace("bias = -0.2", &format!("bias = {bias:?}"))
        });
    }
    models
}

fn rename(models: &Path, folder: &str, name: &str) {
    let path = models.join(folder).join("tasnif.toml");
    let text = fs::read_to_string(&path).expect("read");
    fs::write(&path, text.replace("name = \"tiny\"", &format!("name = \"{name}\""))).expect("written");
}

fn versions(running: &Running) -> Vec<(String, String)> {
    let (_, models) = running.send("GET", "/v1/models", None);
    let text = |model: &Value, field: &str| model[field].as_str().expect("text").to_owned();
    let models = models["models"].as_array().expect("models");
    models
        .iter()
        .map(|model| (text(model, "name"), text(model, "version")))
        .collect()
}

#[test]
fn a_thousand_requests_while_the_model_is_swapped_twenty_times() {
    const SWAPS: usize = 20;
    let broken = [5, 11, 17];
    let names: Vec<(String, String)> = (0..=SWAPS)
        .map(|index| (format!("v{index}"), format!("1.0.{index}")))
        .collect();
    let variants: Vec<(&str, &str, f32)> = names
        .iter()
        .enumerate()
        .map(|(index, (folder, version))| (folder.as_str(), version.as_str(), index as f32 * 0.1 - 1.0))
        .collect();
    let models = folder(&variants);
    // The expectations of the good ones, before three are broken in different ways.
    let articles: Vec<Article> = texts()
        .iter()
        .map(|text| Article {
            targets: vec!["oil".to_owned()],
            ..super::common::text(text)
        })
        .collect();
    let mut expected: HashMap<String, Vec<Value>> = HashMap::new();
    for (folder, version, _) in &variants {
        let pipeline = Pipeline::load(&models.path().join(folder), Precision::Int8).expect("a good variant");
        expected.insert(
            (*version).to_owned(),
            articles
                .iter()
                .map(|article| json!(alone(&pipeline, article)))
                .collect(),
        );
    }
    fs::remove_file(models.path().join("v5/heads.safetensors")).expect("removed");
    fs::write(models.path().join("v11/encoder.safetensors"), [0; 100]).expect("written");
    let wrong = json!({"article": {"text": "Oil."}, "topics": {"sport": 2.0}});
    fs::write(models.path().join("v17/golden.jsonl"), wrong.to_string()).expect("written");

    let running = Running::start(
        models.path(),
        &[&["--model", "v0", "--queue-tokens", "1000000"], &ADMIN[..]].concat(),
    );
    // What 32 connections at a time take in buffers is not what swaps take.
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for article in articles.iter().cycle().take(10) {
                    assert_eq!(running.send("POST", "/v1/classify", Some(&json!(article))).0, 200);
                }
            });
        }
    });
    let before = running.memory();

    let next = AtomicUsize::new(0);
    let answered = Mutex::new(HashMap::<String, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= 1000 {
                        break;
                    }
                    let which = index % articles.len();
                    let (status, verdict) = running.send("POST", "/v1/classify", Some(&json!(articles[which])));
                    assert_eq!(status, 200, "{verdict}");
                    let version = verdict["model"]["version"].as_str().expect("a version").to_owned();
                    assert_close(&verdict, &expected[&version][which], 1e-4);
                    *answered.lock().expect("no panic").entry(version).or_default() += 1;
                }
            });
        }
        scope.spawn(|| {
            for index in 1..=SWAPS {
                // Spread over the thousand.
                while next.load(Ordering::Relaxed) < index * 1000 / (SWAPS + 2) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                let (status, answer) = running.administer("POST", &format!("/v1/admin/models/v{index}"), None);
                if broken.contains(&index) {
                    assert_eq!(
                        (status, answer["error"]["code"].as_str()),
                        (422, Some("model_refused")),
                        "{answer}"
                    );
                } else {
                    assert_eq!(status, 200, "{answer}");
                    assert_eq!(answer["model"]["version"], format!("1.0.{index}"));
                }
            }
        });
    });
    let answered = answered.into_inner().expect("no panic");
    assert_eq!(answered.values().sum::<usize>(), 1000);
    assert!(
        answered.len() >= 10,
        "the swaps came between the requests: {answered:?}"
    );
    assert_eq!(
        versions(&running),
        [("tiny".to_owned(), format!("1.0.{SWAPS}"))],
        "the old ones are gone"
    );

    let after = running.memory();
    // models/tiny is small: what glibc's arenas keep of 32 connections' buffers is more than the 10 % that a leaked model
    // would show beside. Twenty leaked models would be 20 MB.
    assert!(
        after as f64 <= before as f64 * 1.1 + 12_288.0,
        "{before} kB before, {after} kB after"
    );
}

#[test]
fn models_side_by_side_by_name_version_and_alias() {
    let models = folder(&[("a", "1.0.0", 0.0), ("a2", "2.0.0", 1.0), ("b", "1.0.0", 2.0)]);
    rename(models.path(), "a", "first");
    rename(models.path(), "a2", "first");
    rename(models.path(), "b", "second");
    let running = Running::start(models.path(), &[&["--model", "a,b"], &ADMIN[..]].concat());

    let ask = |model: Option<&str>| {
        let mut article = json!({"text": "Oil prices rose."});
        if let Some(model) = model {
            article["model"] = json!(model);
        }
        let (status, verdict) = running.send("POST", "/v1/classify", Some(&article));
        let name = verdict["model"]["name"].as_str().unwrap_or_default();
        let version = verdict["model"]["version"].as_str().unwrap_or_default();
        (status, format!("{name}@{version}"))
    };
    assert_eq!(
        ask(None),
        (200, "first@1.0.0".to_owned()),
        "the first of --model is the default"
    );
    assert_eq!(ask(Some("second")), (200, "second@1.0.0".to_owned()));
    assert_eq!(ask(Some("second@2.0.0")).0, 404);

    // A newer version beside the old one.
    let (status, _) = running.administer("POST", "/v1/admin/models/a2", Some(&json!({"keep": true})));
    assert_eq!(status, 200);
    assert_eq!(ask(Some("first")), (200, "first@2.0.0".to_owned()));
    assert_eq!(ask(Some("first@1.0.0")), (200, "first@1.0.0".to_owned()));

    let (status, _) = running.administer("PUT", "/v1/admin/aliases/topics", Some(&json!({"model": "second"})));
    assert_eq!(status, 200);
    assert_eq!(ask(Some("topics")), (200, "second@1.0.0".to_owned()));
    let (_, listed) = running.send("GET", "/v1/models", None);
    assert_eq!(listed["models"][2]["aliases"], json!(["topics"]));
    let (_, topics) = running.send("GET", "/v1/topics?model=topics", None);
    assert_eq!(topics["model"]["name"], "second");
    assert_eq!(running.administer("DELETE", "/v1/admin/aliases/topics", None).0, 200);
    assert_eq!(ask(Some("topics")).0, 404);

    assert_eq!(
        running.administer("DELETE", "/v1/admin/models/first@2.0.0", None).0,
        200
    );
    assert_eq!(
        ask(Some("first")),
        (200, "first@1.0.0".to_owned()),
        "the previous version is current again"
    );
    assert_eq!(running.administer("DELETE", "/v1/admin/models/first", None).0, 200);
    assert_eq!(ask(Some("first")).0, 404);
}

#[test]
fn administration_needs_its_key_and_stays_in_its_folder() {
    let models = folder(&[("a", "1.0.0", 0.0)]);
    let secret = tempfile::tempdir().expect("a folder");
    variant(&secret.path().join("outside"), "9.0.0", |text| text);
    let running = Running::start(models.path(), &[&["--model", "a"], &ADMIN[..]].concat());

    let (status, answer) = running.send("POST", "/v1/admin/models/a", None);
    assert_eq!((status, answer["error"]["code"].as_str()), (401, Some("key_invalid")));
    let escapes = [
        "..",
        "%2e%2e%2foutside",
        "..%2f..%2fetc",
        "%2fetc",
        "a%2f..%2fa",
        "a%00",
        ".",
    ];
    for name in escapes {
        let (status, answer) = running.administer("POST", &format!("/v1/admin/models/{name}"), None);
        assert!(matches!(status, 404 | 422), "{name}: {status} {answer}");
        assert!(answer["error"]["code"].is_string(), "{name}: {answer}");
    }
    let (status, answer) = running.administer("POST", "/v1/admin/models/nothing", None);
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("model_unknown")));
    let (status, answer) = running.administer("PUT", "/v1/admin/aliases/x", Some(&json!({"model": "nothing"})));
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("model_unknown")));
    let (status, answer) = running.administer("PUT", "/v1/admin/aliases/tiny", Some(&json!({"model": "tiny"})));
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (409, Some("alias_is_model"))
    );
    let (status, answer) = running.administer("PUT", "/v1/admin/aliases/x", Some(&json!({"modle": "tiny"})));
    assert_eq!((status, answer["error"]["code"].as_str()), (422, Some("field_invalid")));
    drop(running);

    let without = Running::start(models.path(), &["--model", "a"]);
    let (status, answer) = without.administer("POST", "/v1/admin/models/a", None);
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("admin_off")));
}

#[test]
fn a_watched_folder_is_what_is_served() {
    let models = folder(&[("a", "1.0.0", 0.0)]);
    let running = Running::start(models.path(), &["--model", "a", "--watch"]);
    let until = |what: &str, expected: &[(&str, &str)]| {
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let begun = Instant::now();
        while versions(&running) != expected {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{what}: {:?}",
                versions(&running)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until("at the start", &[("tiny", "1.0.0")]);

    variant(&models.path().join("b"), "1.0.0", |text| {
        text.replace("\"tiny\"", "\"other\"")
    });
    until("a new folder", &[("other", "1.0.0"), ("tiny", "1.0.0")]);

    variant(&models.path().join("a"), "1.1.0", |text| text);
    until("a changed one", &[("other", "1.0.0"), ("tiny", "1.1.0")]);

    // A broken change leaves what is served; the next good one is taken up.
    let manifest = models.path().join("a/tasnif.toml");
    fs::write(&manifest, "format = 1").expect("written");
    std::thread::sleep(Duration::from_secs(5));
    until("a broken change", &[("other", "1.0.0"), ("tiny", "1.1.0")]);
    variant(&models.path().join("a"), "1.2.0", |text| text);
    until("mended", &[("other", "1.0.0"), ("tiny", "1.2.0")]);

    fs::remove_dir_all(models.path().join("b")).expect("removed");
    until("a removed folder", &[("tiny", "1.2.0")]);
}
