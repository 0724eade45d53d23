//! Chunks that are read together, as one range of a file.

use std::ops::Range;

/// A chunk's number, and where its bytes start and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In C order.
    pub number: usize,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last; where it equals `start`, the chunk is absent.
    pub stop: u64,
}

/// Which ranges are better read as one.
#[derive(Clone, Copy, Debug)]
pub struct Merging {
    /// Ranges at most this many unwanted bytes apart.
    pub gap: u64,
    /// Bytes of the result, unless one chunk alone has more.
    pub longest: u64,
}

/// Extents, ascending by start, in runs that are each read as one range; together they are all of them.
#[must_use]
pub fn runs(extents: &[Extent], merging: Merging) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, extent) in extents.iter().enumerate() {
        match found.last_mut() {
            Some(run) if are_one(extents[run.start], extents[at - 1], *extent, merging) => run.end = at + 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

fn are_one(first: Extent, before: Extent, next: Extent, merging: Merging) -> bool {
    let gap = next.start.checked_sub(before.stop);
    gap.is_some_and(|gap| gap <= merging.gap) && next.stop.saturating_sub(first.start) <= merging.longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run_up_to_its_length() {
        let extents: Vec<Extent> = [(0, 10), (10, 20), (25, 30), (41, 50), (50, 70)]
            .iter()
            .enumerate()
            .map(|(number, (start, stop))| Extent { number, start: *start, stop: *stop })
            .collect();
        assert_eq!(runs(&extents, Merging { gap: 5, longest: 30 }), [0..3, 3..5]);
        assert_eq!(runs(&extents, Merging { gap: 0, longest: 30 }), [0..2, 2..3, 3..5]);
        assert_eq!(runs(&extents, Merging { gap: 5, longest: 20 }), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(runs(&extents, Merging { gap: 0, longest: 0 }).len(), 5);
        assert_eq!(runs(&[], Merging { gap: 0, longest: 0 }), []);
    }
}
