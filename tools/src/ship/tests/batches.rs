//! How batches are cut, sent, and tried again.

use super::fake::{World, append, gz};
use crate::fail::Failure;
use crate::ship::{Event, Turn};
use erstwhile_engine::io::Clock;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_batch_is_cut_when_it_is_full_or_old_enough() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    shipper.look().unwrap();
    shipper.greet().unwrap();
    assert!(!shipper.cut().unwrap());
    world.clock.advance(99_000);
    assert!(!shipper.cut().unwrap());
    world.clock.advance(1_000);
    assert!(shipper.cut().unwrap());
    append(&world.log("a.log"), "two\n".repeat(2000));
    shipper.look().unwrap();
    assert!(shipper.cut().unwrap(), "full at once");
    shipper.look().unwrap();
    world.ship(&mut shipper);
    let sizes: Vec<usize> = world.server.borrow().entered.iter().map(|batch| batch[0].2.len()).collect();
    assert_eq!(sizes, [4, 6000, 2000]);
}

#[test]
fn a_long_line_is_a_batch_of_its_own() {
    let world = World::new(1);
    let long = format!("{}\n", "x".repeat(50_000));
    append(&world.log("a.log"), format!("one\n{long}two\n"));
    fs::write(world.log("b.log.1.gz"), gz(format!("one\n{long}two\n").as_bytes())).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    for name in ["a.log", "b.log"] {
        assert_eq!(world.text(name), format!("one\n{long}two\n"));
    }
    for batch in &world.server.borrow().entered {
        let size: usize = batch.iter().map(|(_, _, lines)| lines.len()).sum();
        assert!(size <= 6000 || batch.len() == 1 && size == long.len(), "{size} in {}", batch.len());
    }
}

#[test]
fn a_source_far_behind_does_not_keep_the_others_waiting() {
    let world = World::new(1);
    append(&world.log("a.log"), "much\n".repeat(20_000));
    for name in ["b.log", "c.log", "d.log"] {
        append(&world.log(name), format!("{}\n", "x".repeat(5000)));
    }
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    for name in ["b.log", "c.log", "d.log"] {
        let name = world.log(name).into_os_string().into_encoded_bytes();
        let first = world.server.borrow().entered.iter().position(|batch| batch.iter().any(|chunk| chunk.0 == name));
        assert!(first.unwrap() < 5, "{first:?}");
    }
}

#[test]
fn a_batch_has_room_for_several_sources() {
    let mut world = World::new(1);
    world.options.batch_bytes = 400_000;
    append(&world.log("a.log"), "much\n".repeat(200_000));
    append(&world.log("b.log"), "little\n".repeat(2000));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    let sources = |batch: &Vec<super::fake::Kept>| batch.iter().map(|chunk| chunk.0.clone()).collect::<BTreeSet<_>>();
    assert_eq!(sources(&world.server.borrow().entered[0]).len(), 2);
    assert_eq!(world.text("b.log").len(), 14_000);
}

#[test]
fn only_so_much_is_under_way() {
    let mut world = World::new(1);
    world.options.in_flight_max = 3;
    world.server.borrow_mut().slow = true;
    append(&world.log("a.log"), "much\n".repeat(20_000));
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, SECOND);
    assert_eq!(shipper.report().under_way, 3);
    assert_eq!(shipper.report().bytes_behind(), 100_000);
    world.server.borrow_mut().slow = false;
    world.ship(&mut shipper);
    assert_eq!(shipper.report().bytes, 100_000);
}

#[test]
fn who_is_away_is_tried_again_for_ever_and_ever_more_rarely() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    world.server.borrow_mut().away = Some(Duration::ZERO);
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, 3600 * SECOND);
    let waits = || -> Vec<Duration> {
        let wait = |event| if let Event::Away { wait, .. } = event { Some(wait) } else { None };
        world.events().into_iter().filter_map(wait).collect()
    };
    for (tried, wait) in waits().into_iter().enumerate() {
        let whole = (Duration::from_millis(250) * (1 << tried.min(20))).min(60 * SECOND);
        assert!(wait >= whole / 2 && wait <= whole, "{tried}: {wait:?}");
    }
    assert!((60..140).contains(&waits().len()), "{}", waits().len());
    assert!(shipper.report().to_string().contains("WAITING: busy"));
    world.server.borrow_mut().away = Some(600 * SECOND);
    world.ship_for(&mut shipper, 300 * SECOND);
    assert!(*waits().last().unwrap() >= 600 * SECOND, "as long as it was told to wait");
    world.server.borrow_mut().away = None;
    world.ship_for(&mut shipper, 700 * SECOND);
    assert_eq!(world.text("a.log"), "one\n");
    assert_eq!(shipper.report().away, None);
}

#[test]
fn who_refuses_ends_it() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.server.borrow_mut().refuses =
        Some("the token may not ingest: give one that may with --token-file".to_owned());
    let failure = shipper.turn().unwrap_err();
    assert_eq!(failure, Failure::Failed("the token may not ingest: give one that may with --token-file".to_owned()));
}

#[test]
fn a_recorded_batch_that_is_too_large_by_now_says_how_large_it_is() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n".repeat(1000));
    drop(world.cut());
    world.server.borrow_mut().request_bytes_max = 4000;
    let Err(Failure::Failed(text)) = world.open().unwrap().turn() else { panic!("sent") };
    assert!(text.contains("4000 at most: allow it requests of at least 4"), "{text}");
}

#[test]
fn lag_is_what_is_not_in_and_how_old_it_is() {
    let world = World::new(1);
    let touch = |name: &str, second: u32| {
        let file = File::options().append(true).open(world.log(name)).unwrap();
        file.set_modified(UNIX_EPOCH + second * SECOND).unwrap();
    };
    world.clock.set(1_000_000_000);
    append(&world.log("a.log"), "one\n");
    touch("a.log", 900);
    append(&world.log("b.log"), "one\n");
    touch("b.log", 990);
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    shipper.look().unwrap();
    assert!(shipper.lags().iter().all(|lag| (lag.bytes, lag.seconds) == (0, Some(0))), "{:?}", shipper.lags());
    assert!(shipper.report().to_string().ends_with("nothing behind"), "{}", shipper.report());
    world.server.borrow_mut().slow = true;
    append(&world.log("a.log"), "under way\n");
    touch("a.log", 999);
    world.ship_for(&mut shipper, SECOND);
    world.clock.set(1_005_000_000);
    assert_eq!((shipper.lags()[0].bytes, shipper.lags()[0].seconds), (10, Some(105)), "sent is not in");
    append(&world.log("a.log"), "torn");
    touch("a.log", 1000);
    world.ship_for(&mut shipper, SECOND);
    world.clock.set(1_005_000_000);
    let lags = shipper.lags();
    assert_eq!((lags[0].bytes, lags[0].seconds), (14, Some(105)), "not before 900 as all up to then is in");
    assert_eq!((lags[1].bytes, lags[1].seconds), (0, Some(0)));
    let report = shipper.report().to_string();
    assert!(report.contains("14 bytes behind in 1 source\n  ") && report.ends_with("a.log: 14 bytes behind, 105 s"));
    // It is known after a restart as well.
    drop(shipper);
    let shipper = world.open().unwrap();
    assert_eq!(shipper.lags()[0].seconds, Some(105));
}

#[test]
fn when_nothing_happens_it_is_looked_ever_more_rarely() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    let mut waits = vec![];
    for _ in 0..100 {
        let Turn::CaughtUp(wait) = shipper.turn().unwrap() else { panic!("{waits:?}") };
        shipper.rest(wait).unwrap();
        waits.push(wait.as_millis());
    }
    assert!(waits.is_sorted() && waits[0] == 10 && waits[99] == 40, "{waits:?}");
    append(&world.log("a.log"), "two\n");
    assert!(matches!(shipper.turn().unwrap(), Turn::Wait(wait) if wait.as_millis() == 10));
}

#[test]
fn a_run_ends_when_all_is_in_or_it_is_told_to() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n".repeat(5000));
    let mut shipper = world.open().unwrap();
    let mut reports = vec![];
    shipper.run(&|| false, true, 3600 * SECOND, &mut |report| reports.push(report.clone())).unwrap();
    assert_eq!((reports.len(), reports[0].lines, reports[0].next), (1, 5000, 5));
    let until = world.clock.monotonic_nanos() + 10_000_000_000;
    let clock = world.clock.clone();
    let stop = || clock.monotonic_nanos() > until;
    reports.clear();
    shipper.run(&stop, false, SECOND, &mut |report| reports.push(report.clone())).unwrap();
    assert!((9..=12).contains(&reports.len()), "{}", reports.len());
}

/// Thousands of packed files of hosts are not unpacked all at the same time.
#[test]
fn packed_files_wait_for_their_turn() {
    let world = World::new(1);
    for host in 0..12 {
        let text: String = (0..2000).map(|n| format!("{host} {n}\n")).collect();
        fs::write(world.log(&format!("{host}.log.1.gz")), gz(text.as_bytes())).unwrap();
    }
    let mut shipper = world.open().unwrap();
    let mut most = 0;
    while !matches!(shipper.turn().unwrap(), Turn::CaughtUp(_)) {
        most = most.max(shipper.unpacks());
        world.clock.advance(10_000);
    }
    assert_eq!(most, world.options.unpack_max);
    for host in 0..12 {
        assert_eq!(world.text(&format!("{host}.log")).lines().count(), 2000);
    }
}

#[test]
fn dead_letters_are_told() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    world.server.borrow_mut().dead_letters = 1;
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(shipper.report().dead_letters, 1);
    assert!(world.events().contains(&Event::DeadLetters { sequence: 1, lines: 1 }));
}
