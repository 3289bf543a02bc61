//! Rows of a state on their way to whoever asked: of streams whose rows are remembered whole they are handed on where they
//! are, and neither copied nor counted one by one.
//!
//! Invariant: it gives what a list of all would, in the same order.

use super::answer::{Held, Verdict, Version};
use crate::fact::{Name, Second};
use crate::row::Row;
use crate::segment::run::open::{Alive, AliveVersion};
use std::iter::FusedIterator;
use std::slice;
use std::sync::Arc;

/// Rows at T, in their order.
#[derive(Clone, Default)]
pub struct Rows {
    pub(super) held: Vec<Held>,
    shared: Vec<Shared>,
    len: usize,
}

/// All rows of a stream at T.
#[derive(Clone)]
struct Shared {
    /// Before how many of those that are listed they stand.
    place: usize,
    alive: Arc<Alive>,
    around: Around,
}

/// T among the looks of a stream.
#[derive(Clone, Copy)]
pub(super) struct Around {
    /// When the last look at or before T was.
    pub(super) before: Second,
    /// When the first after T was.
    pub(super) after: Option<Second>,
    /// Whether T is a look.
    pub(super) is_look: bool,
}

impl Around {
    /// The verdict of a version that is alive after the look before T and gone at `to`.
    #[inline]
    pub(super) fn verdict(&self, to: Second) -> Verdict {
        match self.after {
            _ if self.is_look => Verdict::Definite,
            None => Verdict::Presumed,
            Some(after) if after == to => Verdict::Possible,
            Some(_) => Verdict::Definite,
        }
    }
}

/// A version as an answer at T, where it lies. What is told of it here needs no look at the version itself.
#[derive(Clone, Copy, Debug)]
pub struct HeldRef<'r> {
    /// Whose row.
    pub host: &'r Name,
    /// The columns.
    pub row: &'r Row,
    /// The version's first second.
    pub from: Second,
    /// The first second without it.
    pub to: Option<Second>,
    /// The version that holds at T.
    pub version: &'r Arc<Version>,
    /// How sure it is.
    pub verdict: Verdict,
    /// The stream's last look at or before T.
    pub before: Option<Second>,
    /// The stream's first look after T.
    pub after: Option<Second>,
}

impl HeldRef<'_> {
    /// As one's own.
    pub fn to_held(self) -> Held {
        let HeldRef { version, verdict, before, after, .. } = self;
        Held { version: version.clone(), verdict, before, after }
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len() + self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends all rows of a stream.
    fn share(&mut self, alive: Arc<Alive>, around: Around) {
        self.len += alive.versions.len();
        self.shared.push(Shared { place: self.held.len(), alive, around });
    }

    /// Appends all rows of a stream, or those that `keep` tells.
    pub(super) fn give(&mut self, alive: Arc<Alive>, around: Around, is_all: bool, keep: impl Fn(&Row) -> bool) {
        if is_all {
            return self.share(alive, around);
        }
        for AliveVersion { version, to, .. } in alive.versions.iter().filter(|alive| keep(&alive.row)) {
            let (verdict, before, after) = (around.verdict(*to), Some(around.before), around.after);
            self.held.push(Held { version: version.clone(), verdict, before, after });
        }
    }

    /// Appends others.
    pub(super) fn append(&mut self, others: Rows) {
        if self.is_empty() {
            *self = others;
            return;
        }
        let places = self.held.len();
        self.held.extend(others.held);
        self.shared.extend(others.shared.into_iter().map(|of| Shared { place: of.place + places, ..of }));
        self.len += others.len;
    }

    /// The rows where they lie, in their order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rows: self, place: 0, shared: 0, of_stream: None }
    }

    /// A list of all.
    pub fn into_held(self) -> Vec<Held> {
        if self.shared.is_empty() {
            return self.held;
        }
        let mut all = Vec::with_capacity(self.len());
        all.extend(self.iter().map(HeldRef::to_held));
        all
    }
}

impl From<Vec<Held>> for Rows {
    fn from(held: Vec<Held>) -> Rows {
        Rows { held, ..Rows::default() }
    }
}

/// The versions of a stream.
type Versions<'r> = slice::Iter<'r, AliveVersion>;

/// [`Rows`], one after the other.
pub struct Iter<'r> {
    rows: &'r Rows,
    /// How many of those that are listed, and of the streams, were begun.
    place: usize,
    shared: usize,
    of_stream: Option<(Around, &'r Name, Versions<'r>)>,
}

impl<'r> Iterator for Iter<'r> {
    type Item = HeldRef<'r>;

    #[inline]
    fn next(&mut self) -> Option<HeldRef<'r>> {
        loop {
            if let Some((around, host, versions)) = &mut self.of_stream {
                if let Some(AliveVersion { from, to, row, version }) = versions.next() {
                    let (verdict, before, after) = (around.verdict(*to), Some(around.before), around.after);
                    let (from, to) = (*from, (*to != Second::MAX).then_some(*to));
                    return Some(HeldRef { host, row, from, to, version, verdict, before, after });
                }
                self.of_stream = None;
            }
            if let Some(next) = self.rows.shared.get(self.shared).filter(|next| next.place == self.place) {
                self.shared += 1;
                self.of_stream = Some((next.around, &next.alive.host, next.alive.versions.iter()));
                continue;
            }
            let Held { version, verdict, before, after } = self.rows.held.get(self.place)?;
            self.place += 1;
            let (verdict, before, after) = (*verdict, *before, *after);
            let Version { host, row, from, to, .. } = &**version;
            return Some(HeldRef { host, row, from: *from, to: *to, version, verdict, before, after });
        }
    }
}

impl FusedIterator for Iter<'_> {}

impl<'r> IntoIterator for &'r Rows {
    type Item = HeldRef<'r>;
    type IntoIter = Iter<'r>;

    fn into_iter(self) -> Iter<'r> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::answer::{End, Start};
    use crate::row::RowBuilder;
    use proptest::prelude::*;

    fn version(from: Second, to: Option<Second>) -> Arc<Version> {
        Arc::new(Version {
            host: Name::default(),
            stream: Name::default(),
            row: RowBuilder::new().row(),
            count: 1,
            from,
            from_after: None,
            to,
            to_after: None,
            start: Start::Seen,
            end: End::Gone,
            verified: true,
        })
    }

    proptest! {
        /// In whatever pieces they come, and whether or not those of a stream are shared.
        #[test]
        fn rows_are_given_in_their_order(
            parts in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..4usize), 0..4), 0..4),
            after in prop::option::of(5i64..7),
            is_look in any::<bool>(),
        ) {
            let (mut rows, mut expected, mut next) = (Rows::default(), Vec::new(), 0);
            for streams in parts {
                let mut part = Rows::default();
                for (is_shared, count) in streams {
                    let around = Around { before: 3, after, is_look };
                    let versions: Vec<_> = (0..count)
                        .map(|_| {
                            next += 1;
                            AliveVersion::from(version(next, Some(5 + next % 3)))
                        })
                        .collect();
                    let held = |alive: &AliveVersion| Held {
                        version: alive.version.clone(),
                        verdict: around.verdict(alive.to),
                        before: Some(3),
                        after,
                    };
                    expected.extend(versions.iter().map(held));
                    match is_shared {
                        true => part.share(Arc::new(Alive::new(versions.into())), around),
                        false => part.held.extend(versions.iter().map(held)),
                    }
                }
                rows.append(part);
            }
            prop_assert_eq!(rows.len(), expected.len());
            prop_assert_eq!(rows.is_empty(), expected.is_empty());
            for held in &rows {
                let HeldRef { host, row, from, to, version, .. } = held;
                prop_assert_eq!((host, row, from, to), (&version.host, &version.row, version.from, version.to));
            }
            prop_assert_eq!(rows.iter().map(HeldRef::to_held).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(rows.into_held(), expected);
        }
    }
}
