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
    hosts: Vec<(Name, Class, bool)>,
}

impl Classes {
    /// Notes one stream's class: a host has the best of its streams'.
    pub(super) fn note(&mut self, host: &[u8], class: Class, assumed: bool) {
        match self.hosts.last_mut() {
            Some((last, best, any)) if **last == *host => {
                if rank(&class) < rank(best) {
                    *best = class;
                }
                *any |= assumed;
            }
            last => {
                debug_assert!(last.is_none_or(|last| *last.0 < *host));
                self.hosts.push((Name::from(host), class, assumed));
            }
        }
    }

    /// Appends the classes of hosts that follow; the last of these and the first of those may be one.
    pub(super) fn append(&mut self, others: Classes) {
        let mut others = others.hosts.into_iter();
        if let Some((host, class, assumed)) = others.next() {
            self.note(&host, class, assumed);
        }
        self.hosts.extend(others);
    }

    /// The counts over `hosts` hosts, of which those without a stream have never looked.
    pub(super) fn coverage(self, hosts: u64) -> Coverage {
        let never = hosts.saturating_sub(self.hosts.len() as u64);
        let mut coverage = Coverage { never, ..Coverage::default() };
        for (host, class, assumed) in self.hosts {
            count(&mut coverage, || host, class, assumed);
        }
        coverage
    }

    /// How many hosts were noted.
    pub(super) fn hosts(&self) -> u64 {
        self.hosts.len() as u64
    }

    /// The class of a host; `None` if it never looked.
    pub(super) fn of(&self, host: &[u8]) -> Option<Class> {
        let at = self.hosts.binary_search_by(|(other, ..)| (**other).cmp(host)).ok()?;
        Some(self.hosts[at].1)
    }
}
