//! How surely hosts can speak about a table at T, one class each, and how many of each class there are.
//!
//! Invariant: a host with several streams has the best class of them.

use super::answer::{Coverage, UNKNOWN_HOSTS_MAX};
use crate::fact::Name;
use crate::timeline::verdict::Class;

/// How little a class tells.
pub(super) fn rank(class: &Class) -> u8 {
    match class {
        Class::Covered => 0,
        Class::Presumed => 1,
        Class::Unknown(_) => 2,
    }
}

/// Counts a host of this class.
pub(super) fn count(coverage: &mut Coverage, host: impl FnOnce() -> Name, class: Class, assumed: bool) {
    coverage.assumed += u64::from(assumed);
    match class {
        Class::Covered => coverage.covered += 1,
        Class::Presumed => coverage.presumed += 1,
        Class::Unknown(cause) => {
            coverage.unknown += 1;
            if coverage.unknown_hosts.len() < UNKNOWN_HOSTS_MAX {
                coverage.unknown_hosts.push((host(), cause));
            }
        }
    }
}

/// Gathers the classes of hosts for one table, which come in their order.
#[derive(Default)]
pub(super) struct Classes {
    hosts: Vec<Noted>,
    /// The names of the hosts, one after the other.
    names: Vec<u8>,
}

/// A host that was noted.
struct Noted {
    /// Where its name ends.
    end: usize,
    class: Class,
    assumed: bool,
}

impl Classes {
    /// Notes one stream's class: a host has the best of its streams'.
    pub(super) fn note(&mut self, host: &[u8], class: Class, assumed: bool) {
        let before = self.hosts.len().checked_sub(1);
        debug_assert!(before.is_none_or(|last| self.name(last) <= host));
        if before.is_some_and(|last| self.name(last) == host)
            && let Some(last) = self.hosts.last_mut()
        {
            if rank(&class) < rank(&last.class) {
                last.class = class;
            }
            last.assumed |= assumed;
            return;
        }
        self.names.extend_from_slice(host);
        self.hosts.push(Noted { end: self.names.len(), class, assumed });
    }

    fn name(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.hosts[before].end);
        &self.names[start..self.hosts[at].end]
    }

    /// Appends the classes of hosts that follow; the last of these and the first of those may be one.
    pub(super) fn append(&mut self, others: Classes) {
        if self.hosts.is_empty() {
            *self = others;
            return;
        }
        for (at, Noted { class, assumed, .. }) in others.hosts.iter().enumerate() {
            self.note(others.name(at), *class, *assumed);
        }
    }

    /// The counts over `hosts` hosts, of which those without a stream have never looked.
    pub(super) fn coverage(&self, hosts: u64) -> Coverage {
        let never = hosts.saturating_sub(self.hosts.len() as u64);
        let mut coverage = Coverage { never, ..Coverage::default() };
        for (at, Noted { class, assumed, .. }) in self.hosts.iter().enumerate() {
            count(&mut coverage, || Name::from(self.name(at)), *class, *assumed);
        }
        coverage
    }

    /// How many hosts were noted.
    pub(super) fn hosts(&self) -> u64 {
        self.hosts.len() as u64
    }

    /// The class of a host; `None` if it never looked.
    pub(super) fn of(&self, host: &[u8]) -> Option<Class> {
        let (mut low, mut high) = (0, self.hosts.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.name(middle) < host { low = middle + 1 } else { high = middle }
        }
        self.hosts.get(low).filter(|_| self.name(low) == host).map(|noted| noted.class)
    }
}
