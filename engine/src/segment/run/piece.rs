//! One piece of a run where it lies.

use super::{BLOCK_VERSIONS_MAX, FLAG_WHOLE, INFERRED_SHIFT, blocks_of};
use crate::codec::line::Line;
use crate::codec::packed::Packed;
use crate::codec::{Fault, finish, gaps, take, take_between};
use crate::fact::{Inferred, Micros, Second};
use crate::segment::part_of;
use crate::timeline::Part;
use crate::timeline::moments::State;

/// A piece, of which nothing is decoded but where its columns are.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    looks: usize,
    versions: usize,
    /// The checksums of its spans, if it is checked; all before its blocks is the first span.
    checks: &'a [u8],
    head: &'a [u8],
    second: Line<'a>,
    block_look: Packed<'a>,
    block_back: Packed<'a>,
    block_end: Packed<'a>,
    /// Of a piece of events: the columns that tell when those of each block happened.
    times: &'a [u8],
    bodies: &'a [u8],
    /// The other columns of looks, which few questions ask for.
    others: &'a [u8],
}

/// The bytes of a span's checksum.
pub(super) const CHECK_BYTES: usize = 4;

/// The checksum of a span: of where the frame is and which span it is, so that no other is taken for it, and of its bytes.
pub(super) fn span_crc(place: u32, span: usize, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(place ^ span as u32);
    hasher.update(bytes);
    hasher.finalize()
}

/// The columns of looks but for when they were.
#[derive(Clone, Debug)]
pub struct LookColumns<'a> {
    epoch: Packed<'a>,
    counted: Packed<'a>,
    counter: Line<'a>,
    flags: Packed<'a>,
    commit: Line<'a>,
}

/// The columns of moments but for when they were.
#[derive(Clone, Debug)]
pub struct MomentColumns<'a> {
    state: Packed<'a>,
    epoch: Packed<'a>,
    counted: Packed<'a>,
    counter: Line<'a>,
}

/// A look as a piece keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When the host looked.
    pub second: Second,
    /// The agent's label of a run of counters.
    pub epoch: u64,
    /// The look's number within its epoch.
    pub counter: Option<u64>,
    /// Whether one line held the whole look.
    pub whole: bool,
    /// The least that the lines suggest of the agent's version.
    pub inferred: Inferred,
    /// Place of the recorded time in the segment's list.
    pub commit: u64,
}

impl Look {
    /// As the part that was delivered, without its rows.
    pub fn part(&self, recorded: Micros) -> Part {
        Part {
            epoch: self.epoch,
            counter: self.counter,
            second: self.second,
            whole: self.whole,
            inferred: self.inferred,
            recorded,
            removed: Vec::new(),
            added: Vec::new(),
        }
    }
}

impl<'a> Piece<'a> {
    /// A piece of so many looks and versions; one of events tells when those of each block happened, and one that is
    /// checked begins with the checksums of its spans.
    pub fn open(
        mut bytes: &'a [u8],
        looks: usize,
        versions: usize,
        is_of_events: bool,
        is_checked: bool,
    ) -> Result<Piece<'a>, Fault> {
        let bytes = &mut bytes;
        let blocks = blocks_of(versions);
        let checks = take(bytes, if is_checked { CHECK_BYTES * (blocks + 2) } else { 0 })?;
        let front = *bytes;
        let second = Line::take(bytes, looks)?;
        let block_look = Packed::take(bytes, blocks)?;
        let block_back = Packed::take(bytes, blocks)?;
        let block_end = Packed::take(bytes, blocks)?;
        let times = *bytes;
        if is_of_events {
            Line::take(bytes, blocks)?;
            Line::take(bytes, blocks)?;
        }
        let head = &front[..front.len() - bytes.len()];
        let end = block_end.get(blocks - 1)?;
        let bodies = take(bytes, usize::try_from(end).unwrap_or(usize::MAX))?;
        let others = *bytes;
        Ok(Piece { looks, versions, checks, head, second, block_look, block_back, block_end, times, bodies, others })
    }

    /// What stands before its blocks.
    #[inline]
    pub fn head(&self) -> Head<'_, 'a> {
        Head(self)
    }

    /// What is told of its looks but for when they were.
    #[inline]
    pub fn of_looks(&self) -> OfLooks<'_, 'a> {
        OfLooks(self)
    }

    /// How many spans have a checksum: all before the blocks, each block, and all behind them; none if the checksum of the
    /// frame is all there is.
    pub fn spans(&self) -> usize {
        self.checks.len() / CHECK_BYTES
    }

    /// Verifies a span of a piece whose frame is where this [checksum](crate::format::frame::place_crc) says; tells how long it
    /// is.
    pub fn verify(&self, place: u32, span: usize) -> Result<usize, Fault> {
        let range = Fault::Range { found: span as u64, min: 0, max: self.spans() as u64 };
        let check = self.checks.as_chunks::<CHECK_BYTES>().0.get(span).ok_or(range)?;
        let bytes = match span.checked_sub(1) {
            None => self.head,
            Some(block) if block < self.head().blocks() => self.body(block)?,
            Some(_) => self.others,
        };
        let (said, is) = (u32::from_le_bytes(*check), span_crc(place, span, bytes));
        if said == is {
            return Ok(bytes.len());
        }
        Err(Fault::Checksum { expected: is, found: said })
    }

    /// The bytes of a block.
    #[inline]
    fn body(&self, block: usize) -> Result<&'a [u8], Fault> {
        let start = if block == 0 { 0 } else { self.block_end.get(block - 1)? };
        let end = self.block_end.get(block)?;
        let range = usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        let short = Fault::Length { needed: end, found: self.bodies.len() as u64 };
        self.bodies.get(range).ok_or(short)
    }

    /// Block `block`.
    #[inline]
    pub fn block(&self, block: usize) -> Result<Block<'a>, Fault> {
        let mut bytes = self.body(block)?;
        let first = block * BLOCK_VERSIONS_MAX;
        let count = self.versions.saturating_sub(first).min(BLOCK_VERSIONS_MAX);
        let (mut alive, mut alive_bytes) = (0, &[][..]);
        if self.block_back.get(block)? == 0 {
            alive = take_between(&mut bytes, 0, super::RUN_MAX)? as usize;
            if alive > 0 {
                let left = bytes.len() as u64;
                let len = take_between(&mut bytes, 0, left)? as usize;
                alive_bytes = take(&mut bytes, len)?;
            }
        }
        let with_keys = bytes.len();
        let groups = take_between(&mut bytes, u64::from(count > 0), count as u64)? as usize;
        Ok(Block {
            count,
            alive,
            alive_bytes,
            groups,
            group_look: Packed::take(&mut bytes, groups)?,
            group_size: Packed::take(&mut bytes, groups)?,
            length: Packed::take(&mut bytes, count)?,
            copies: Packed::take(&mut bytes, count)?,
            key_bytes: with_keys - bytes.len(),
            rows: bytes,
        })
    }
}

/// What stands before the blocks of a piece: when its looks were, and where its blocks are.
#[derive(Clone, Copy)]
pub struct Head<'p, 'a>(&'p Piece<'a>);

impl Head<'_, '_> {
    /// How many looks it has.
    pub fn looks(&self) -> usize {
        self.0.looks
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        blocks_of(self.0.versions)
    }

    /// When look `look` of the piece was.
    #[inline]
    pub fn second(&self, look: usize) -> Result<Second, Fault> {
        self.0.second.get(look)
    }

    /// How many looks of the piece are at or before a second.
    #[inline]
    pub fn looks_until(&self, at: Second) -> Result<usize, Fault> {
        self.0.second.partition_point(|second| second <= at)
    }

    /// The last block whose first version appears at or before a look of the piece.
    pub fn block_of_look(&self, look: usize) -> Result<usize, Fault> {
        let after = self.0.block_look.partition_point(|first| first <= look as u64)?;
        Ok(after.saturating_sub(1))
    }

    /// The first block that may have versions that appear at a look of the piece.
    pub fn first_block_of_look(&self, look: usize) -> Result<usize, Fault> {
        let from = self.0.block_look.partition_point(|first| first < look as u64)?;
        Ok(from.saturating_sub(1))
    }

    /// The look of the piece at which a block's first version appears; 0 for the first block.
    pub fn look_of_block(&self, block: usize) -> Result<u64, Fault> {
        self.0.block_look.get(block)
    }

    /// Of a piece of events: when the first and the last of a block happened.
    pub fn block_times(&self, block: usize) -> Result<(Second, Second), Fault> {
        let bytes = &mut { self.0.times };
        let (earliest, latest) = (Line::take(bytes, self.blocks())?, Line::take(bytes, self.blocks())?);
        Ok((earliest.get(block)?, latest.get(block)?))
    }

    /// The block with the keyframe that block `block` counts on.
    pub fn keyframe_of(&self, block: usize) -> Result<usize, Fault> {
        let back = self.0.block_back.get(block)?;
        let fault = Fault::Range { found: back, min: 0, max: block as u64 };
        usize::try_from(back).ok().and_then(|back| block.checked_sub(back)).ok_or(fault)
    }
}

/// What is told of the looks of a piece but for when they were, which its [head](Head) tells.
#[derive(Clone, Copy)]
pub struct OfLooks<'p, 'a>(&'p Piece<'a>);

impl<'p, 'a> OfLooks<'p, 'a> {
    /// What stands before the blocks.
    #[inline]
    pub fn head(self) -> Head<'p, 'a> {
        Head(self.0)
    }

    /// The columns of looks.
    pub fn look_columns(&self) -> Result<LookColumns<'a>, Fault> {
        let bytes = &mut { self.0.others };
        let columns = LookColumns {
            epoch: Packed::take(bytes, self.0.looks)?,
            counted: Packed::take(bytes, self.0.looks)?,
            counter: Line::take(bytes, self.0.looks)?,
            flags: Packed::take(bytes, self.0.looks)?,
            commit: Line::take(bytes, self.0.looks)?,
        };
        finish(bytes)?;
        Ok(columns)
    }

    /// The columns of moments.
    pub fn moment_columns(&self) -> Result<MomentColumns<'a>, Fault> {
        let bytes = &mut { self.0.others };
        let columns = MomentColumns {
            state: Packed::take(bytes, self.0.looks)?,
            epoch: Packed::take(bytes, self.0.looks)?,
            counted: Packed::take(bytes, self.0.looks)?,
            counter: Line::take(bytes, self.0.looks)?,
        };
        finish(bytes)?;
        Ok(columns)
    }

    /// What moment `look` of the piece is.
    #[inline]
    pub fn state(&self, look: usize) -> Result<State, Fault> {
        let number = Packed::take(&mut { self.0.others }, self.0.looks)?.get(look)?;
        state_of(number)
    }

    /// Moment `look` of the piece: what it is, and if something goes on from it the epoch and the counter of the look.
    pub fn moment(&self, columns: &MomentColumns<'_>, look: usize) -> Result<(State, u64, Option<u64>), Fault> {
        let state = state_of(columns.state.get(look)?)?;
        let counter = columns.counter.get(look)? as u64;
        Ok((state, columns.epoch.get(look)?, (columns.counted.get(look)? != 0).then_some(counter)))
    }

    /// The bytes that tell more of the looks than when they were.
    pub fn look_bytes(&self) -> u64 {
        self.0.others.len() as u64
    }

    /// Look `look` of the piece.
    pub fn look(&self, columns: &LookColumns<'_>, look: usize) -> Result<Look, Fault> {
        let flags = columns.flags.get(look)?;
        let inferred = u8::try_from(flags >> INFERRED_SHIFT).ok().and_then(Inferred::from_byte);
        let counter = columns.counter.get(look)? as u64;
        Ok(Look {
            second: self.0.second.get(look)?,
            epoch: columns.epoch.get(look)?,
            counter: (columns.counted.get(look)? != 0).then_some(counter),
            whole: flags & FLAG_WHOLE != 0,
            inferred: inferred.ok_or(Fault::Range { found: flags, min: 0, max: 5 })?,
            commit: columns.commit.get(look)? as u64,
        })
    }
}

fn state_of(number: u64) -> Result<State, Fault> {
    State::from_number(number).ok_or(Fault::Range { found: number, min: 0, max: State::NUMBER_MAX })
}

/// Up to 256 versions.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// How many versions it has.
    pub count: usize,
    alive: usize,
    alive_bytes: &'a [u8],
    groups: usize,
    group_look: Packed<'a>,
    group_size: Packed<'a>,
    length: Packed<'a>,
    copies: Packed<'a>,
    key_bytes: usize,
    /// The rows, packed.
    pub rows: &'a [u8],
}

impl<'a> Block<'a> {
    /// Gives the ordinals that the keyframe names, ascending; none if the block has no keyframe.
    pub fn alive(&self, each: impl FnMut(u64)) -> Result<(), Fault> {
        gaps::decode(self.alive_bytes, 0, self.alive, each).map(drop)
    }

    /// The bytes that tell these.
    pub fn alive_bytes(&self) -> u64 {
        self.alive_bytes.len() as u64
    }

    /// The bytes that tell when so many of its versions were, on average.
    pub fn bytes_of_keys(&self, versions: usize) -> u64 {
        part_of(self.key_bytes, versions, self.count)
    }

    /// The bytes that tell so many of its rows, on average.
    pub fn bytes_of_rows(&self, versions: usize) -> u64 {
        part_of(self.rows.len(), versions, self.count)
    }

    /// How many the keyframe names.
    pub fn alive_len(&self) -> usize {
        self.alive
    }

    /// Appends the looks of the piece at which versions of the block appear, and the first of these of each.
    pub fn groups(&self, looks: &mut Vec<u32>, starts: &mut Vec<u32>) -> Result<(), Fault> {
        looks.reserve_exact(self.groups);
        starts.reserve_exact(self.groups);
        let (mut last, mut start) = (0, 0u64);
        self.group_look.each(|look| {
            last = look.max(last);
            looks.push(look as u32);
        })?;
        self.group_size.each(|size| {
            starts.push(start as u32);
            start = start.saturating_add(size).saturating_add(1);
        })?;
        let (count, looks_max) = (self.count as u64, u64::from(u32::MAX));
        match () {
            () if start != count => Err(Fault::Range { found: start, min: count, max: count }),
            () if last > looks_max => Err(Fault::Range { found: last, min: 0, max: looks_max }),
            () => Ok(()),
        }
    }

    /// Looks until version `at` of the block is gone; `None` if it is not within the run.
    #[inline]
    pub fn length(&self, at: usize) -> Result<Option<u64>, Fault> {
        self.length.get(at).map(|length| (length > 0).then_some(length))
    }

    /// Copies of version `at`.
    #[inline]
    pub fn copies(&self, at: usize) -> Result<u64, Fault> {
        let less = self.copies.get(at)?;
        less.checked_add(1).ok_or(Fault::Range { found: less, min: 0, max: u64::MAX - 1 })
    }
}
