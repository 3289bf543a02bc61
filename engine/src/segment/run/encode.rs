//! The parts and versions of a regular stream become pieces.

use super::piece::span_crc;
use super::{
    BLOCK_VERSIONS_MAX, FLAG_WHOLE, INFERRED_SHIFT, KEYFRAME_WEIGHT, PIECE_WEIGHT_MIN, SHRUNK, VERSION_WEIGHT,
    blocks_of,
};
use crate::codec::{gaps, line, packed, varint};
use crate::fact::{Kind, Micros, Second};
use crate::packing::{Looks, Packer};
use crate::row::Row;
use crate::timeline::moments::State;
use crate::timeline::regular::Lifetime;
use crate::timeline::{Part, event_time};
use std::ops::Range;

/// One piece, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// How many looks.
    pub looks: usize,
    /// How many versions.
    pub versions: usize,
    /// The second of the first look.
    pub first: Second,
    /// The second of the last look.
    pub last: Second,
    /// When the first and the last of the events happened; of other kinds the seconds of the first and the last look.
    pub times: (Second, Second),
    /// The bytes, as a range of what was appended to.
    pub bytes: Range<usize>,
    /// Where its spans end, counted from where it begins; none if it has one block.
    pub spans: Vec<usize>,
}

impl Piece {
    /// Appends the payload of a frame that is where this [checksum](crate::format::frame::place_crc) says; `bytes` is what the
    /// piece was appended to.
    pub fn put(&self, bytes: &[u8], place: u32, out: &mut Vec<u8>) {
        let (bytes, mut start) = (&bytes[self.bytes.clone()], 0);
        for (span, &end) in self.spans.iter().enumerate() {
            out.extend_from_slice(&span_crc(place, span, &bytes[start..end]).to_le_bytes());
            start = end;
        }
        out.extend_from_slice(bytes);
    }
}

/// What is told of looks beside when they were.
#[derive(Clone, Copy, Debug)]
pub enum OfLooks<'t> {
    /// How they were delivered: with the recorded times of the segment, in order, of which every one of theirs is one.
    Deliveries(&'t [Micros]),
    /// What they mean, of moments, one for each.
    States(&'t [State]),
}

impl OfLooks<'_> {
    /// Of some of the looks.
    fn of(self, looks: Range<usize>) -> Self {
        match self {
            OfLooks::Deliveries(_) => self,
            OfLooks::States(states) => OfLooks::States(&states[looks]),
        }
    }
}

/// Encodes runs, one after the other.
#[derive(Default)]
pub struct Encoder {
    /// Versions before `known` that were alive when last asked.
    alive: Vec<u32>,
    known: usize,
    bodies: Vec<u8>,
    frame: Vec<u8>,
    column: Vec<u64>,
    signed: Vec<i64>,
}

impl Encoder {
    /// Appends the pieces of a run and tells where they are. Versions of one look are put in the order in which their
    /// rows pack best; the row of a version is its place in `rows`.
    #[expect(clippy::too_many_arguments, reason = "what is written, and by what means")]
    pub fn run(
        &mut self,
        kind: Kind,
        parts: &[Part],
        lifetimes: &mut [Lifetime],
        rows: &[Row],
        packer: &mut Packer,
        told: OfLooks<'_>,
        out: &mut Vec<u8>,
    ) -> Vec<Piece> {
        let key = |lifetime: &Lifetime| packer.dictionary().order_key(rows[lifetime.row as usize].as_bytes());
        lifetimes.sort_by_cached_key(|lifetime| (lifetime.born, key(lifetime), lifetime.row));
        let lifetimes = &*lifetimes;
        let mut pieces = Vec::new();
        self.alive.clear();
        self.known = 0;
        let mut died = vec![0usize; parts.len()];
        for lifetime in lifetimes.iter() {
            if let Some(died) = died.get_mut(lifetime.died as usize) {
                *died += 1;
            }
        }
        let (mut look, mut version, mut live) = (0, 0, 0);
        while look < parts.len() {
            let (first_look, first_version) = (look, version);
            let (mut weight, mut most) = (0, live);
            while look < parts.len() && weight < PIECE_WEIGHT_MIN.max(self.alive.len()) {
                let born = lifetimes[version..].iter().take_while(|lifetime| lifetime.born as usize == look).count();
                let left = live + born - died.get(look).copied().unwrap_or(0);
                // Where most of what was alive is gone, a keyframe is due that no longer names it.
                if look > first_look && SHRUNK * left + BLOCK_VERSIONS_MAX < most {
                    break;
                }
                (live, most) = (left, most.max(left));
                weight += 1 + VERSION_WEIGHT * born;
                look += 1;
                version += born;
            }
            let start = out.len();
            self.seconds(&parts[first_look..look], out);
            let mut ends = Vec::new();
            let mut looks_of_blocks = Vec::new();
            let mut backs = Vec::new();
            let (mut earliest, mut latest) = (Vec::new(), Vec::new());
            self.bodies.clear();
            let mut since_keyframe = 0;
            for block in 0..blocks_of(version - first_version) {
                let from = first_version + block * BLOCK_VERSIONS_MAX;
                let to = version.min(from + BLOCK_VERSIONS_MAX);
                let at = if block == 0 { first_look } else { lifetimes[from].born as usize };
                let began = self.bodies.len();
                let back = self.keyframe(kind, lifetimes, from, at, block == 0, since_keyframe);
                let back = if back { 0 } else { backs.last().map_or(0, |back| back + 1) };
                if back == 0 {
                    since_keyframe = 0;
                }
                self.versions(&lifetimes[from..to], first_look, parts, rows, packer);
                since_keyframe += self.bodies.len() - began;
                looks_of_blocks.push((at - first_look) as u64);
                backs.push(back);
                ends.push(self.bodies.len() as u64);
                if kind == Kind::Event {
                    let time = |lifetime: &Lifetime| {
                        event_time(rows[lifetime.row as usize].as_bytes())
                            .unwrap_or(parts[lifetime.born as usize].second)
                    };
                    let (least, most) = lifetimes[from..to]
                        .iter()
                        .map(time)
                        .fold((Second::MAX, Second::MIN), |(least, most), time| (least.min(time), most.max(time)));
                    earliest.push(least);
                    latest.push(most);
                }
            }
            packed::encode(&looks_of_blocks, out);
            packed::encode(&backs, out);
            packed::encode(&ends, out);
            line::encode(&earliest, out);
            line::encode(&latest, out);
            let head = out.len() - start;
            out.extend_from_slice(&self.bodies);
            self.looks(&parts[first_look..look], told.of(first_look..look), out);
            let ends_of_blocks = ends.iter().map(|&end| head + end as usize);
            let spans = [head].into_iter().chain(ends_of_blocks).chain([out.len() - start]);
            let spans = if ends.len() > 1 { spans.collect() } else { Vec::new() };
            pieces.push(Piece {
                looks: look - first_look,
                versions: version - first_version,
                first: parts[first_look].second,
                last: parts[look - 1].second,
                times: match kind {
                    Kind::Event => {
                        let last = latest.iter().copied().max().unwrap_or(Second::MIN);
                        (earliest.iter().copied().min().unwrap_or(Second::MAX), last)
                    }
                    _ => (parts[first_look].second, parts[look - 1].second),
                },
                bytes: start..out.len(),
                spans,
            });
        }
        pieces
    }

    fn seconds(&mut self, parts: &[Part], out: &mut Vec<u8>) {
        self.signed.clear();
        self.signed.extend(parts.iter().map(|part| part.second));
        line::encode(&self.signed, out);
    }

    fn looks(&mut self, parts: &[Part], told: OfLooks<'_>, out: &mut Vec<u8>) {
        let Encoder { column, signed, .. } = self;
        let mut lined = |out: &mut Vec<u8>, values: &mut dyn Iterator<Item = i64>| {
            signed.clear();
            signed.extend(values);
            line::encode(signed, out);
        };
        let mut flat = |out: &mut Vec<u8>, values: &mut dyn Iterator<Item = u64>| {
            column.clear();
            column.extend(values);
            packed::encode(column, out);
        };
        if let OfLooks::States(states) = told {
            flat(out, &mut states.iter().map(|state| state.number()));
        }
        flat(out, &mut parts.iter().map(|part| part.epoch));
        flat(out, &mut parts.iter().map(|part| u64::from(part.counter.is_some())));
        lined(out, &mut parts.iter().map(|part| part.counter.unwrap_or(0) as i64));
        let OfLooks::Deliveries(commits) = told else { return };
        let flags = |part: &Part| (u64::from(part.whole) * FLAG_WHOLE) | ((part.inferred as u64) << INFERRED_SHIFT);
        flat(out, &mut parts.iter().map(flags));
        let commit = |part: &Part| commits.partition_point(|&commit| commit < part.recorded) as i64;
        lined(out, &mut parts.iter().map(commit));
    }

    /// Appends the keyframe of a block if it is due; tells whether it was.
    fn keyframe(
        &mut self,
        kind: Kind,
        lifetimes: &[Lifetime],
        from: usize,
        at: usize,
        first: bool,
        since_keyframe: usize,
    ) -> bool {
        if kind == Kind::Event {
            self.bodies.push(0);
            return true;
        }
        self.alive.extend(self.known as u32..from as u32);
        self.known = from;
        self.alive.retain(|&version| lifetimes[version as usize].died as usize > at);
        self.frame.clear();
        gaps::encode(0, self.alive.iter().map(|&version| u64::from(version)), &mut self.frame);
        let due = first || since_keyframe > KEYFRAME_WEIGHT * self.frame.len();
        if due {
            varint::put_u64(&mut self.bodies, self.alive.len() as u64);
            if !self.alive.is_empty() {
                varint::put_u64(&mut self.bodies, self.frame.len() as u64);
            }
            self.bodies.extend_from_slice(&self.frame);
        }
        due
    }

    fn versions(
        &mut self,
        lifetimes: &[Lifetime],
        first_look: usize,
        parts: &[Part],
        rows: &[Row],
        packer: &mut Packer,
    ) {
        let Encoder { bodies, column, .. } = self;
        let (mut looks, mut counts, mut starts, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (i, lifetime) in lifetimes.iter().enumerate() {
            let look = u64::from(lifetime.born) - first_look as u64;
            if looks.last() != Some(&look) {
                looks.push(look);
                counts.push(0u64);
                starts.push(i as u32);
                seconds.push(parts[lifetime.born as usize].second);
            } else if let Some(count) = counts.last_mut() {
                *count += 1;
            }
        }
        varint::put_u64(bodies, looks.len() as u64);
        packed::encode(&looks, bodies);
        packed::encode(&counts, bodies);
        let mut flat = |bodies: &mut Vec<u8>, values: &mut dyn Iterator<Item = u64>| {
            column.clear();
            column.extend(values);
            packed::encode(column, bodies);
        };
        let is_open = |lifetime: &Lifetime| lifetime.died == crate::timeline::regular::OPEN;
        let length = |lifetime: &Lifetime| if is_open(lifetime) { 0 } else { u64::from(lifetime.died - lifetime.born) };
        flat(bodies, &mut lifetimes.iter().map(length));
        flat(bodies, &mut lifetimes.iter().map(|lifetime| lifetime.count - 1));
        let block: Vec<&[u8]> = lifetimes.iter().map(|lifetime| rows[lifetime.row as usize].as_bytes()).collect();
        packer.pack(&block, Looks { starts: &starts, seconds: &seconds }, bodies);
    }
}
