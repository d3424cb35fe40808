//! `tasnif models pull` against a stub of the hub on loopback: redirects, resumed and damaged downloads, refusals, offline.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tasnif::hub::{HubError, ModelId, PULLED, Settings, pull};
use tasnif::model::sha256;

use super::common::repository;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the stub misbehaves, and what it saw.
#[derive(Debug, Default)]
struct Script {
    files: HashMap<String, Vec<u8>>,
    /// Stored by LFS: redirected to another path, named by their sha256.
    large: Vec<String>,
    token: Option<String>,
    /// So many answers are 429 first.
    busy: usize,
    /// The connection is cut in the middle of this file, once.
    cut: Option<String>,
    /// One byte of this file is another than its etag says.
    damaged: Option<String>,
    /// Requests: method and path, the Range header.
    seen: Vec<(String, Option<String>)>,
}

struct Stub {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Stub {
    /// Serves models/tiny as OWNER/tiny, changed by `change`.
    fn start(change: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::default();
        for entry in std::fs::read_dir(repository("models/tiny")).expect("models/tiny") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            script.files.insert(name, std::fs::read(path).expect("read"));
        }
        script.large = vec!["encoder.safetensors".to_owned(), "embeddings.safetensors".to_owned()];
        change(&mut script);
        let script = Arc::new(Mutex::new(script));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is none of the stub's business.
                let _ = answer(&stream, &shared);
            }
        });
        Self { address, script }
    }

    fn settings(&self, cache: &Path) -> Settings {
        Settings {
            endpoint: Some(format!("http://{}", self.address)),
            cache: Some(cache.to_path_buf()),
            ..Settings::default()
        }
    }

    fn seen(&self) -> Vec<(String, Option<String>)> {
        self.script.lock().expect("no panic").seen.clone()
    }
}

fn respond(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )?;
    stream.write_all(body)
}

fn answer(stream: &TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut script = script.lock().expect("no panic");
    script.seen.push((path.clone(), headers.get("range").cloned()));

    let given = headers
        .get("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    if script.token.is_some() && !path.starts_with("/cdn/") && given != script.token.as_deref() {
        return respond(stream, "401 Unauthorized", "", b"");
    }
    if script.busy > 0 {
        script.busy -= 1;
        return respond(stream, "429 Too Many Requests", "", b"");
    }
    if path.starts_with("/api/models/owner/tiny/revision/") {
        let siblings: Vec<Value> = script.files.keys().map(|name| json!({"rfilename": name})).collect();
        let info = json!({"sha": COMMIT, "siblings": siblings});
        return respond(
            stream,
            "200 OK",
            "content-type: application/json\r\n",
            info.to_string().as_bytes(),
        );
    }
    let pinned = format!("/owner/tiny/resolve/{COMMIT}/");
    let (name, at_cdn) = match (path.strip_prefix(&pinned), path.strip_prefix("/cdn/")) {
        (Some(name), _) => (name.to_owned(), false),
        (_, Some(name)) => (name.to_owned(), true),
        _ => return respond(stream, "404 Not Found", "", b""),
    };
    let Some(mut body) = script.files.get(&name).cloned() else {
        return respond(stream, "404 Not Found", "", b"");
    };
    let etag = digest(&body);
    let common = format!("x-repo-commit: {COMMIT}\r\n");
    if script.large.contains(&name) && !at_cdn {
        let host = headers.get("host").cloned().unwrap_or_default();
        let location = format!("{common}x-linked-etag: \"{etag}\"\r\nlocation: http://{host}/cdn/{name}\r\n");
        return respond(stream, "302 Found", &location, b"");
    }
    let etag = if at_cdn { etag } else { format!("git-{}", &etag[..40]) };
    if script.damaged.as_deref() == Some(&name) {
        let last = body.len() - 1;
        body[last] ^= 1;
    }
    let total = body.len();
    let range = headers.get("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .split_once('-')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    });
    let (start, end) = range.map_or((0, total), |(start, end)| {
        let end = end.parse().map_or(total, |end: usize| end + 1);
        (start.parse().unwrap_or(0), end)
    });
    let part = &body[start.min(total)..end.min(total)];
    let head = format!(
        "{common}etag: \"{etag}\"\r\ncontent-range: bytes {start}-{}/{total}\r\n",
        end.saturating_sub(1)
    );
    if script.cut.as_deref() == Some(&name) && part.len() > 1 {
        script.cut = None;
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\n{head}\r\n",
            part.len()
        )?;
        return stream.write_all(&part[..part.len() / 2]);
    }
    respond(stream, "206 Partial Content", &head, part)
}

fn digest(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    sha256(file.path()).expect("a hash")
}

struct Folders {
    models: tempfile::TempDir,
    cache: tempfile::TempDir,
}

fn folders() -> Folders {
    Folders {
        models: tempfile::tempdir().expect("a folder"),
        cache: tempfile::tempdir().expect("a folder"),
    }
}

fn id() -> ModelId {
    ModelId::parse("owner/tiny@main").expect("an id")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn a_pulled_model_is_whole_pinned_and_recorded() {
    let stub = Stub::start(|script| {
        script.files.insert("../escaped.safetensors".to_owned(), b"x".to_vec());
        script
            .files
            .insert("pytorch_model.bin".to_owned(), b"\x80\x02".to_vec());
        script.files.insert("onnx/model.safetensors".to_owned(), b"x".to_vec());
    });
    let folders = folders();
    let pulled = pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        false,
    )
    .expect("pulled");
    assert_eq!(pulled.commit, COMMIT);
    let dir = folders.models.path().join("mine");
    for (file, hash) in &pulled.files {
        assert_eq!(*hash, sha256(&dir.join(file)).expect("a hash"), "{file}");
        assert_eq!(
            *hash,
            sha256(&repository("models/tiny").join(file)).expect("a hash"),
            "{file}"
        );
    }
    let names: Vec<String> = entries(&dir)
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("escaped") || name == "pytorch_model.bin"),
        "{names:?}"
    );
    assert!(names.contains(&PULLED.to_owned()));
    assert_eq!(entries(folders.models.path()).len(), 1, "nothing else is left");

    let again = pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        false,
    );
    assert!(matches!(again, Err(HubError::Exists(_))));
    let before = stub.seen().len();
    pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        true,
    )
    .expect("replaced");
    let asked: Vec<_> = stub.seen().drain(before..).map(|(path, _)| path).collect();
    assert_eq!(
        asked,
        ["/api/models/owner/tiny/revision/main"],
        "the files are in the cache"
    );
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
    let stub = Stub::start(|script| script.cut = Some("encoder.safetensors".to_owned()));
    let folders = folders();
    pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        false,
    )
    .expect("pulled");
    let ranges: Vec<String> = stub
        .seen()
        .into_iter()
        .filter(|(path, _)| path == "/cdn/encoder.safetensors")
        .filter_map(|(_, range)| range)
        .collect();
    let resumed = |range: &String| {
        range
            .strip_prefix("bytes=")
            .and_then(|range| range.split('-').next()?.parse().ok())
            > Some(0u64)
    };
    assert!(ranges.iter().any(resumed), "{ranges:?}");
}

#[test]
fn a_busy_hub_is_asked_again() {
    let stub = Stub::start(|script| script.busy = 2);
    let folders = folders();
    pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        false,
    )
    .expect("pulled");
}

#[test]
fn refusals_name_the_remedy_and_leave_nothing() {
    struct Case {
        name: &'static str,
        change: fn(&mut Script),
        id: &'static str,
        says: &'static [&'static str],
    }
    let cases = [
        Case {
            name: "no token",
            change: |script| script.token = Some("right".to_owned()),
            id: "owner/tiny",
            says: &["HF_TOKEN", "401"],
        },
        Case {
            name: "no such model",
            change: |_| (),
            id: "owner/other",
            says: &["owner/other", "no such model"],
        },
        Case {
            name: "pickles only",
            change: |script| {
                script.files.retain(|name, _| !name.ends_with(".safetensors"));
                script
                    .files
                    .insert("pytorch_model.bin".to_owned(), b"\x80\x02".to_vec());
            },
            id: "owner/tiny",
            says: &["pytorch_model.bin", "safe_serialization=True"],
        },
        Case {
            name: "no tokenizer",
            change: |script| drop(script.files.remove("tokenizer.json")),
            id: "owner/tiny",
            says: &["tokenizer.json", "import_model.py"],
        },
        Case {
            name: "no model",
            change: |script| drop(script.files.remove("config.json")),
            id: "owner/tiny",
            says: &["config.json"],
        },
        Case {
            name: "damaged on its way",
            change: |script| script.damaged = Some("encoder.safetensors".to_owned()),
            id: "owner/tiny",
            says: &["encoder.safetensors", "damaged", "sha256"],
        },
        Case {
            name: "a bundle that can't be served",
            change: |script| drop(script.files.insert("config.json".to_owned(), b"{}".to_vec())),
            id: "owner/tiny",
            says: &["config.json"],
        },
    ];
    for case in cases {
        let stub = Stub::start(case.change);
        let folders = folders();
        let id = ModelId::parse(case.id).expect("an id");
        let error = pull(
            &stub.settings(folders.cache.path()),
            &id,
            folders.models.path(),
            "mine",
            false,
        );
        let message = error.expect_err(case.name).to_string();
        for says in case.says {
            assert!(message.contains(says), "{}: no {says:?} in {message}", case.name);
        }
        assert!(entries(folders.models.path()).is_empty(), "{}", case.name);
    }
    for bad in [
        "",
        "../tiny",
        "owner/../tiny",
        "a/b/c",
        "owner/tiny@../x",
        "owner/ti ny",
        "/tiny",
        "owner/.tiny",
    ] {
        assert!(matches!(ModelId::parse(bad), Err(HubError::Id(_))), "{bad}");
    }
    let folders = folders();
    for bad in ["../x", "a/b", "..", ".hidden", "/x", ""] {
        let error = pull(
            &Settings {
                offline: true,
                ..Settings::default()
            },
            &id(),
            folders.models.path(),
            bad,
            false,
        );
        assert!(matches!(error, Err(HubError::Name(_))), "{bad}: {error:?}");
    }
}

#[test]
fn offline_opens_no_connection() {
    let stub = Stub::start(|_| ());
    let folders = folders();
    let offline = Settings {
        offline: true,
        ..stub.settings(folders.cache.path())
    };
    let error = pull(&offline, &id(), folders.models.path(), "mine", false).expect_err("not there yet");
    assert!(
        matches!(error, HubError::Offline { .. }) && error.to_string().contains("HF_HUB_OFFLINE"),
        "{error}"
    );
    assert!(stub.seen().is_empty());

    pull(
        &stub.settings(folders.cache.path()),
        &id(),
        folders.models.path(),
        "mine",
        false,
    )
    .expect("pulled");
    let before = stub.seen().len();
    let pulled = pull(&offline, &id(), folders.models.path(), "again", false).expect("from the cache");
    assert_eq!((pulled.commit.as_str(), stub.seen().len()), (COMMIT, before));
}

/// The program itself, with the ecosystem's variables; and what the other subcommands say of the result.
#[test]
fn the_command_reads_the_ecosystems_variables() {
    let stub = Stub::start(|script| script.token = Some("right".to_owned()));
    let folders = folders();
    let run = |args: &[&str], offline: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tasnif"))
            .arg("models")
            .args(args)
            .env("TASNIF_MODELS", folders.models.path())
            .env("HF_ENDPOINT", format!("http://{}", stub.address))
            .env("HF_HOME", folders.cache.path())
            .env("HF_TOKEN", "right")
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .expect("the program runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        (output.status.success(), text.concat())
    };
    let (failed, message) = run(&["pull", "owner/tiny"], "1");
    assert!(
        !failed && message.contains("HF_HUB_OFFLINE") && stub.seen().is_empty(),
        "{message}"
    );
    let (done, message) = run(&["pull", "owner/tiny@v1", "--as", "mine"], "0");
    assert!(
        done && message.contains(COMMIT) && message.contains("--model mine"),
        "{message}"
    );
    assert!(folders.cache.path().join("hub/models--owner--tiny").is_dir());

    let (done, list) = run(&["list"], "");
    assert!(
        done && list.contains("mine") && list.contains("3 topics, stance"),
        "{list}"
    );
    let (done, shown) = run(&["show", "mine"], "");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert!(done);
    assert_eq!(
        (&shown["pulled"]["commit"], &shown["topics"][1]["label"]),
        (&json!(COMMIT), &json!("sport"))
    );
    let (done, verified) = run(&["verify"], "");
    assert!(
        done && verified.starts_with("ok ") && verified.contains("self-test passed"),
        "{verified}"
    );

    let card = folders.models.path().join("mine/README.md");
    std::fs::remove_file(&card).expect("removed");
    std::fs::write(&card, "another").expect("written");
    let (done, verified) = run(&["verify", "mine"], "");
    assert!(!done && verified.contains("README.md was changed"), "{verified}");
}
