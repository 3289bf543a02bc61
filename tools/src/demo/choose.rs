//! Moments worth asking about: where an address, a uid or a path meant one thing first and another later.

use super::truth::{Fact, Span, Truth};
use crate::simulate::Options;

/// Something that passed from one holder to the next.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// Who had it first.
    pub(crate) before: Fact,
    /// Who had it next.
    pub(crate) after: Fact,
    /// A moment at which looks on both sides saw it with the first.
    pub(crate) sure_before: i64,
    /// A moment at which looks on both sides saw it with the next.
    pub(crate) sure_after: i64,
}

/// A stick that came and went.
#[derive(Clone, Debug)]
pub(crate) struct Stick {
    /// Where it was mounted.
    pub(crate) mount: Fact,
    /// What it was.
    pub(crate) usb: Fact,
    /// A moment at which looks on both sides saw it in every table.
    pub(crate) sure: i64,
    /// A moment after it was seen to be gone.
    pub(crate) gone: i64,
}

/// What the demo asks for.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// An address that moved from one host to another.
    pub(crate) address: Passed,
    /// A moment between the looks that saw it move.
    pub(crate) between: i64,
    /// A uid that was given to another user.
    pub(crate) uid: Passed,
    /// A USB stick.
    pub(crate) stick: Stick,
}

/// The first that fit, in the order of time; `None` if one of the questions has none.
pub(crate) fn choose(truth: &Truth) -> Option<Choice> {
    let (address, between) = address(truth)?;
    Some(Choice { address, between, uid: uid(truth)?, stick: stick(truth)? })
}

fn address(truth: &Truth) -> Option<(Passed, i64)> {
    let leases = || truth.of("interface_addresses").filter(|fact| fact.text("type") == "dhcp");
    leases().filter(|before| before.to.is_some()).find_map(|before| {
        let after = leases().find(|after| {
            after.text("address") == before.text("address")
                && Some(after.from) >= before.to
                && after.host != before.host
        })?;
        let between = moment(overlap(truth.leaving(before)?, truth.coming(after)?))?;
        Some((passed(truth, before, after)?, between))
    })
}

fn uid(truth: &Truth) -> Option<Passed> {
    truth.of("users").filter(|before| before.to.is_some()).find_map(|before| {
        let after = truth.of("users").find(|after| {
            after.host == before.host && after.text("uid") == before.text("uid") && Some(after.from) >= before.to
        })?;
        if after.text("username") == before.text("username") { None } else { passed(truth, before, after) }
    })
}

/// The moments of something that passed on; `None` if nobody looked twice at one of the holders.
fn passed(truth: &Truth, before: &Fact, after: &Fact) -> Option<Passed> {
    Some(Passed {
        before: before.clone(),
        after: after.clone(),
        sure_before: truth.sure(before).into_iter().rev().find_map(moment)?,
        sure_after: truth.sure(after).into_iter().find_map(moment)?,
    })
}

fn stick(truth: &Truth) -> Option<Stick> {
    let with_serial = truth.of("usb_devices").filter(|fact| fact.to.is_some() && !fact.text("serial").is_empty());
    with_serial.clone().find_map(|usb| {
        let same = |fact: &&Fact| fact.host == usb.host && fact.from == usb.from && fact.to == usb.to;
        let mount = truth.of("mounts").find(|fact| same(fact) && plain(fact.text("path")))?;
        let blocks: Vec<&Fact> = truth.of("block_devices").filter(same).collect();
        // A partition and its disk, so that the chain has a link more; and one stick alone, so that it is the right one.
        if blocks.len() != 2 || with_serial.clone().filter(same).count() != 1 {
            return None;
        }
        let mut spans = truth.sure(usb);
        for fact in blocks.into_iter().chain([mount]) {
            let sure = truth.sure(fact);
            spans = spans.iter().flat_map(|span| sure.iter().map(|other| overlap(*span, *other))).collect();
        }
        let sure = spans.into_iter().find_map(moment)?;
        let seen_gone = truth.leaving(usb)?.1.max(truth.leaving(mount)?.1);
        let gone = moment((seen_gone, seen_gone + 3600))?;
        let back = truth.of("mounts").any(|fact| {
            fact.host == mount.host
                && fact.text("path") == mount.text("path")
                && fact.from > mount.from
                && fact.from < gone
        });
        (!back).then(|| Stick { mount: mount.clone(), usb: usb.clone(), sure, gone })
    })
}

fn overlap(a: Span, b: Span) -> Span {
    (a.0.max(b.0), a.1.min(b.1))
}

/// A whole minute inside a stretch and in office hours, the middle first: as somebody who asks would name it.
fn moment((from, to): Span) -> Option<i64> {
    let (first, last) = (from.div_euclid(60) + 1, (to - 1).div_euclid(60));
    let middle = first.midpoint(last);
    let minutes = (middle..=last).chain(first..middle);
    minutes.map(|minute| minute * 60).find(|&second| u64::try_from(second).is_ok_and(Options::office_hours))
}

/// Whether a path needs no quoting anywhere.
fn plain(path: &str) -> bool {
    !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte))
}
