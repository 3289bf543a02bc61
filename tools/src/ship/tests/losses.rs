//! What cannot be sent is told, counted, and stops nothing.

use super::fake::{World, append, gz};
use crate::fail::Failure;
use crate::ship::Event;
use std::fs;
use std::time::Duration;

#[test]
fn a_log_that_is_cut_off_without_a_copy_is_told() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    append(&world.log("a.log"), "torn");
    world.ship(&mut shipper);
    fs::write(world.log("a.log"), "new\n").unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(8));
    assert_eq!(world.text("a.log"), "one\nnew\n");
    assert!(world.events().contains(&Event::Truncated { source: world.log("a.log"), unread: 4 }));
    assert_eq!(world.lost(), [4]);
    assert_eq!(shipper.report().lost_bytes, 4);
}

#[test]
fn a_file_that_was_deleted_unread_while_nobody_looked_is_told() {
    let mut world = World::new(1);
    world.options.batch_bytes = 10;
    append(&world.log("a.log"), "one\ntwo\nthree\nfour\n");
    let mut shipper = world.open().unwrap();
    shipper.look().unwrap();
    shipper.greet().unwrap();
    assert!(shipper.cut().unwrap());
    drop(shipper);
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), "five\n");
    let mut shipper = world.open().unwrap();
    shipper.look().unwrap();
    shipper.greet().unwrap();
    shipper.send().unwrap();
    shipper.collect(Duration::ZERO).unwrap();
    drop(shipper);
    assert_eq!(world.text("a.log"), "one\ntwo\n");
    fs::remove_file(world.log("a.log.1")).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(10));
    assert_eq!(world.text("a.log"), "one\ntwo\nfive\n");
    assert_eq!(world.lost(), [11], "{:?}", world.events());
}

/// A world that was killed with a batch of two logs in its place; with `sent` it was sent.
fn killed(sent: bool) -> World {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    append(&world.log("b.log"), "two\n");
    let mut shipper = world.cut();
    if sent {
        shipper.send().unwrap();
        shipper.collect(Duration::ZERO).unwrap();
    }
    drop(shipper);
    world
}

#[test]
fn of_a_recorded_batch_whose_files_are_gone_the_sequence_goes_in_all_the_same() {
    for both in [false, true] {
        let world = killed(false);
        fs::remove_file(world.log("a.log")).unwrap();
        if both {
            // Overwritten is as bad as gone.
            fs::write(world.log("b.log"), "TWO\n").unwrap();
        }
        let mut shipper = world.open().unwrap();
        world.ship_for(&mut shipper, Duration::from_secs(10));
        let text =
            |name: &str, skipped| String::from_utf8(world.server.borrow().text(&world.log(name), skipped)).unwrap();
        assert_eq!(text("a.log", 0), "");
        assert_eq!(text("b.log", if both { 4 } else { 0 }), if both { "TWO\n" } else { "two\n" });
        assert_eq!(world.lost(), if both { vec![4, 4] } else { vec![4] });
        assert_eq!(world.server.borrow().entered[0].len(), usize::from(!both), "{:?}", world.events());
        // What was left out is not searched for again.
        drop(shipper);
        append(&world.log("b.log"), "three\n");
        let mut shipper = world.open().unwrap();
        world.ship(&mut shipper);
        assert_eq!(world.lost().len(), 1 + usize::from(both));
    }
}

/// Killed once more between leaving out what is gone and hearing that the rest is in.
#[test]
fn a_loss_is_told_and_counted_once() {
    let world = killed(false);
    fs::remove_file(world.log("a.log")).unwrap();
    let mut shipper = world.open().unwrap();
    while world.lost().is_empty() {
        shipper.look().unwrap();
        shipper.greet().unwrap();
        shipper.send().unwrap();
        world.clock.advance(100_000);
    }
    assert_eq!((world.lost(), shipper.report().under_way), (vec![4], 1));
    drop(shipper);
    let mut shipper = world.open().unwrap();
    shipper.look().unwrap();
    assert_eq!(shipper.report().bytes_behind(), 4, "what is lost is not under way any more");
    world.ship_for(&mut shipper, Duration::from_secs(10));
    assert_eq!(world.lost(), [4]);
}

/// Beginning and end of the file are what they were.
#[test]
fn a_recorded_batch_is_not_sent_with_other_bytes() {
    let world = World::new(1);
    let text: String = (0..400).map(|n| format!("line {n:08}\n")).collect();
    append(&world.log("a.log"), &text);
    drop(world.cut());
    fs::write(world.log("a.log"), text.replace("line 00000200", "LINE 00000200")).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(10));
    assert_eq!(world.server.borrow().entered, [vec![]]);
    assert_eq!(world.lost(), [text.len() as u64]);
}

#[test]
fn that_the_files_of_a_batch_are_gone_which_is_in_is_no_loss() {
    let world = killed(true);
    fs::remove_file(world.log("a.log")).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(10));
    assert_eq!((world.text("a.log").as_str(), world.lost()), ("one\n", vec![]));
    assert!(world.events().contains(&Event::Gone { source: world.log("a.log") }));
}

#[test]
fn what_comes_before_the_damage_in_a_packed_file_is_sent() {
    let world = World::new(1);
    let mut packed = gz(b"one\ntwo\n");
    packed.truncate(packed.len() - 8);
    fs::write(world.log("a.log.1.gz"), packed).unwrap();
    append(&world.log("a.log"), "three\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    world.ship_for(&mut shipper, Duration::from_secs(30));
    assert_eq!(world.text("a.log"), "one\ntwo\nthree\n");
    assert_eq!(world.lost().len(), 1, "{:?}", world.events());
    let event = world.events().into_iter().find(|event| matches!(event, Event::Lost { .. })).unwrap().to_string();
    assert!(event.contains("a.log.1.gz") && event.contains("cut off"), "{event}");
}

/// Nobody but the administrator can mend it, and the log goes on meanwhile.
#[test]
fn a_file_that_cannot_be_read_is_told_once_and_stops_nothing() {
    let world = World::new(1);
    std::os::unix::fs::symlink("a.log.2", world.log("a.log.2")).unwrap();
    append(&world.log("a.log.1"), "one\n");
    append(&world.log("a.log"), "two\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log.1"), world.log("a.log.3")).unwrap();
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), "three\n");
    world.ship_for(&mut shipper, Duration::from_secs(60));
    assert_eq!(world.text("a.log"), "one\ntwo\nthree\n");
    // What is missing is given up as well, if later.
    fs::write(world.log("a.log"), "4\n").unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(120));
    assert_eq!(world.text("a.log"), "one\ntwo\nthree\n4\n");
    let troubles = world.events().iter().filter(|event| matches!(event, Event::Trouble { .. })).count();
    assert_eq!(troubles, 1, "{:?}", world.events());
}

#[test]
fn a_line_that_no_batch_can_hold_is_skipped_and_told() {
    let mut world = World::new(1);
    world.options.line_bytes_max = 100_000;
    let long = "x".repeat(100_000);
    append(&world.log("a.log"), format!("one\n{long}\ntwo\n{long}"));
    fs::write(world.log("a.log.1.gz"), gz(format!("{long}\nzero\n{long}").as_bytes())).unwrap();
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log"), world.log("a.log.0")).unwrap();
    append(&world.log("a.log"), "three\n");
    world.ship_for(&mut shipper, Duration::from_secs(10));
    let text = world.server.borrow().text(&world.log("a.log"), 200_002);
    assert_eq!(String::from_utf8(text).unwrap().replace(&long, "LONG"), "zero\nLONGone\ntwo\nLONGthree\n");
    assert_eq!(shipper.report().skipped_lines, 2);
    let skipped = Event::Skipped { source: world.log("a.log"), offset: 0, bytes: 100_001, bytes_max: 100_000 };
    assert!(world.events().contains(&skipped), "{:?}", world.events());
}

#[test]
fn a_state_that_does_not_fit_the_store_is_refused() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    let old = fs::read(world.state.join("place")).unwrap();
    append(&world.log("a.log"), "two\n");
    world.ship(&mut shipper);
    drop(shipper);
    let new = fs::read(world.state.join("place")).unwrap();
    world.server.borrow_mut().forgiving = true;
    let refused = || {
        let Err(Failure::Failed(text)) = world.open().unwrap().turn() else { panic!("taken") };
        assert!(text.contains("new --state") && text.contains("copy"), "{text}");
    };
    // A copied state: the store has more than it ever sent.
    fs::write(world.state.join("place"), old).unwrap();
    refused();
    // A store that was put back: it lacks what was acknowledged.
    fs::write(world.state.join("place"), new).unwrap();
    world.server.borrow_mut().entered.clear();
    refused();
}
