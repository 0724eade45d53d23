//! Size, place and pieces of each label of a mask.

use crate::element::Element;
use crate::encode::pieces::{Pieces, Plane, Run};
use crate::vectorized::vectorized;
use crate::view::Source;

/// Labels, 0 included.
const LABELS: usize = 256;
/// Voxels of a row that are compared with 0 at once.
const GROUP: usize = 32;

/// One label of a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Above 0.
    pub label: u8,
    /// How many there are.
    pub voxels: u64,
    /// Of the voxels' indices along z, y and x.
    pub sums: [u64; 3],
    /// Start and stop of its box along each.
    pub bounds: [(usize, usize); 3],
    /// Parts that share no face, no edge and no corner.
    pub pieces: u64,
    /// Voxels of the largest.
    pub largest: u64,
}

impl Measured {
    fn add(&mut self, [plane, row]: [usize; 2], run: Run) {
        let length = run.stop - run.start;
        let lengths = length as u64;
        let places = [(plane, plane + 1), (row, row + 1), (run.start, run.stop)];
        // Of voxels that follow each other, the sum of first and last times their number is even.
        let along = (run.start + run.stop - 1) as u64 * lengths / 2;
        let sums = [plane as u64 * lengths, row as u64 * lengths, along];
        for axis in 0..3 {
            let (start, stop) = self.bounds[axis];
            let (first, last) = places[axis];
            let start = if self.voxels == 0 { first } else { start.min(first) };
            self.bounds[axis] = (start, stop.max(last));
            self.sums[axis] += sums[axis];
        }
        self.voxels += lengths;
    }
}

/// Every label above 0 of a mask, ascending; None where that is not of uint8.
///
/// Memory: 40 bytes for each run of one label in two planes.
#[must_use]
pub fn measure(mask: &Source<'_>) -> Option<Vec<Measured>> {
    if mask.strided().element != Element::U8 {
        return None;
    }
    Some(vectorized!(by_plane(mask: &Source<'_>) -> Vec<Measured>))
}

#[inline(always)]
fn by_plane(mask: &Source<'_>) -> Vec<Measured> {
    let [planes, height, width] = mask.strided().shape;
    let mut measured = vec![Measured::default(); LABELS];
    let mut pieces = Pieces::default();
    let mut row_labels = vec![0; width];
    for plane in 0..if width == 0 { 0 } else { planes } {
        let mut runs = Plane::default();
        for row in 0..height {
            mask.read([plane, row, 0], &mut row_labels);
            each_run(&row_labels, |run| {
                measured[usize::from(run.label)].add([plane, row], run);
                runs.push(run);
            });
            runs.end_row();
        }
        pieces.add(runs);
    }
    pieces.add(Plane::default());
    for (label, one) in (0..=u8::MAX).zip(&mut measured) {
        one.label = label;
        (one.pieces, one.largest) = pieces.of(label);
    }
    measured.retain(|label| label.voxels > 0);
    measured
}

/// Call a function with every run of one label above 0 in a row.
#[inline(always)]
fn each_run(labels: &[u8], mut each: impl FnMut(Run)) {
    let mut start = first_filled(labels, 0);
    while let Some(label) = labels.get(start) {
        let length = labels[start..].iter().take_while(|other| *other == label).count();
        each(Run { start, stop: start + length, label: *label });
        start = first_filled(labels, start + length);
    }
}

/// The index of the first label from `at` on; the length where there is none.
#[inline(always)]
fn first_filled(labels: &[u8], mut at: usize) -> usize {
    while let Some(group) = labels.get(at..at + GROUP) {
        if group.iter().fold(0, |all, label| all | label) != 0 {
            break;
        }
        at += GROUP;
    }
    let rest = labels.get(at..).unwrap_or_default();
    at + rest.iter().position(|label| *label != 0).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Strided;

    fn view(memory: &[u8], shape: [usize; 3]) -> Source<'_> {
        let [_, height, width] = shape.map(usize::cast_signed);
        assert_eq!(shape.iter().product::<usize>(), memory.len());
        let strided = Strided { strides: [height * width, width, 1], shape, element: Element::U8 };
        // SAFETY: C order, of as many voxels as there are.
        unsafe { Source::new(memory.as_ptr(), strided) }.unwrap()
    }

    #[test]
    fn every_label_is_measured() {
        let mut memory = vec![0; 3 * 4 * 100];
        assert_eq!(measure(&view(&memory, [3, 4, 100])), Some(vec![]));
        // Two voxels of 7 at a corner of each other, one far away, and a row of 9.
        memory[(4 + 2) * 100 + 40] = 7;
        memory[(2 * 4 + 3) * 100 + 41] = 7;
        memory[99] = 7;
        memory[50..53].fill(9);
        let found = measure(&view(&memory, [3, 4, 100])).unwrap();
        let seven = Measured {
            label: 7,
            voxels: 3,
            sums: [3, 5, 180],
            bounds: [(0, 3), (0, 4), (40, 100)],
            pieces: 2,
            largest: 2,
        };
        let nine = Measured {
            label: 9,
            voxels: 3,
            sums: [0, 0, 153],
            bounds: [(0, 1), (0, 1), (50, 53)],
            pieces: 1,
            largest: 3,
        };
        assert_eq!(found, [seven, nine]);
    }
}
