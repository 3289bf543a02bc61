//! The program against a server of its own: answers are those of the directory, byte for byte.

#![expect(clippy::disallowed_methods, reason = "a server of its own process lives by the real time")]

mod served;

use erstwhile_client::{Chunk, Client, Code, Connect, Done, Failure, Incoming, Request, Welcome};
use erstwhile_wire::frame::{self, kind};
use erstwhile_wire::hello::{Limits, Roles};
use served::{Served, output, without_cost};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

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

/// Whoever started a server learns from its end that its store took no more appends, and why.
#[test]
fn a_server_whose_disk_was_full_says_so_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    // No file may grow beyond so many KiB, which is what a full disk is to a log.
    let mut limited = std::process::Command::new("bash");
    limited.args(["-c", r#"trap '' XFSZ; ulimit -f 256; exec "$0" "$@""#, served::PROGRAM]);
    limited.args(["serve", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()]);
    limited.env("XDG_CONFIG_HOME", "/nonexistent");
    let mut served = Served::by(limited, &store);
    let token = std::fs::read_to_string(served.token_file("ingest")).unwrap();
    let mut client = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
    client.producer(1, 1, 1, 0).unwrap();
    let mut refused = None;
    for sequence in 1..100 {
        // Texts that do not become smaller.
        let noise = |at: u64| {
            (0..400).fold(sequence * 1000 + at, |x: u64, _| x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29))
        };
        let lines: String = (0..200)
            .map(|at| {
                let text: String = (0..10).map(|part| format!("{:016x}", noise(at * 10 + part))).collect();
                format!(
                    "{{\"name\":\"users\",\"hostIdentifier\":\"h{at}\",\"unixTime\":{},\"snapshot\":[{{\"uid\":\"{text}\"}}],\"action\":\"snapshot\"}}\n",
                    1_545_645_600 + sequence
                )
            })
            .collect();
        let chunks = vec![Chunk { source: b"log", offset: sequence * 1_000_000, lines: lines.as_bytes() }];
        if let Err(error) = client.append_lines(1, sequence, chunks) {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused.and_then(|error| error.code()), Some(Code::Failed));
    drop(client);
    assert_eq!(served.exit_code(), Some(1));
    let said = served.said().join("\n");
    assert!(said.contains("erstwhile: store ") && said.contains("File too large"), "{said}");
}

/// Whoever may administrate learns from the server what the directory tells, byte for byte.
#[test]
fn a_server_weighs_its_store_as_its_directory_is_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(folder.path());
    let mut served = Served::start(Path::new(&store), &[]);
    let args = served.args("admin");
    let server: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    let mut texts = Vec::new();
    for more in [
        &["stats"][..],
        &["stats", "--keyframes", "--holes"],
        &["stats", "--columns", "--reads"],
        &["stats", "processes", "--columns", "--reads", "--keyframes"],
        &["stats", "users", "--holes", "--silent-after", "60"],
        &["stats", "--silent-after", "9000000000"],
        &["stats", "nonesuch"],
    ] {
        for form in ["text", "json", "ndjson", "csv"] {
            let form = ["--format", form];
            let here = output(&[more, &form, &["--store", &store]].concat());
            let there = output(&[more, &form, &server].concat());
            let told = |output: &std::process::Output| {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
            };
            assert_eq!(told(&here), told(&there), "{more:?} {form:?}");
            texts.push(told(&there).1);
        }
    }
    for word in [
        "\"keyframe_bytes\":null",
        "\"stored_bytes\":",
        "\"beyond_bound\":",
        "\"hosts_with_holes\":[\"",
        "\"silent\":[{",
        "\"silent\":[]",
    ] {
        assert!(texts.iter().any(|text| text.contains(word)), "{word}: each is told somewhere");
    }
    // Watched, it is asked again and again.
    let watched = [&["stats", "--watch", "1", "--format", "ndjson"][..], &server].concat();
    let mut watching = served::command(&watched).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watching.stdout.take().unwrap()));
    assert_eq!(lines.map_while(Result::ok).filter(|line| line.starts_with("{\"hosts\":")).take(2).count(), 2);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let reads = served.args("read");
    let refused = output(&[&["stats"][..], &reads.iter().map(|arg| &**arg).collect::<Vec<&str>>()].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("role admin"), "{said}");
    assert!(served.terminate(), "it ends well");
}

/// A server of before does not know the request; what to do then is said.
#[test]
fn an_older_server_is_not_weighed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let older = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut came = Vec::new();
        let mut next = |stream: &mut TcpStream| loop {
            if let Ok(Some((frame, bytes))) = frame::take(&came, |_| 4096) {
                let kind = (frame.kind, frame.id);
                came.drain(..bytes);
                return kind;
            }
            let mut some = [0; 4096];
            let read = stream.read(&mut some).unwrap();
            came.extend_from_slice(&some[..read]);
        };
        assert_eq!(next(&mut stream), (kind::HELLO, 0));
        let limits = Limits {
            request_bytes_max: 1 << 20,
            requests_max: 4,
            window_bytes_max: 1 << 20,
            request_millis_max: 1000,
            idle_millis_max: 1000,
        };
        let welcome = Welcome {
            version: 1,
            capabilities: 0,
            roles: Roles::ALL,
            store: [0; 16],
            server: b"erstwhile/0.0.9".to_vec(),
            limits,
        };
        let mut out = Vec::new();
        frame::put(&mut out, kind::WELCOME, 0, |out| welcome.encode(out));
        stream.write_all(&out).unwrap();
        let (kind, id) = next(&mut stream);
        assert_eq!(kind, 0x33);
        let failure = Failure::new(Code::Unsupported, "this server knows no requests of type 0x33");
        out.clear();
        frame::put(&mut out, kind::ERROR, id, |out| failure.encode(out));
        stream.write_all(&out).unwrap();
    });
    let refused = output(&["stats", "--server", &address]);
    older.join().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("0x33") && said.contains("--store DIR"), "{said}");
}

/// What operators do to a store while it is served: ask the server to merge, and back its directory up beside it.
#[test]
fn a_served_store_is_merged_by_its_server_and_backed_up_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(folder.path());
    let mut served = Served::start(Path::new(&store), &[]);
    let compact = |token: &str, more: &[&str]| {
        let args = served.args(token);
        let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
        let output = output(&[&["compact"][..], &args, more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(compact("admin", &[]).0, Some(0));
    let (code, text) = compact("read", &[]);
    assert!(code == Some(1) && text.contains("role admin"), "{text}");
    let (code, text) = compact("admin", &["--seconds-max", "5"]);
    assert!(code == Some(2) && text.contains("no other option than --dry-run"), "{text}");
    let (code, text) = compact("admin", &["--dry-run"]);
    assert!(code == Some(0) && text.is_empty(), "{text}");
    let (backup, again) = (folder.path().join("backup"), folder.path().join("again"));
    let (backup, again) = (backup.to_str().unwrap(), again.to_str().unwrap());
    assert!(output(&["backup", "--store", &store, "--to", backup]).status.success());
    assert!(output(&["restore", "--from", backup, "--to", again]).status.success());
    let held = output(&["compact", "--store", &store, "--seconds-max", "5"]);
    // Its server has it, so there is nothing to do or it says who has it.
    assert!([Some(0), Some(1)].contains(&held.status.code()), "{held:?}");
    assert!(served.terminate(), "it ends well");
    let users = |store: &str| output(&["history", "users", "--store", store, "--format", "csv"]).stdout;
    assert_eq!(users(again), users(&store));
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
    let tokens = folder.path().join("tokens");
    std::fs::write(config, format!("tokens = {tokens:?}")).unwrap();
    let refused = output(&["serve", "--config", config, "--check-config"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(tokens.to_str().unwrap()));
    assert_eq!(output(&["serve", "--check-config"]).status.code(), Some(2), "no store is named");
    std::fs::write(config, "lisen = []").unwrap();
    let refused = output(&["serve", "--config", config, "--check-config"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lisen"));
}

/// The value of a series of a server's metrics.
fn figure(http: &str, series: &str) -> f64 {
    let mut stream = TcpStream::connect(http).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    let line = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {answer}")).parse().unwrap()
}

/// Waits until a figure is at least so much.
fn reaches(http: &str, series: &str, least: f64) -> f64 {
    let began = Instant::now();
    loop {
        let value = figure(http, series);
        if value >= least {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{series} is {value}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An operator is told what comes, how late, and from whom nothing comes.
#[test]
fn metrics_move_with_what_producers_send() {
    let folder = tempfile::tempdir().unwrap();
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, format!("http = \"{http}\"\n[limits]\nhold_millis = 300\n")).unwrap();
    let served = Served::start(&folder.path().join("store"), &["--config", config.to_str().unwrap()]);
    for series in ["erstwhile_lines_total", "erstwhile_look_latency_seconds_count", "erstwhile_producers_connected"] {
        assert_eq!(figure(&http, series), 0.0, "{series}");
    }
    assert!(Client::connect(&Connect::to(&served.address).token("wrong")).is_err());
    assert_eq!(reaches(&http, "erstwhile_failures_total{kind=\"unauthenticated\"}", 1.0), 1.0);

    let token = std::fs::read_to_string(served.token_file("ingest")).unwrap();
    let mut client = Client::connect(&Connect::to(&served.address).token(token.trim())).unwrap();
    assert_eq!(client.producer(1, 1, 1, 0).unwrap(), 0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let line = |age: u64, rows: &str| {
        let head = "\"name\":\"users\",\"hostIdentifier\":\"a\"";
        format!("{{{head},\"unixTime\":{},{rows}}}\n", now - age)
    };
    // The second look may go on, so it is held back for a while.
    let whole = line(4000, "\"snapshot\":[],\"action\":\"snapshot\"");
    let row = line(200, "\"columns\":{\"uid\":\"1\"},\"action\":\"added\"");
    let text = [&whole, &row, "no line\n"].concat();
    for _ in 0..2 {
        let chunks = vec![Chunk { source: b"log", offset: 0, lines: text.as_bytes() }];
        client.send(&Request::AppendLines { producer: 1, sequence: 1, chunks }).unwrap();
        assert!(matches!(client.receive().unwrap().1, Incoming::Done(Done::Lines(_))));
    }
    reaches(&http, "erstwhile_look_latency_seconds_count", 2.0);
    for (series, value) in [
        ("erstwhile_look_latency_seconds_count", 2.0),
        ("erstwhile_look_latency_seconds_bucket{le=\"60\"}", 0.0),
        ("erstwhile_look_latency_seconds_bucket{le=\"300\"}", 1.0),
        ("erstwhile_look_latency_seconds_bucket{le=\"21600\"}", 2.0),
        ("erstwhile_producers_connected", 1.0),
        ("erstwhile_batches_total", 1.0),
        ("erstwhile_batches_again_total", 1.0),
        ("erstwhile_lines_total", 3.0),
        ("erstwhile_dead_letters_total", 1.0),
        // Opened, and two batches of which one is the other.
        ("erstwhile_request_seconds_count{weight=\"append\"}", 2.0),
    ] {
        assert_eq!(figure(&http, series), value, "{series}");
    }
    let lag = figure(&http, "erstwhile_producer_lag_max_seconds");
    assert!((200.0..300.0).contains(&lag), "of the newest look: {lag}");
    let commit = figure(&http, "erstwhile_last_commit_timestamp_seconds");
    assert!((now as f64 - 1.0..now as f64 + 100.0).contains(&commit), "{commit}");
    assert!(figure(&http, "erstwhile_log_bytes") > 0.0 && figure(&http, "erstwhile_memtable_bytes") > 0.0);
    // Connected and silent is told, and so is that it went.
    reaches(&http, "erstwhile_producer_silence_max_seconds", 1.0);
    drop(client);
    let began = Instant::now();
    while figure(&http, "erstwhile_producers_connected") > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it is gone");
    }
    assert_eq!(figure(&http, "erstwhile_producer_silence_max_seconds"), 0.0);
}
