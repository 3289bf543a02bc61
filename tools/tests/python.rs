//! The Python client against a server, and its own tests; skipped, and said so, where there is no Python.

mod served;

use served::{Served, output};
use std::path::Path;
use std::process::Command;

#[test]
fn the_python_client_answers_the_three_questions() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: there is no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (sim, store) = (folder.path().join("sim"), folder.path().join("store"));
    let args = ["simulate", "--hosts", "5", "--days", "1", "--seed", "11", "--out", sim.to_str().unwrap()];
    assert!(output(&args).status.success());
    let mut args = vec!["import".to_owned(), "--store".to_owned(), store.to_str().unwrap().to_owned()];
    let logs = std::fs::read_dir(sim.join("logs")).unwrap();
    args.extend(logs.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()));
    let imported = output(&args.iter().map(|arg| &**arg).collect::<Vec<&str>>());
    assert!([Some(0), Some(3)].contains(&imported.status.code()), "{imported:?}");
    let served = Served::start(&store, &[]);
    let token = std::fs::read_to_string(served.token_file("read")).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/clients/python/tests");
    let run = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s", tests.to_str().unwrap()])
        .env("ERSTWHILE_SERVER", &served.address)
        .env("ERSTWHILE_TOKEN", token.trim())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    eprintln!("{}", said.trim().lines().last().unwrap_or_default());
}
