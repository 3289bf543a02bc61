//! The world does not comply: what, where and what to do is told, and once it does, everything goes in once.

use super::fake::{World, append, gz};
use crate::fail::Failure;
use crate::ship::Event;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// What was told of files that cannot be read.
fn troubles(world: &World) -> Vec<String> {
    let events = world.events().into_iter().filter(|event| matches!(event, Event::Trouble { .. }));
    events.map(|event| event.to_string()).collect()
}

/// Someone names the folder of the logs, or makes one in place of a log.
#[test]
fn a_directory_in_place_of_a_log_is_told_once_and_hides_nothing() {
    let mut world = World::new(1);
    world.named = vec![world.log("a.log").into(), world.log("b.log").into()];
    fs::create_dir(world.log("a.log")).unwrap();
    append(&world.log("a.log.1"), "one\n");
    append(&world.log("b.log"), "other\n");
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(60));
    assert_eq!((&*world.text("a.log"), &*world.text("b.log")), ("one\n", "other\n"));
    let told = troubles(&world);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.contains("a.log: it is a directory") && told.contains("a.log/*.log"), "{told}");
    fs::remove_dir(world.log("a.log")).unwrap();
    append(&world.log("a.log"), "two\n");
    world.ship_for(&mut shipper, Duration::from_secs(30));
    assert_eq!(world.text("a.log"), "one\ntwo\n");
    // And again while it is followed: what was renamed away goes in.
    append(&world.log("a.log"), "three\n");
    fs::rename(world.log("a.log"), world.log("a.log.0")).unwrap();
    fs::create_dir(world.log("a.log")).unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(30));
    assert_eq!(world.text("a.log"), "one\ntwo\nthree\n");
    assert_eq!(troubles(&world).len(), 2);
    assert_eq!(world.lost(), [0; 0]);
}

#[test]
fn what_is_no_file_is_told() {
    let mut world = World::new(1);
    world.named = vec![world.log("a.log").into()];
    let _socket = UnixListener::bind(world.log("a.log")).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(30));
    let told = troubles(&world);
    assert!(told.len() == 1 && told[0].contains("no file that can be followed"), "{told:?}");
}

/// Who runs it once takes its end for the end of the logs.
#[test]
fn a_single_run_that_could_not_read_all_fails() {
    let mut world = World::new(1);
    world.named = vec![world.log("a.log").into(), world.log("b.log").into()];
    fs::create_dir(world.log("a.log")).unwrap();
    append(&world.log("b.log"), "other\n");
    let mut shipper = world.open().unwrap();
    let once = shipper.run(&|| false, true, Duration::from_secs(3600), &mut |_| {});
    let Err(Failure::Failed(text)) = once else { panic!("{once:?}") };
    assert!(text.contains("a.log") && !text.contains("b.log") && text.contains("--state"), "{text}");
    assert_eq!(world.text("b.log"), "other\n", "what can be read is sent all the same");
    drop(shipper);
    fs::remove_dir(world.log("a.log")).unwrap();
    append(&world.log("a.log"), "one\n");
    world.open().unwrap().run(&|| false, true, Duration::from_secs(3600), &mut |_| {}).unwrap();
    assert_eq!((&*world.text("a.log"), &*world.text("b.log")), ("one\n", "other\n"));
}

/// What a single run says at its end, if it is not that all is in.
fn once(world: &World) -> String {
    let mut shipper = world.open().unwrap();
    let ended = shipper.run(&|| false, true, Duration::from_secs(3600), &mut |_| {});
    match ended {
        Ok(()) => String::new(),
        Err(Failure::Failed(text)) => text,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_was_named_and_is_not_there_is_told_once_and_fails_a_single_run() {
    let mut world = World::new(1);
    world.named = vec![world.log("a.log").into(), world.log("b*.log").into(), world.log("c.log").into()];
    append(&world.log("c.log"), "other\n");
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(60));
    let awaited = |event: &Event| matches!(event, Event::Absent { .. } | Event::Unmatched { .. });
    let told: Vec<String> = world.events().iter().filter(|event| awaited(event)).map(Event::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("b*.log: no file fits this pattern yet"), "{told:?}");
    assert!(told[1].contains("a.log: there is no such file yet"), "{told:?}");
    drop(shipper);
    let text = once(&world);
    assert!(text.contains("a.log") && text.contains("b*.log") && !text.contains("c.log"), "{text}");
    append(&world.log("a.log"), "one\n");
    append(&world.log("b1.log"), "two\n");
    assert_eq!(once(&world), "");
    assert_eq!((&*world.text("a.log"), &*world.text("b1.log"), &*world.text("c.log")), ("one\n", "two\n", "other\n"));
    // Gone after all was sent: a pattern says nothing of it, a name does.
    fs::remove_file(world.log("b1.log")).unwrap();
    assert_eq!(once(&world), "");
    fs::remove_file(world.log("a.log")).unwrap();
    assert!(once(&world).contains("there is no such file"));
}

#[test]
fn a_log_that_was_packed_by_hand_is_shipped_and_told_where_it_cannot_be() {
    let mut world = World::new(1);
    world.named = vec![world.log("a.log.gz").into(), world.log("b.log.gz").into(), world.log("b.log").into()];
    fs::write(world.log("a.log.gz"), gz(b"one\n")).unwrap();
    fs::write(world.log("b.log.gz"), gz(b"two\n")).unwrap();
    append(&world.log("b.log"), "three\n");
    let text = once(&world);
    assert!(text.contains("b.log.gz") && !text.contains("a.log.gz"), "{text}");
    assert_eq!((&*world.text("a.log.gz"), &*world.text("b.log")), ("one\n", "three\n"));
    let told: Vec<Event> = world.events().into_iter().filter(|event| matches!(event, Event::LeftOut { .. })).collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.to_string().contains("erstwhile import"), "{told}");
}

#[test]
fn a_last_line_without_an_end_is_told() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\ntorn");
    let text = once(&world);
    assert!(text.contains("the last line has no line feed yet") && text.contains("a.log"), "{text}");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    let report = shipper.report().to_string();
    assert!(report.contains("a.log: 4 bytes behind") && report.contains("no line feed yet"), "{report}");
    append(&world.log("a.log"), " no more\n");
    world.ship(&mut shipper);
    drop(shipper);
    assert_eq!(once(&world), "");
    assert_eq!(world.text("a.log"), "one\ntorn no more\n");
}

/// What the advice must say, and what goes wrong.
type Fault<'f> = (&'f str, &'f dyn Fn(&World));

/// Without its place a shipper could not tell what it sent, so it sends nothing more.
#[test]
fn a_place_that_cannot_be_written_stops_before_anything_is_sent() {
    let faults: [Fault<'_>; 3] = [
        ("free space", &|world| symlink("/dev/full", world.state.join("place.new")).unwrap()),
        ("names a directory", &|world| fs::create_dir(world.state.join("place.new")).unwrap()),
        ("names a directory", &|world| {
            fs::rename(&world.state, world.state.with_extension("away")).unwrap();
            fs::write(&world.state, "").unwrap();
        }),
    ];
    for (at, (advice, fault)) in faults.into_iter().enumerate() {
        let world = World::new(1);
        append(&world.log("a.log"), "one\n");
        let mut shipper = world.open().unwrap();
        world.ship(&mut shipper);
        append(&world.log("a.log"), "two\n");
        fault(&world);
        let failed = loop {
            match shipper.turn() {
                Ok(crate::ship::Turn::Again) => {}
                Ok(crate::ship::Turn::Wait(time) | crate::ship::Turn::CaughtUp(time)) => shipper.rest(time).unwrap(),
                Err(failed) => break failed,
            }
        };
        let text = failed.to_string();
        let place = world.state.join("place.new");
        for part in [place.to_str().unwrap(), advice, "start it again", "Nothing is lost"] {
            assert!(text.contains(part), "{at}: {text}");
        }
        assert_eq!(world.text("a.log"), "one\n", "{at}: nothing is sent that is not written down");
        drop(shipper);
        let away = world.state.with_extension("away");
        if away.exists() {
            fs::remove_file(&world.state).unwrap();
            fs::rename(away, &world.state).unwrap();
        } else {
            let _ = fs::remove_dir(&place).or_else(|_| fs::remove_file(&place));
        }
        let mut shipper = world.open().unwrap();
        world.ship(&mut shipper);
        assert_eq!(world.text("a.log"), "one\ntwo\n", "{at}");
    }
}

#[test]
fn a_state_that_is_no_directory_is_refused_with_its_name() {
    let world = World::new(1);
    fs::write(&world.state, "").unwrap();
    let Err(Failure::Failed(text)) = world.open().map(drop) else { panic!("opened") };
    assert!(text.contains(world.state.to_str().unwrap()) && text.contains("--state"), "{text}");
    assert_eq!(world.server.borrow().opened.len(), 0, "nobody was asked");
}
