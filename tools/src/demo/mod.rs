//! The fleet of `erstwhile demo` and the questions that are worth asking it.
//!
//! Invariants:
//! - Fleet and questions are the same everywhere and always: one seed, no clock.
//! - Questions are chosen from the simulated truth alone; answers take no part in it.
//!
//! Steps: `office` is simulated → `truth` is read → `choose` finds moments whose answers say something.

// The simulated truth, as far as the questions need it.
mod truth;
pub(crate) use truth::Truth;

// Moments worth asking about.
mod choose;
pub(crate) use choose::{Choice, choose};

use crate::simulate::Options;

/// The first second of the demo's week, a Monday.
const START: u64 = 1_772_409_600;

/// A small office in a week without faults. Addresses and devices are scheduled as snapshots, the rest as
/// differentials, as packs often have it.
pub(crate) fn office() -> Options {
    Options {
        hosts: 12,
        days: 7.0,
        seed: 1,
        start: START,
        poll_seconds: 300,
        churn: 2.0,
        process_seconds: 300.0,
        hostnames: true,
        snapshots: ["interface_addresses", "mounts", "block_devices", "usb_devices"].map(str::to_owned).into(),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the simulator must not leave the demo without questions.
    #[test]
    fn the_office_has_something_to_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        crate::simulate::run(&office(), folder.path()).unwrap();
        let choice = choose(&Truth::read(&folder.path().join("truth")).unwrap()).expect("all questions");
        assert_ne!(choice.address.before.host, choice.address.after.host);
        assert_eq!(choice.uid.before.host, choice.uid.after.host);
        assert_ne!(choice.uid.before.text("username"), choice.uid.after.text("username"));
        assert!(choice.address.sure_before < choice.between && choice.between < choice.address.sure_after);
        assert!(!choice.stick.usb.text("serial").is_empty());
    }
}
