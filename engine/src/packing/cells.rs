//! The columns of a row's canonical bytes, where they lie.

/// A column of a row.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) name: &'a [u8],
    pub(super) text: &'a [u8],
}

/// The columns of a row's canonical bytes, by name.
pub(super) struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    pub(super) fn new(row: &'a [u8]) -> Cells<'a> {
        Cells { rest: row }
    }

    #[inline]
    fn text(&mut self) -> Option<&'a [u8]> {
        let (&first, mut rest) = self.rest.split_first()?;
        let mut len = usize::from(first & 0x7f);
        let (mut byte, mut shift) = (first, 7);
        while byte >= 0x80 {
            if shift > 28 {
                return None;
            }
            (byte, rest) = rest.split_first().map(|(byte, rest)| (*byte, rest))?;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let (text, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(text)
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        Some(Cell { name: self.text()?, text: self.text()? })
    }
}
