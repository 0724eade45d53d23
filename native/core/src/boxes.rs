//! Selections of voxels as boxes inside chunks. Arithmetic alone.

/// Positions along an axis, upwards: `start`, `start + step`, and so on, `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// The first; of none, anything.
    pub start: usize,
    /// At least 1.
    pub step: usize,
    /// How many there are.
    pub count: usize,
}

impl Positions {
    /// The last position; None of none, or where it is no `usize`.
    #[must_use]
    pub fn last(&self) -> Option<usize> {
        self.count.checked_sub(1)?.checked_mul(self.step)?.checked_add(self.start)
    }

    /// Those inside each chunk of an axis that any lies in, in order.
    fn by_chunk(self, edge: usize) -> Vec<Part> {
        let Some(last) = self.last() else { return Vec::new() };
        let before = |end: usize| end.saturating_sub(self.start).div_ceil(self.step).min(self.count);
        (self.start / edge..=last / edge)
            .map(|chunk| (chunk, before(chunk * edge), before(chunk.saturating_add(1).saturating_mul(edge))))
            .filter(|(_, first, end)| first < end)
            .map(|(chunk, first, end)| Part {
                chunk,
                inside: Positions {
                    start: self.start + first * self.step - chunk * edge,
                    step: self.step,
                    count: end - first,
                },
                target: first,
            })
            .collect()
    }
}

/// The positions of a selection along an axis that lie in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    chunk: usize,
    inside: Positions,
    target: usize,
}

/// A box inside a chunk, and the place of its first voxel in a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Along z, y and x in the chunk.
    pub inside: [Positions; 3],
    /// Along z, y and x in the target.
    pub target: [usize; 3],
}

/// A selection of an array, parted by its chunks.
#[derive(Debug)]
pub struct Selection {
    axes: [Vec<Part>; 3],
    grid: [usize; 3],
}

impl Selection {
    /// The selection of these positions along z, y and x of an array of `grid` chunks; None where one
    /// lies beyond the grid.
    #[must_use]
    pub fn new(positions: [Positions; 3], grid: [usize; 3], chunk: [usize; 3]) -> Option<Self> {
        for ((positions, count), edge) in positions.iter().zip(grid).zip(chunk) {
            let end = count.checked_mul(edge)?;
            if edge == 0 || positions.step == 0 || (positions.count > 0 && positions.last()? >= end) {
                return None;
            }
        }
        let [z, y, x] = positions;
        let axes = [z.by_chunk(chunk[0]), y.by_chunk(chunk[1]), x.by_chunk(chunk[2])];
        Some(Self { axes, grid })
    }

    /// The numbers in C order of the chunks that it touches, ascending.
    pub fn chunks(&self) -> impl Iterator<Item = usize> + '_ {
        let [z, y, x] = &self.axes;
        let [_, rows, columns] = self.grid;
        z.iter().flat_map(move |z| {
            y.iter().flat_map(move |y| x.iter().map(move |x| (z.chunk * rows + y.chunk) * columns + x.chunk))
        })
    }

    /// What it takes of a chunk; None where that is nothing.
    #[must_use]
    pub fn piece(&self, number: usize) -> Option<Piece> {
        let [_, rows, columns] = self.grid;
        let place = [number / columns / rows, number / columns % rows, number % columns];
        let mut found = Piece { inside: [Positions { start: 0, step: 1, count: 0 }; 3], target: [0; 3] };
        for axis in 0..3 {
            let parts = &self.axes[axis];
            let part = parts[parts.binary_search_by_key(&place[axis], |part| part.chunk).ok()?];
            found.inside[axis] = part.inside;
            found.target[axis] = part.target;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(start: usize, step: usize, count: usize) -> Positions {
        Positions { start, step, count }
    }

    #[test]
    fn every_position_is_in_one_piece() {
        for start in 0..9 {
            for step in 1..8 {
                for count in 0..12 {
                    for edge in 1..6 {
                        let axis = positions(start, step, count);
                        let found: Vec<usize> = axis
                            .by_chunk(edge)
                            .iter()
                            .flat_map(|part| {
                                assert!(part.inside.last().unwrap() < edge);
                                (0..part.inside.count)
                                    .map(|at| part.chunk * edge + part.inside.start + at * part.inside.step)
                            })
                            .collect();
                        assert_eq!(found, (0..count).map(|at| start + at * step).collect::<Vec<_>>());
                    }
                }
            }
        }
    }

    #[test]
    fn a_selection_beyond_the_grid_is_refused() {
        let whole = positions(0, 1, 8);
        assert!(Selection::new([whole, whole, whole], [2, 2, 2], [4, 4, 4]).is_some());
        for wrong in [
            positions(1, 1, 8),
            positions(8, 1, 1),
            positions(0, 0, 1),
            positions(0, usize::MAX, 3),
            positions(usize::MAX, 1, 2),
        ] {
            assert!(Selection::new([whole, wrong, whole], [2, 2, 2], [4, 4, 4]).is_none());
        }
    }

    #[test]
    fn a_piece_says_where_it_lies_in_chunk_and_target() {
        let selection = Selection::new(
            [positions(5, 1, 1), positions(3, 2, 2), positions(0, 1, 8)],
            [2, 2, 2],
            [4, 4, 4],
        );
        let selection = selection.unwrap();
        assert_eq!(selection.chunks().collect::<Vec<_>>(), [4, 5, 6, 7]);
        let piece = selection.piece(7).unwrap();
        assert_eq!(piece.inside, [positions(1, 1, 1), positions(1, 2, 1), positions(0, 1, 4)]);
        assert_eq!(piece.target, [0, 1, 4]);
        assert!(selection.piece(0).is_none());
    }
}
