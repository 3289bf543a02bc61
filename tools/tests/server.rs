//! The program against a server of its own: answers are those of the directory, byte for byte.

mod served;

use served::{Served, output, without_cost};
use std::path::Path;

/// A store of a simulated fleet with everything that goes wrong, and the name of one of its hosts.
fn store(folder: &Path) -> (String, String) {
    let (sim, store) = (folder.join("sim"), folder.join("store"));
    let args = ["simulate", "--hosts", "12", "--days", "2", "--faults", "all", "--seed", "7", "--out"];
    let made = output(&[&args[..], &[sim.to_str().unwrap()]].concat());
    assert!(made.status.success(), "{made:?}");
    let mut args = vec!["import".to_owned(), "--store".to_owned(), store.to_str().unwrap().to_owned()];
    for entry in std::fs::read_dir(sim.join("logs")).unwrap() {
        args.push(entry.unwrap().path().to_str().unwrap().to_owned());
    }
    args[3..].sort();
    let imported = output(&args.iter().map(|arg| &**arg).collect::<Vec<&str>>());
    assert!([Some(0), Some(3)].contains(&imported.status.code()), "{imported:?}");
    let store = store.to_str().unwrap().to_owned();
    let hosts = output(&["hosts", "--store", &store, "--format", "csv"]);
    let hosts = String::from_utf8(hosts.stdout).unwrap();
    let host = hosts.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    (store, host)
}

/// The text of a column in the first row that an answer in JSON has it in.
fn first(text: &[u8], column: &str, begins: &str) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let wanted = format!("\"{column}\":\"{begins}");
    let at = text.find(&wanted).unwrap_or_else(|| panic!("no {column} in {text}"));
    let rest = &text[at + column.len() + 4..];
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn a_server_answers_as_its_directory_does() {
    let folder = tempfile::tempdir().unwrap();
    let (store, host) = store(folder.path());
    let addresses =
        output(&["state", "interface_addresses", "--at", "2026-03-03", "--store", &store, "--format", "json"]);
    let address = first(&addresses.stdout, "address", "10.");
    let mut served = Served::start(Path::new(&store), &[]);
    let at = ["--at", "2026-03-03T12:00:00Z"];
    let span = ["--from", "2026-03-02", "--to", "2026-03-03"];
    let questions: Vec<Vec<&str>> = vec![
        vec!["hosts"],
        vec!["tables"],
        vec!["coverage"],
        vec!["coverage", "users"],
        vec!["coverage", "--host", &host],
        [&["state", "users"][..], &at].concat(),
        [&["state", "users", "--host", &host][..], &at].concat(),
        [&["state", "processes"][..], &at].concat(),
        [&["state", "processes", "--where", "uid=0"][..], &at].concat(),
        [&["state", "users", "--where-begins", "username=ro"][..], &at].concat(),
        [&["state", "interface_addresses", "--where-in", "address=10.0.0.0/8"][..], &at].concat(),
        [&["state", "process_events"][..], &at].concat(),
        [&["state", "nonesuch"][..], &at].concat(),
        [&["state", "users", "--known-at", "2020-01-01"][..], &at].concat(),
        [&["who", "ip", &address][..], &at].concat(),
        [&["who", "ip", "192.0.2.1"][..], &at].concat(),
        [&["who", "uid", "1000"][..], &at].concat(),
        [&["who", "uid", "1000", "--host", &host][..], &at].concat(),
        [&["what", "device", "/mnt/stick/file", "--host", &host][..], &at].concat(),
        vec!["history", "users"],
        vec!["history", "users", "--host", &host],
        vec!["history", "process_events"],
        vec!["history", "process_events", "--host", &host],
        [&["history", "process_events"][..], &span].concat(),
        [&["history", "processes"][..], &span].concat(),
        vec!["history", "nonesuch"],
        vec!["diff", "users", "--host", &host, "2026-03-02", "2026-03-04"],
        vec!["diff", "processes", "--host", &host, "2026-03-02", "2026-03-04"],
        vec!["diff", "users", "--host", &host, "2026-03-04", "2026-03-02"],
        vec!["diff", "process_events", "--host", &host, "2026-03-02", "2026-03-04"],
    ];
    let server = served.args("read");
    let server: Vec<&str> = server.iter().map(|arg| &**arg).collect();
    let mut with_rows = 0;
    for question in &questions {
        for form in ["json", "ndjson", "csv", "text"] {
            let form = ["--format", form];
            let here = output(&[&question[..], &form, &["--store", &store]].concat());
            let there = output(&[&question[..], &form, &server].concat());
            assert_eq!(here.status.code(), there.status.code(), "{question:?}: {there:?}");
            assert_eq!(without_cost(&here.stdout), without_cost(&there.stdout), "{question:?} {form:?}");
            let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(without_cost(said(&here).as_bytes()), without_cost(said(&there).as_bytes()), "{question:?}");
            with_rows += usize::from(here.stdout.len() > 600);
        }
    }
    assert!(with_rows > 60, "most answers have rows: {with_rows}");
    assert!(served.terminate(), "it ends well");
}

#[test]
fn commands_say_what_is_wrong_with_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let served = Served::start(&store, &[]);
    let said = |args: &[&str]| {
        let output = output(args);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = said(&["hosts", "--server", &served.address]);
    assert!(code == Some(1) && text.contains("--token-file"), "{text}");
    let (code, text) = said(&["hosts", "--server", &served.address, "--token-file", &served.token_file("ingest")]);
    assert!(code == Some(1) && text.contains("role read"), "{text}");
    let (code, text) = said(&["hosts", "--server", "127.0.0.1:1", "--token-file", &served.token_file("read")]);
    assert!(code == Some(1) && text.contains("127.0.0.1:1"), "{text}");
    let (code, text) = said(&["hosts", "--server", "store.example:7787"]);
    assert!(code == Some(2) && text.contains("--ca"), "{text}");
    let (code, text) = said(&["hosts", "--server", &served.address, "--store", store.to_str().unwrap()]);
    assert!(code == Some(2) && text.contains("not both"), "{text}");
    let (code, text) = said(&["hosts"]);
    assert!(code == Some(2) && text.contains("--server"), "{text}");
    let args = served.args("read");
    let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    let empty = output(&[&["hosts", "--format", "json"][..], &args].concat());
    assert_eq!(String::from_utf8_lossy(&empty.stdout).trim(), "{\"hosts\":[]}");
}

#[test]
fn a_server_with_tls_is_asked_by_who_trusts_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[tls]\nloopback = true\n").unwrap();
    let store = folder.path().join("store");
    let served = Served::start(&store, &["--config", config.to_str().unwrap()]);
    let ca = store.join("server/certificate.pem");
    let args = served.args("read");
    let args: Vec<&str> =
        [&["hosts", "--format", "json"][..], &args.iter().map(|arg| &**arg).collect::<Vec<_>>()].concat();
    let trusted = output(&[&args[..], &["--ca", ca.to_str().unwrap()]].concat());
    assert!(trusted.status.success(), "{trusted:?}");
    let plain = output(&args);
    assert_eq!(plain.status.code(), Some(1), "plain to TLS: {plain:?}");
    let other = folder.path().join("other");
    let another = Served::start(&other, &["--config", config.to_str().unwrap()]);
    drop(another);
    let wrong = output(&[&args[..], &["--ca", other.join("server/certificate.pem").to_str().unwrap()]].concat());
    assert_eq!(wrong.status.code(), Some(1), "another certificate: {wrong:?}");
}

#[test]
fn a_configuration_is_printed_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let printed = output(&["serve", "--print-config"]);
    assert!(printed.status.success() && !printed.stdout.is_empty());
    let config = folder.path().join("config.toml");
    std::fs::write(&config, &printed.stdout).unwrap();
    let config = config.to_str().unwrap();
    let checked = output(&["serve", "--config", config, "--check-config"]);
    assert!(checked.status.success(), "{checked:?}");
    std::fs::write(config, "lisen = []").unwrap();
    let refused = output(&["serve", "--config", config, "--check-config"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lisen"));
}
