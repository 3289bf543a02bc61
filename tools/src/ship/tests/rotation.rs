//! What becomes of a log's files, case by case.

use super::fake::{World, append, gz, zst};
use crate::ship::{Begin, Event};
use std::fs;
use std::time::Duration;

/// Lines `from` to `to`, long enough for several batches.
fn lines(from: u32, to: u32) -> String {
    (from..to).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "p".repeat(100 + n as usize % 50))).collect()
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_next() {
    let world = World::new(1);
    append(&world.log("a.log"), lines(0, 20));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(3));
    append(&world.log("a.log.1"), lines(20, 40));
    append(&world.log("a.log"), lines(40, 60));
    // The writer had the old file open.
    append(&world.log("a.log.1"), lines(60, 70));
    world.ship_for(&mut shipper, Duration::from_secs(4));
    assert_eq!(world.text("a.log"), lines(0, 40) + &lines(60, 70) + &lines(40, 60));
    assert_eq!(world.lost(), vec![0; 0]);
}

/// The writer has not heard yet that its file was renamed and another one made.
#[test]
fn a_rotated_file_may_be_written_to_for_a_while() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), "three\n");
    world.ship_for(&mut shipper, Duration::from_secs(1));
    append(&world.log("a.log.1"), "two\n");
    world.ship_for(&mut shipper, Duration::from_secs(5));
    assert_eq!(world.text("a.log"), "one\ntwo\nthree\n");
}

#[test]
fn several_rotations_between_two_looks_are_read_oldest_first() {
    let world = World::new(1);
    append(&world.log("a.log"), lines(0, 20));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    drop(shipper);
    append(&world.log("a.log"), lines(20, 30));
    let old = fs::read(world.log("a.log")).unwrap();
    fs::remove_file(world.log("a.log")).unwrap();
    fs::write(world.log("a.log.3.gz"), gz(&old)).unwrap();
    fs::write(world.log("a.log.2.zst"), zst(lines(30, 40).as_bytes())).unwrap();
    append(&world.log("a.log.1"), lines(40, 50));
    append(&world.log("a.log"), lines(50, 60));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(world.text("a.log"), lines(0, 60));
}

#[test]
fn dates_in_names_are_an_order_too() {
    let world = World::new(1);
    append(&world.log("a.log-20240229"), lines(10, 20));
    fs::write(world.log("a.log-20240131.gz"), gz(lines(0, 10).as_bytes())).unwrap();
    append(&world.log("a.log-20240301"), lines(20, 30));
    append(&world.log("a.log"), lines(30, 40));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(world.text("a.log"), lines(0, 40));
}

/// osquery packs the first rotated file as the second, and renames the log over the first.
#[test]
fn osquerys_own_rotation_is_followed() {
    let world = World::new(1);
    let mut shipper = world.open().unwrap();
    for turn in 0..6 {
        append(&world.log("a.log"), lines(turn * 10, turn * 10 + 10));
        if turn % 2 == 0 {
            world.ship(&mut shipper);
        }
        for from in (2..6).rev() {
            let _ = fs::rename(world.log(&format!("a.log.{from}.zst")), world.log(&format!("a.log.{}.zst", from + 1)));
        }
        if let Ok(first) = fs::read(world.log("a.log.1")) {
            fs::write(world.log("a.log.2.zst"), zst(&first)).unwrap();
        }
        fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    }
    append(&world.log("a.log"), lines(60, 61));
    world.ship_for(&mut shipper, Duration::from_secs(20));
    assert_eq!(world.text("a.log"), lines(0, 61));
    assert_eq!(world.lost(), vec![0; 0]);
}

#[test]
fn a_log_that_was_copied_and_cut_off_goes_on_in_the_copy() {
    let world = World::new(1);
    append(&world.log("a.log"), lines(0, 10));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    // Nobody looks between the writing and the cutting.
    append(&world.log("a.log"), lines(10, 20));
    fs::copy(world.log("a.log"), world.log("a.log.1")).unwrap();
    fs::File::create(world.log("a.log")).unwrap();
    append(&world.log("a.log"), lines(20, 50));
    world.ship_for(&mut shipper, Duration::from_secs(4));
    assert_eq!(world.text("a.log"), lines(0, 50));
    assert_eq!(world.lost(), vec![0; 0]);
    assert!(world.events().iter().any(|event| matches!(event, Event::Truncated { .. })));
}

/// A log of snapshots begins with the same rows each time; that its first bytes are known says nothing.
#[test]
fn generations_that_begin_alike_are_told_apart() {
    let rows = |n: u32| format!("{{\"snapshot\":[{}],\"unixTime\":{n}}}\n", "{\"pid\":\"1\"},".repeat(200));
    for (restart, begin) in [(false, Begin::Oldest), (true, Begin::Oldest), (true, Begin::Live)] {
        let mut world = World::new(1);
        world.options.begin = begin;
        if begin == Begin::Live {
            fs::write(world.log("a.log.3.gz"), gz(rows(0).as_bytes())).unwrap();
        }
        append(&world.log("a.log"), rows(1));
        let mut shipper = Some(world.open().unwrap());
        world.ship(shipper.as_mut().unwrap());
        if restart {
            shipper = None;
        }
        // The log itself is written anew in place: the same inode.
        fs::write(world.log("a.log.2.gz"), gz(rows(1).as_bytes())).unwrap();
        fs::write(world.log("a.log.1.gz"), gz(rows(2).as_bytes())).unwrap();
        fs::write(world.log("a.log"), rows(3)).unwrap();
        let mut shipper = shipper.unwrap_or_else(|| world.open().unwrap());
        world.ship_for(&mut shipper, Duration::from_secs(8));
        assert_eq!(world.text("a.log"), rows(1) + &rows(2) + &rows(3), "restart: {restart}");
        assert_eq!(world.lost(), vec![0; 0]);
    }
}

#[test]
fn a_torn_line_waits_for_its_end() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\ntwo");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(world.text("a.log"), "one\n");
    append(&world.log("a.log"), " and more\n");
    world.ship_for(&mut shipper, Duration::from_secs(1));
    assert_eq!(world.text("a.log"), "one\ntwo and more\n");
    append(&world.log("a.log"), "never ended");
    world.ship_for(&mut shipper, Duration::from_secs(5));
    assert_eq!(world.text("a.log"), "one\ntwo and more\n");
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), "three\n");
    world.ship_for(&mut shipper, Duration::from_secs(5));
    assert_eq!(world.text("a.log"), "one\ntwo and more\nnever endedthree\n");
    let last = world.server.borrow().entered.iter().flatten().last().unwrap().2.clone();
    assert_eq!(last, b"three\n", "the rest is a chunk of its own");
}

#[test]
fn logs_that_are_missing_or_empty_are_waited_for() {
    let mut world = World::new(1);
    world.named.push(world.log("later.txt").into());
    fs::write(world.log("empty.log"), "").unwrap();
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(2));
    assert_eq!(world.server.borrow().entered.len(), 0);
    append(&world.log("later.txt"), "one\n");
    append(&world.log("empty.log"), "two\n");
    append(&world.log("new host.log"), "three\n");
    world.ship_for(&mut shipper, Duration::from_secs(12));
    assert_eq!((world.text("later.txt").as_str(), world.text("empty.log").as_str()), ("one\n", "two\n"));
    assert_eq!(world.text("new host.log"), "three\n");
    fs::remove_file(world.log("later.txt")).unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(2));
    append(&world.log("later.txt"), "four\n");
    world.ship_for(&mut shipper, Duration::from_secs(12));
    assert_eq!(world.text("later.txt"), "one\nfour\n");
}

#[test]
fn what_was_rotated_before_may_be_left_out() {
    let mut world = World::new(1);
    world.options.begin = Begin::Live;
    fs::write(world.log("a.log.2.gz"), gz(lines(0, 10).as_bytes())).unwrap();
    append(&world.log("a.log.1"), lines(10, 20));
    append(&world.log("a.log"), lines(20, 30));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(world.text("a.log"), lines(20, 30));
    // Only what was there at the beginning.
    drop(shipper);
    fs::rename(world.log("a.log.2.gz"), world.log("a.log.4.gz")).unwrap();
    fs::write(world.log("a.log.3.gz"), gz(lines(10, 20).as_bytes())).unwrap();
    fs::remove_file(world.log("a.log.1")).unwrap();
    fs::rename(world.log("a.log"), world.log("a.log.2")).unwrap();
    append(&world.log("a.log.1"), lines(30, 40));
    append(&world.log("a.log"), lines(40, 50));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    assert_eq!(world.text("a.log"), lines(20, 50));
}

#[test]
fn a_rotated_file_that_grows_after_its_end_was_sent_is_not_forgotten() {
    let world = World::new(1);
    append(&world.log("a.log"), "one\n");
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), "two\n");
    world.ship_for(&mut shipper, Duration::from_secs(5));
    append(&world.log("a.log.1"), "late\n");
    world.ship_for(&mut shipper, Duration::from_secs(15));
    assert_eq!(world.text("a.log"), "one\ntwo\nlate\n");
    let late = Event::Late { source: world.log("a.log"), file: world.log("a.log.1"), bytes: 5 };
    assert!(world.events().contains(&late));
}

/// A copy in the making stands beside the log for a while, and is not a generation of its own.
#[test]
fn a_copy_is_not_sent_again() {
    let world = World::new(1);
    append(&world.log("a.log"), lines(0, 30));
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    let text = fs::read(world.log("a.log")).unwrap();
    for part in text.chunks(1000) {
        append(&world.log("a.log.1"), part);
        world.ship_for(&mut shipper, Duration::from_millis(500));
    }
    world.ship_for(&mut shipper, Duration::from_secs(30));
    drop(shipper);
    let mut shipper = world.open().unwrap();
    world.ship_for(&mut shipper, Duration::from_secs(30));
    assert_eq!(world.text("a.log"), lines(0, 30));
}

/// Somebody goes on writing to the rotated file, from before the shipper was there.
#[test]
fn a_file_that_never_stands_still_does_not_hold_up_the_log_for_ever() {
    let world = World::new(1);
    append(&world.log("a.log.1"), lines(0, 10));
    append(&world.log("a.log"), lines(1000, 1010));
    let mut shipper = world.open().unwrap();
    let mut taken = None;
    for n in 10..300 {
        world.ship_for(&mut shipper, Duration::from_millis(500));
        append(&world.log("a.log.1"), lines(n, n + 1));
        let text = world.text("a.log");
        if text.contains("\"n\":5,") {
            taken.get_or_insert(n);
        }
    }
    assert!((60..90).contains(&taken.unwrap()), "after 30 s it is no copy in the making: {taken:?}");
    let text = world.text("a.log");
    assert!(text.contains(&lines(1000, 1010)), "after a minute more the log itself is read");
    world.ship_for(&mut shipper, Duration::from_secs(15));
    let late = world.text("a.log").replace(&lines(1000, 1010), "");
    assert!(late == lines(0, 300), "and what is still written comes late");
    assert!(world.events().iter().any(|event| matches!(event, Event::Late { .. })));
}

/// Between two looks the log is filled, copied, cut off, and filled again.
#[test]
fn a_log_that_was_empty_may_have_had_a_life_since() {
    let world = World::new(1);
    fs::write(world.log("a.log"), "").unwrap();
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    append(&world.log("a.log"), lines(0, 10));
    fs::copy(world.log("a.log"), world.log("a.log.1")).unwrap();
    fs::File::create(world.log("a.log")).unwrap();
    append(&world.log("a.log"), lines(10, 20));
    world.ship(&mut shipper);
    world.ship_for(&mut shipper, Duration::from_secs(15));
    assert_eq!(world.text("a.log"), lines(0, 20));
}

/// An empty file was rotated; its inode comes back as the copy of the next.
#[test]
fn an_inode_says_nothing_about_an_empty_file() {
    let world = World::new(1);
    fs::write(world.log("a.log"), "").unwrap();
    let mut shipper = world.open().unwrap();
    world.ship(&mut shipper);
    fs::rename(world.log("a.log"), world.log("a.log.1")).unwrap();
    append(&world.log("a.log"), lines(0, 30));
    world.ship_for(&mut shipper, Duration::from_secs(5));
    append(&world.log("a.log.1"), lines(0, 9));
    world.ship_for(&mut shipper, Duration::from_millis(500));
    append(&world.log("a.log.1"), lines(9, 30));
    fs::File::create(world.log("a.log")).unwrap();
    append(&world.log("a.log"), lines(30, 40));
    world.ship_for(&mut shipper, Duration::from_secs(20));
    assert_eq!(world.text("a.log"), lines(0, 40));
}

/// The copy has another name while it is made.
#[test]
fn what_is_unread_of_a_log_that_was_cut_off_is_waited_for() {
    for sent in [0, 10] {
        let world = World::new(1);
        append(&world.log("a.log"), lines(0, 10));
        let mut shipper = world.open().unwrap();
        shipper.look().unwrap();
        if sent > 0 {
            world.ship(&mut shipper);
        }
        append(&world.log("a.log"), lines(10, 12));
        fs::copy(world.log("a.log"), world.log("copy")).unwrap();
        fs::write(world.log("a.log"), lines(12, 20)).unwrap();
        world.ship_for(&mut shipper, Duration::from_millis(2500));
        assert_eq!(world.text("a.log"), lines(0, sent));
        fs::rename(world.log("copy"), world.log("a.log.1")).unwrap();
        world.ship_for(&mut shipper, Duration::from_secs(10));
        assert_eq!(world.text("a.log"), lines(0, 20));
        assert_eq!(world.lost(), vec![0; 0]);
    }
}

#[test]
fn what_is_overwritten_between_the_look_and_the_reading_is_not_mixed() {
    for text in [lines(100, 200), "a line whose end is far ".repeat(500) + "\n"] {
        let world = World::new(1);
        append(&world.log("a.log"), lines(0, 10));
        let mut shipper = world.open().unwrap();
        world.ship(&mut shipper);
        append(&world.log("a.log"), lines(10, 12));
        shipper.look().unwrap();
        assert!(!shipper.cut().unwrap());
        world.clock.advance(100_000);
        fs::copy(world.log("a.log"), world.log("a.log.1")).unwrap();
        fs::write(world.log("a.log"), &text).unwrap();
        assert!(!shipper.cut().unwrap());
        world.ship_for(&mut shipper, Duration::from_secs(10));
        assert_eq!(world.text("a.log"), lines(0, 12) + &text);
    }
}
