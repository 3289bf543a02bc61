//! The demo as a person runs it: it answers the three questions, and what it says to try next works.

use std::path::Path;
use std::process::{Command, Output};

fn erstwhile(args: &[&str], temp: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_erstwhile"))
        .args(args)
        .env_remove("ERSTWHILE_STORE")
        .env("TMPDIR", temp)
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn it_answers_the_three_questions_and_keeps_its_store() {
    let temp = tempfile::tempdir().unwrap();
    let done = erstwhile(&["demo"], temp.path());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let out = text(&done.stdout);
    let answers: Vec<&str> = out.split("\n$ erstwhile ").skip(1).collect();
    let of = |command: &str| answers.iter().filter(|answer| answer.starts_with(command)).copied().collect::<Vec<_>>();
    assert_eq!(of("import ").len(), 1, "{out}");

    let who_ip = of("who ip ");
    assert_eq!(who_ip.len(), 3, "{out}");
    for (answer, more) in who_ip.iter().take(2).chain(&of("who uid ")).zip(1..) {
        // The first line of an answer names the holder, and so does the truth below it.
        let holder = answer.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
        assert!(answer.contains(": definite, seen "), "{more}: {answer}");
        assert!(
            answer.contains(&format!("in truth: {holder}")) || answer.contains(&format!("in truth: it was {holder}'s"))
        );
        assert!(answer.contains("answered in "), "{answer}");
    }
    assert!(who_ip[2].contains("(2 possible)"), "{out}");
    let what = of("what device ");
    assert!(what[0].contains("Verdict: definite."), "{out}");
    assert!(what[0].contains("usb_devices (1 definite)"), "{out}");

    // A shell runs what is proposed; the store and nothing else is left behind.
    let (_, next) = out.split_once("Try next\n").expect("proposals");
    let next: Vec<&str> = next.lines().take_while(|line| !line.starts_with("Your own")).skip(1).collect();
    let script = next.join("\n");
    assert!(script.lines().count() > 6, "{script}");
    let run = Command::new("sh").args(["-euc", &script]).output().expect("sh");
    assert!(run.status.success(), "{script}\n{}", text(&run.stderr));
    let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1);
    let inside: Vec<_> = std::fs::read_dir(&left[0]).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(inside, ["store"]);
}

/// Made-up rows among real ones would be believed.
#[test]
fn it_takes_no_store_that_holds_anything() {
    let temp = tempfile::tempdir().unwrap();
    let store = temp.path().join("mine");
    let args = ["demo", "--store", store.to_str().unwrap()];
    let done = erstwhile(&args, temp.path());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"], "nothing but the store is left");
    let again = erstwhile(&args, temp.path());
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stdout));
    assert!(text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));
    assert!(again.stdout.is_empty());
}
