//! Pieces of labels: voxels of one label that share a face, an edge or a corner are of one piece.

use std::ops::Range;

/// Voxels of one label that follow each other along x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub start: usize,
    /// The one after the last.
    pub stop: usize,
    /// Above 0.
    pub label: u8,
}

impl Run {
    /// Whether it is of a piece with a run in a neighbouring row.
    fn touches(&self, other: &Self) -> bool {
        self.label == other.label && self.start <= other.stop && other.start <= self.stop
    }
}

/// The runs of a plane, row by row.
#[derive(Debug, Default)]
pub struct Plane {
    runs: Vec<Run>,
    ends: Vec<usize>,
}

impl Plane {
    /// Append a run to the row that has not ended.
    pub fn push(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Let the next run begin another row.
    pub fn end_row(&mut self) {
        self.ends.push(self.runs.len());
    }

    /// The indices of a row's runs; none where there is no such row.
    fn row(&self, row: usize) -> Range<usize> {
        let end = |row: usize| self.ends.get(row).copied().unwrap_or(self.runs.len());
        if row == 0 { 0..end(0) } else { end(row - 1)..end(row) }
    }
}

/// A piece, as far as it is known.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: usize,
    voxels: u64,
    label: u8,
}

/// The pieces of every label, from a mask's planes.
#[derive(Debug)]
pub struct Pieces {
    /// How many there are, and the voxels of the largest, by label.
    found: Vec<(u64, u64)>,
    before: Plane,
    /// Pieces of the plane before, and then those of a plane that is taken in.
    nodes: Vec<Node>,
    /// The node of each run of the plane before.
    reached: Vec<usize>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            found: vec![(0, 0); 1 + usize::from(u8::MAX)],
            before: Plane::default(),
            nodes: Vec::new(),
            reached: Vec::new(),
        }
    }
}

impl Pieces {
    /// Pieces of a label that ended before the last plane that was taken in, and voxels of the largest.
    #[must_use]
    pub fn of(&self, label: u8) -> (u64, u64) {
        self.found[usize::from(label)]
    }

    /// Take in the next plane.
    pub fn add(&mut self, plane: Plane) {
        let first = self.nodes.len();
        self.nodes.extend(plane.runs.iter().enumerate().map(|(index, run)| Node {
            parent: first + index,
            voxels: (run.stop - run.start) as u64,
            label: run.label,
        }));
        let (before, reached) = (std::mem::take(&mut self.before), std::mem::take(&mut self.reached));
        for row in 0..plane.ends.len() {
            if row > 0 {
                for (one, other) in touching(&plane, row, &plane, row - 1) {
                    self.unite(first + one, first + other);
                }
            }
            for near in row.saturating_sub(1)..(row + 2).min(before.ends.len()) {
                for (one, other) in touching(&plane, row, &before, near) {
                    self.unite(first + one, reached[other]);
                }
            }
        }
        self.close(first, plane);
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.nodes[node].parent != node {
            let above = self.nodes[self.nodes[node].parent].parent;
            self.nodes[node].parent = above;
            node = above;
        }
        node
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            let (from, to) =
                if self.nodes[one].voxels < self.nodes[other].voxels { (one, other) } else { (other, one) };
            self.nodes[from].parent = to;
            self.nodes[to].voxels += self.nodes[from].voxels;
        }
    }

    /// Keep the pieces that reach a plane whose runs are the nodes from `first` on, and count the others.
    fn close(&mut self, first: usize, plane: Plane) {
        let roots: Vec<usize> = (first..self.nodes.len()).map(|node| self.root(node)).collect();
        let mut places = vec![usize::MAX; self.nodes.len()];
        let mut kept = Vec::new();
        for root in &roots {
            if places[*root] == usize::MAX {
                places[*root] = kept.len();
                kept.push(Node { parent: kept.len(), ..self.nodes[*root] });
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if node.parent == index && places[index] == usize::MAX {
                let (count, largest) = &mut self.found[usize::from(node.label)];
                *count += 1;
                *largest = node.voxels.max(*largest);
            }
        }
        self.reached = roots.iter().map(|root| places[*root]).collect();
        (self.nodes, self.before) = (kept, plane);
    }
}

/// Pairs of indices of runs of one piece: one in a row of a plane, the other in a row of another.
fn touching<'a>(
    plane: &'a Plane,
    row: usize,
    other: &'a Plane,
    other_row: usize,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let mut rest = other.row(other_row);
    plane.row(row).flat_map(move |one| {
        let run = plane.runs[one];
        while rest.start < rest.end && other.runs[rest.start].stop < run.start {
            rest.start += 1;
        }
        rest.clone()
            .take_while(move |index| other.runs[*index].start <= run.stop)
            .filter(move |index| run.touches(&other.runs[*index]))
            .map(move |index| (one, index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = &'a [(usize, usize, u8)];

    fn pieces(planes: &[&[Row<'_>]]) -> Pieces {
        let mut found = Pieces::default();
        for rows in planes {
            let mut plane = Plane::default();
            for row in *rows {
                for (start, stop, label) in *row {
                    plane.push(Run { start: *start, stop: *stop, label: *label });
                }
                plane.end_row();
            }
            found.add(plane);
        }
        found.add(Plane::default());
        found
    }

    #[test]
    fn corners_join_and_gaps_part() {
        let found = pieces(&[&[&[(0, 2, 1)], &[(2, 4, 1)]], &[&[(5, 6, 1)], &[(9, 10, 1)]]]);
        assert_eq!(found.of(1), (3, 4));
        let found = pieces(&[&[&[(0, 2, 1)], &[]], &[&[], &[(2, 3, 1)]]]);
        assert_eq!(found.of(1), (1, 3));
    }

    #[test]
    fn a_later_plane_joins_what_was_apart() {
        let found = pieces(&[&[&[(0, 2, 1), (4, 6, 1)]], &[&[(1, 5, 1)]], &[&[(9, 12, 1)]]]);
        assert_eq!(found.of(1), (2, 8));
        assert_eq!(found.of(2), (0, 0));
    }

    #[test]
    fn neighbours_of_other_labels_are_other_pieces() {
        let found = pieces(&[&[&[(0, 2, 1), (2, 4, 2)], &[(0, 2, 2), (2, 4, 1)]]]);
        assert_eq!((found.of(1), found.of(2)), ((1, 4), (1, 4)));
    }
}
