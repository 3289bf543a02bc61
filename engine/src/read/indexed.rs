//! A question for a value, answered from the index of a column: only streams that ever had the value are read.
//!
//! Invariants:
//! - The rows are those that reading every stream would give; the index only tells where to look, and each row is asked
//!   again whether it is wanted.
//! - Only where every stream with a state is settled and alone on its host: there the coverage follows from first and last
//!   looks.

use super::answer::{Cause, Cost, Coverage, Held, UNKNOWN_HOSTS_MAX};
use super::at::{Ask, sort_held};
use super::classes::Classes;
use super::matching::{Address, Network, address_fits, is_number, is_plain_number, numbers_equal};
use super::question::Wanted;
use super::rows::Rows;
use super::settled::{Settled, Sorter};
use super::source::{RunAt, Source};
use super::standing::TableStanding;
use super::view::View;
use crate::codec::Fault;
use crate::error::Error;
use crate::fact::Name;
use crate::row::Row;
use crate::segment::TableReader;
use crate::segment::cache::Cache;
use crate::segment::index::{Index, Postings};
use crate::timeline::verdict::Class;
use rustc_hash::FxHashMap;

/// How a column's texts compare with what is asked for.
#[derive(Clone, Copy)]
pub(super) enum Sought<'q> {
    /// As bytes.
    Text(&'q [u8]),
    /// As decimal numbers where both are, else as bytes.
    Number(&'q [u8]),
    /// As addresses where both are, else as bytes.
    Address(&'q [u8]),
    /// By the first bytes.
    Begins(&'q [u8]),
    /// As addresses of a network.
    In(&'q Network),
}

impl<'q> Sought<'q> {
    /// A text of a column, which is a number or not.
    pub(super) fn new(is_number: bool, asked: &'q [u8]) -> Sought<'q> {
        if is_number { Sought::Number(asked) } else { Sought::Text(asked) }
    }

    /// What a condition on a column wants, which is a number or not.
    pub(super) fn wanted(is_number: bool, wanted: &'q Wanted) -> Sought<'q> {
        match wanted {
            Wanted::Is(asked) => Sought::new(is_number, asked),
            Wanted::Begins(asked) => Sought::Begins(asked),
            Wanted::In(network) => Sought::In(network),
        }
    }

    /// Whether the text of a row's column is sought.
    pub(super) fn is_in(&self, row: &Row, column: &[u8]) -> bool {
        row.get(column).is_some_and(|text| self.fits(text))
    }

    /// Whether a text is sought.
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            Sought::Text(asked) => text == *asked,
            Sought::Number(asked) => text == *asked || numbers_equal(text, asked),
            Sought::Address(asked) => address_fits(asked, text),
            Sought::Begins(asked) => text.starts_with(asked),
            Sought::In(network) => network.holds(text),
        }
    }

    /// The places of the values that are sought.
    pub(super) fn places(&self, index: &Index<'_>) -> Result<Vec<usize>, Fault> {
        let asked = match self {
            Sought::Text(asked) => asked,
            // No number but itself is equal to a number that is written the shortest way.
            Sought::Number(asked) if is_plain_number(asked) && !index.has_odd_numbers() => asked,
            Sought::Number(asked) if !is_number(asked) => asked,
            Sought::Address(asked) => match Address::parse(asked) {
                None => asked,
                Some(address) => {
                    let key = address.key();
                    return self.among_addresses(index, (&key, &key));
                }
            },
            Sought::In(network) => return self.among_addresses(index, network.keys()),
            Sought::Begins(asked) => {
                let first = index.lower_bound(asked)?;
                let mut places = Vec::new();
                for place in first..index.values() {
                    if !index.value(place)?.starts_with(asked) {
                        break;
                    }
                    places.push(place);
                }
                return Ok(places);
            }
            Sought::Number(_) => return self.scan(index),
        };
        Ok(index.find(asked)?.into_iter().collect())
    }

    /// The places of the values that are sought and addresses between two keys.
    fn among_addresses(&self, index: &Index<'_>, keys: (&[u8; 16], &[u8; 16])) -> Result<Vec<usize>, Fault> {
        if !index.has_addresses() {
            return self.scan(index);
        }
        let mut places = Vec::new();
        index.addresses(keys, |place| {
            if self.fits(index.value(place)?) {
                places.push(place);
            }
            Ok(())
        })?;
        Ok(places)
    }

    fn scan(&self, index: &Index<'_>) -> Result<Vec<usize>, Fault> {
        let mut places = Vec::new();
        for place in 0..index.values() {
            if self.fits(index.value(place)?) {
                places.push(place);
            }
        }
        Ok(places)
    }
}

/// What an index names: in a stream at a place of the directory,
pub(super) enum Named<'r> {
    /// some versions,
    Stream,
    /// a version,
    Version(usize),
    /// or several, whose ordinals ascend.
    Versions(&'r dyn Fn(usize) -> Result<usize, Error>, usize),
}

/// The versions of a run that an index names, whose ordinals ascend once they were put in order; `None` for all.
pub(super) type Versions = Option<Vec<usize>>;

/// None of them.
pub(super) fn no_versions() -> Versions {
    Some(Vec::new())
}

/// An index names them value by value, or by time.
pub(super) fn put_in_order(versions: &mut Versions) {
    if let Some(versions) = versions {
        versions.sort_unstable();
        versions.dedup();
    }
}

impl Named<'_> {
    /// Adds what is named to what was named of the same stream before.
    pub(super) fn add_to(self, versions: &mut Versions) -> Result<(), Error> {
        match (self, versions) {
            (Named::Stream, versions) => *versions = None,
            (_, None) => {}
            (Named::Version(version), Some(versions)) => versions.push(version),
            (Named::Versions(ordinal, count), Some(versions)) => {
                for at in 0..count {
                    versions.push(ordinal(at)?);
                }
            }
        }
        Ok(())
    }
}

/// Gives what an index names for the values that are sought, at or around T if it goes by time; a stream may come several
/// times.
pub(super) fn each_named(
    reader: TableReader<'_>,
    column: &[u8],
    index: &Index<'_>,
    sought: Sought<'_>,
    ask: &Ask<'_>,
    cost: &mut Cost,
    mut each: impl FnMut(usize, Named<'_>, &mut Cost) -> Result<(), Error>,
) -> Result<(), Error> {
    let fault = |fault| reader.index_fault(column, fault);
    let places = sought.places(index).map_err(fault)?;
    let streams = match ask.host {
        Some(host) => reader.directory.streams_of_host(host),
        None => 0..reader.directory.streams(),
    };
    for place in places {
        let postings = index.postings(place).map_err(fault)?;
        cost.bytes_read += index.value(place).map_err(fault)?.len() as u64;
        if index.of == Postings::Times {
            let mut holding = Vec::new();
            index
                .at(postings, ask.at, |posting| {
                    let stream = index.stream(posting)?;
                    cost.bytes_read += Index::POSTING_BYTES;
                    if streams.contains(&stream) {
                        holding.push((stream, index.version(posting)?));
                    }
                    Ok(())
                })
                .map_err(fault)?;
            for (place, version) in holding {
                each(place, Named::Version(version), cost)?;
            }
            continue;
        }
        let postings = if ask.host.is_some() { index.of_streams(postings, &streams).map_err(fault)? } else { postings };
        if index.of == Postings::Streams {
            for posting in postings {
                cost.bytes_read += Index::POSTING_BYTES;
                each(index.stream(posting).map_err(fault)?, Named::Stream, cost)?;
            }
            continue;
        }
        let mut start = postings.start;
        while start < postings.end {
            let place = index.stream(start).map_err(fault)?;
            let of_stream = index.of_streams(start..postings.end, &(place..place + 1)).map_err(fault)?;
            start = of_stream.end;
            let first = of_stream.start;
            cost.bytes_read += Index::POSTING_BYTES;
            each(place, Named::Versions(&|at| index.version(first + at).map_err(fault), of_stream.len()), cost)?;
        }
    }
    Ok(())
}

/// The rows of a plain table at T that have a value in an indexed column and are wanted besides, by host, stream, row, from,
/// verdict.
#[expect(clippy::too_many_arguments, reason = "what is asked, and where")]
pub(super) fn read_indexed(
    reader: TableReader<'_>,
    cache: &Cache,
    column: &[u8],
    index: &Index<'_>,
    sought: Sought<'_>,
    ask: &Ask<'_>,
    cost: &mut Cost,
    besides: impl Fn(&Row) -> bool,
) -> Result<Vec<Held>, Error> {
    let mut found: Vec<Held> = Vec::new();
    // Of postings of streams, one stream may come under several values.
    let mut scanned: Vec<usize> = Vec::new();
    let mut together: FxHashMap<usize, Versions> = FxHashMap::default();
    each_named(reader, column, index, sought, ask, cost, |place, named, cost| {
        if let Named::Stream = named {
            scanned.push(place);
            return Ok(());
        }
        let Some(source) = source_at(reader, place, ask)? else {
            return Ok(());
        };
        if source.is_resolved() {
            // Versions of one row are judged together.
            return named.add_to(together.entry(place).or_insert_with(no_versions));
        }
        let mut settled = Settled::new(&source, cache, ask.at, cost)?;
        match named {
            Named::Stream => Ok(()),
            Named::Version(version) => settled.one(version, ask.with_after, &besides, &mut found, cost),
            Named::Versions(ordinal, count) => {
                settled.among(count, ordinal, ask.with_after, &besides, &mut found, cost)
            }
        }
    })?;
    for (place, mut versions) in together {
        put_in_order(&mut versions);
        if let (Some(versions), Some(source)) = (versions, source_at(reader, place, ask)?) {
            let mut settled = Settled::new(&source, cache, ask.at, cost)?;
            settled.among(versions.len(), |at| Ok(versions[at]), ask.with_after, &besides, &mut found, cost)?;
        }
    }
    scanned.sort_unstable();
    scanned.dedup();
    let keep = |row: &Row| sought.is_in(row, column) && besides(row);
    let (mut sorter, mut rows) = (Sorter::default(), Rows::default());
    for place in scanned {
        if let Some(source) = source_at(reader, place, ask)? {
            let mut settled = Settled::new(&source, cache, ask.at, cost)?;
            settled.held(ask.with_after, false, keep, &mut sorter, &mut rows, cost)?;
        }
    }
    if !rows.is_empty() {
        found.extend(rows.into_held());
    }
    if found.len() > 1 {
        sort_held(&mut found, false);
    }
    Ok(found)
}

/// What the indexes of all segments name for the values that are sought, while streams are read one by one.
pub(super) struct Found {
    /// Segments whose table has an index of the column.
    segments: Vec<u64>,
    /// By segment and place there.
    streams: FxHashMap<(u64, usize), Versions>,
}

/// Which versions of a run to read.
pub(super) enum Which<'f> {
    /// All that are asked for otherwise.
    All,
    /// Of these, whose ordinals ascend.
    Versions(&'f [usize]),
}

impl Found {
    /// What is found for a column.
    pub(super) fn new(
        view: &View,
        column: &[u8],
        sought: Sought<'_>,
        ask: &Ask<'_>,
        cost: &mut Cost,
    ) -> Result<Found, Error> {
        let mut found = Found { segments: Vec::new(), streams: FxHashMap::default() };
        for segment in view.segments() {
            let Some(reader) = segment.table(ask.table)? else { continue };
            let Some(index) = reader.index(column, view.cache(), cost)? else { continue };
            let number = segment.number();
            found.segments.push(number);
            let streams = &mut found.streams;
            each_named(reader, column, index.borrow_dependent(), sought, ask, cost, |place, named, _| {
                named.add_to(streams.entry((number, place)).or_insert_with(no_versions))
            })?;
        }
        found.streams.values_mut().for_each(put_in_order);
        Ok(found)
    }

    /// What is found of a run.
    pub(super) fn of(&self, run: &RunAt<'_>) -> Which<'_> {
        let number = run.reader.segment.number();
        match self.streams.get(&(number, run.place)) {
            Some(Some(versions)) => Which::Versions(versions),
            None if self.segments.contains(&number) => Which::Versions(&[]),
            Some(None) | None => Which::All,
        }
    }
}

/// The stream at a place of the directory, if it has a state and is asked for.
#[inline]
fn source_at<'s>(reader: TableReader<'s>, place: usize, ask: &Ask<'_>) -> Result<Option<Source<'s>>, Error> {
    let directory = reader.directory;
    if place >= directory.streams() {
        let range = Fault::Range { found: place as u64, min: 0, max: directory.streams() as u64 };
        return Err(reader.index_fault(b"", range));
    }
    let stream = directory.record(place);
    if !stream.has_state() || ask.stream.is_some_and(|name| *directory.name(&stream) != *name) {
        return Ok(None);
    }
    Ok(Some(Source::of(RunAt { reader, place, record: stream })))
}

/// The coverage of a plain table at T, over `hosts` hosts.
pub(super) fn coverage(
    standing: &TableStanding,
    reader: TableReader<'_>,
    cache: &Cache,
    ask: &Ask<'_>,
    hosts: u64,
    cost: &mut Cost,
) -> Result<Coverage, Error> {
    let (at, directory) = (ask.at, reader.directory);
    let mut class_of = |run: RunAt<'_>| {
        if run.record.is_resolved() {
            return Ok(Settled::new(&Source::of(run), cache, at, cost)?.class());
        }
        let (first, last) = directory.extent(&run.record);
        Ok::<_, Error>(Settled::class_of(first, last, at))
    };
    if ask.host.is_some() || ask.stream.is_some() {
        let mut classes = Classes::default();
        let places = ask.host.map_or(0..directory.streams(), |host| directory.streams_of_host(host));
        for group in standing.groups(reader, places) {
            if ask.stream.is_some_and(|name| *directory.name(&group.first) != *name) {
                continue;
            }
            let (host, is_assumed) = (directory.host(&group.first), group.is_assumed);
            classes.note(host, class_of(group.run(reader))?, is_assumed);
        }
        let hosts = if ask.stream.is_some() { classes.hosts() } else { hosts };
        return Ok(classes.coverage(hosts));
    }
    let all = directory.with_state() as u64;
    let (mut unknown, mut presumed) = directory.count_outside(at);
    // Those that are counted by their extent, and are of another class.
    let unsure = match &*standing.resolved {
        [] => Vec::new(),
        resolved => match standing.unsure_at(reader, at)? {
            Some(unsure) => unsure,
            None => {
                let read = |&place: &u32| Ok((place as usize, class_of(RunAt::new(reader, place as usize))?));
                resolved.iter().map(read).collect::<Result<_, Error>>()?
            }
        },
    };
    for (place, class) in &unsure {
        let (first, last) = directory.extent(&directory.record(*place));
        match Settled::class_of(first, last, at) {
            Class::Unknown(_) => unknown = unknown.saturating_sub(1),
            Class::Presumed => presumed = presumed.saturating_sub(1),
            Class::Covered => {}
        }
        match class {
            Class::Unknown(_) => unknown += 1,
            Class::Presumed => presumed += 1,
            Class::Covered => {}
        }
    }
    let mut coverage = Coverage {
        covered: all.saturating_sub(unknown + presumed),
        presumed,
        unknown,
        never: hosts.saturating_sub(all),
        assumed: standing.assumed,
        unknown_hosts: Vec::new(),
    };
    let named = (unknown as usize).min(UNKNOWN_HOSTS_MAX);
    if named > 0 {
        let is_unsure = |place: &usize| unsure.binary_search_by_key(place, |(place, _)| *place).is_ok();
        let later = standing.begun_after(reader, at).filter(|place| !is_unsure(place));
        let mut all: Vec<(usize, Cause)> = later.map(|place| (place, Cause::BeforeFirst)).take(named).collect();
        let unknown = unsure.iter().filter_map(|(place, class)| match class {
            Class::Unknown(cause) => Some((*place, *cause)),
            Class::Presumed | Class::Covered => None,
        });
        all.extend(unknown.take(named));
        all.sort_unstable_by_key(|(place, _)| *place);
        let host = |place: usize| Name::from(directory.host(&directory.record(place)));
        coverage.unknown_hosts.extend(all.into_iter().take(named).map(|(place, cause)| (host(place), cause)));
    }
    Ok(coverage)
}
