//! Pieces of a decoded chunk to their places in a target.

use crate::boxes::Piece;
use crate::chunk::{Decoded, Layout};
use crate::convert::{self, Conversion, MOST, Work};
use crate::element::Voxel;
use crate::vectorized::vectorized;
use crate::view::{Row, Target};

/// A piece of a decoded chunk, and where it goes.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// Of the chunk.
    pub decoded: Decoded<'a>,
    /// Of the array's chunks.
    pub layout: &'a Layout,
    /// What is written.
    pub piece: &'a Piece,
    /// Where to.
    pub target: &'a Target<'a>,
}

/// Write a piece of a chunk to a target.
///
/// # Safety
/// Nobody else may write to the voxels of the target that the piece covers.
pub unsafe fn write(writing: Writing<'_>, conversion: Conversion) {
    let rows = Rows(writing);
    vectorized!(write_rows(conversion: Conversion, rows: Rows<'_>) -> ());
}

#[inline(always)]
fn write_rows(conversion: Conversion, rows: Rows<'_>) {
    convert::dispatch(rows.0.layout.element, conversion, rows);
}

/// The work of `write`, which alone makes it: nobody else writes to what it writes to.
struct Rows<'a>(Writing<'a>);

impl Work for Rows<'_> {
    #[inline(always)]
    fn run<S: Voxel, T: Voxel>(self, each: impl Fn(S) -> T + Copy) {
        let Writing { decoded, layout, piece, target } = self.0;
        let [z, y, x] = piece.inside;
        let [_, rows, columns] = layout.chunk;
        let [first_z, first_y, first_x] = piece.target;
        let (along_y, along_x) = ((y.count, y.step * columns), (x.count, x.step));
        // Of a sagittal slice the rows along x have one voxel each, those along y many.
        let is_upright = x.count == 1;
        let (down, along) = if is_upright { (along_x, along_y) } else { (along_y, along_x) };
        let turned = is_upright.then(|| target.turned());
        let (target, row, column) = match &turned {
            Some(turned) => (turned, first_x, first_y),
            None => (target, first_y, first_x),
        };
        for plane in 0..z.count {
            let begin = ((z.start + plane * z.step) * rows + y.start) * columns + x.start;
            let place = [first_z + plane, row, column];
            // SAFETY: the promise of `write`'s caller.
            unsafe { write_lines(decoded, Lines { begin, down, along }, place, target, each) };
        }
    }
}

/// Voxels of a chunk's plane, in rows.
#[derive(Clone, Copy)]
struct Lines {
    /// Index of the first.
    begin: usize,
    /// Rows, and the step from one to the next.
    down: (usize, usize),
    /// Voxels of a row, and the step from one to the next.
    along: (usize, usize),
}

/// Rows between the one that is written and the one whose memory is asked for. In a target of 512 columns all rows of a
/// chunk share a few places of the cache: what is asked for much earlier is gone again.
const AHEAD: usize = 16;

/// Write rows to those of a plane from a place on.
#[inline(always)]
unsafe fn write_lines<S: Voxel, T: Voxel>(
    decoded: Decoded<'_>,
    lines: Lines,
    [z, y, x]: [usize; 3],
    target: &Target<'_>,
    each: impl Fn(S) -> T + Copy,
) {
    let (count, step) = lines.along;
    for row in 0..lines.down.0 {
        let begin = lines.begin + row * lines.down.1;
        if target.strided().is_dense() {
            prefetch(target.address([z, y + row + AHEAD, x]), count * size_of::<T>());
        }
        // SAFETY: the caller's promise.
        let mut to = unsafe { target.row::<T>([z, y + row, x], count) };
        match to.as_slice() {
            // Nothing else is written to in between: stores that miss the cache then overlap.
            Some(to) if step == 1 => decoded.copy(begin, to, each),
            _ => write_line(decoded, (begin, step), &mut to, each),
        }
    }
}

/// Asks the processor for memory that will be written soon, whether or not it is there.
#[inline(always)]
fn prefetch(first: *const u8, bytes: usize) {
    const LINE: usize = 64;
    for at in (0..first.addr() % LINE + bytes).step_by(LINE) {
        let line = first.wrapping_add(at);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: it reads nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = line;
    }
}

#[inline(always)]
fn write_line<S: Voxel, T: Voxel>(
    decoded: Decoded<'_>,
    (begin, step): (usize, usize),
    to: &mut Row<'_, T>,
    each: impl Fn(S) -> T + Copy,
) {
    let mut values = [S::default(); MOST];
    for done in (0..to.len()).step_by(MOST) {
        let values = &mut values[..MOST.min(to.len() - done)];
        decoded.read(begin + done * step, step, values);
        convert::write(values, &mut to.part(done, values.len()), each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::Positions;
    use crate::chunk::Codec;
    use crate::convert::Scaling;
    use crate::element::Element;
    use crate::view::Strided;

    const CHUNK: [usize; 3] = [2, 3, 5];

    fn layout(element: Element) -> Layout {
        Layout::new([1, 1, 1], CHUNK, element, Codec::Blosc).unwrap()
    }

    fn piece() -> Piece {
        let part = |start, step, count| Positions { start, step, count };
        Piece { inside: [part(1, 1, 1), part(0, 2, 2), part(1, 1, 3)], target: [0, 0, 1] }
    }

    /// Write the piece of a chunk to a target of 1 x 2 x 5 with this stride along x; its voxels.
    fn written<T: Voxel>(
        decoded: Decoded<'_>,
        layout: &Layout,
        conversion: Conversion,
        step: isize,
    ) -> Vec<T> {
        let size = size_of::<T>().cast_signed();
        let mut memory = vec![T::default(); 20];
        let first = if step < 0 { 19 } else { 0 };
        let strides = [40 * size, 10 * size * step.signum(), step * size];
        let origin = memory.as_mut_ptr().wrapping_add(first).cast();
        // SAFETY: two rows ten voxels apart, of five voxels one or two apart, are in `memory`.
        let target =
            unsafe { Target::new(origin, Strided { strides, shape: [1, 2, 5], element: T::ELEMENT }) }
                .unwrap();
        // SAFETY: nobody else has the memory.
        unsafe { write(Writing { decoded, layout, piece: &piece(), target: &target }, conversion) };
        let at = |row: isize, column: isize| first.cast_signed() + row * 10 * step.signum() + column * step;
        (0..2)
            .flat_map(|row| (0..5).map(move |column| at(row, column).cast_unsigned()))
            .map(|at| memory[at])
            .collect()
    }

    #[test]
    fn any_piece_is_written_as_voxel_by_voxel() {
        let voxels: Vec<i16> = (0..30).map(|number| number * 1000 - 7000).collect();
        let plain: Vec<u8> = voxels.iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
        let shuffled: Vec<u8> = (0..2).flat_map(|byte| plain.iter().skip(byte).step_by(2).copied()).collect();
        let parts = |edge: usize| {
            let any = (0..edge).flat_map(move |start| (1..4).map(move |step| (start, step)));
            any.flat_map(move |(start, step)| (1..=edge).map(move |count| Positions { start, step, count }))
                .filter(move |part| part.last().unwrap() < edge)
        };
        let pieces = parts(2).flat_map(|z| parts(3).flat_map(move |y| parts(5).map(move |x| [z, y, x])));
        // Miri takes minutes for all.
        for [z, y, x] in pieces.step_by(if cfg!(miri) { 101 } else { 1 }) {
            let shape = [z.count, y.count, x.count];
            let piece = Piece { inside: [z, y, x], target: [0; 3] };
            let mut expected = Vec::new();
            for plane in 0..z.count {
                for row in 0..y.count {
                    let begin = ((z.start + plane * z.step) * 3 + y.start + row * y.step) * 5 + x.start;
                    expected.extend((0..x.count).map(|at| voxels[begin + at * x.step]));
                }
            }
            for decoded in [Decoded::Plain(&plain), Decoded::Shuffled(&shuffled), Decoded::Int16(&voxels)] {
                let mut memory = vec![0_i16; expected.len()];
                let row = 2 * shape[2].cast_signed();
                let dense = [row * shape[1].cast_signed(), row, 2];
                let strided = Strided { strides: dense, shape, element: Element::I16 };
                // SAFETY: the target is all of `memory`.
                let target = unsafe { Target::new(memory.as_mut_ptr().cast(), strided) }.unwrap();
                let layout = layout(Element::I16);
                let writing = Writing { decoded, layout: &layout, piece: &piece, target: &target };
                // SAFETY: nobody else has the memory.
                unsafe { write(writing, Conversion::Keep) };
                assert_eq!(memory, expected, "{piece:?}");
            }
        }
    }

    #[test]
    fn a_piece_is_written_from_either_order_of_bytes_to_any_stride() {
        let voxels: Vec<i16> = (0..30).map(|number| number * 1000 - 7000).collect();
        let plain: Vec<u8> = voxels.iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
        let shuffled: Vec<u8> = (0..2).flat_map(|byte| plain.iter().skip(byte).step_by(2).copied()).collect();
        let expected = [0, voxels[16], voxels[17], voxels[18], 0, 0, voxels[26], voxels[27], voxels[28], 0];
        for step in [1, 2, -1, -2] {
            for decoded in [Decoded::Plain(&plain), Decoded::Shuffled(&shuffled)] {
                let found = written::<i16>(decoded, &layout(Element::I16), Conversion::Keep, step);
                assert_eq!(found, expected, "{step}");
                let scaling = Scaling::new(-7000.0, 2000.0, (f32::NEG_INFINITY, f32::INFINITY)).unwrap();
                let scaled = written::<f32>(decoded, &layout(Element::I16), Conversion::Scale(scaling), step);
                let halves: Vec<f32> = scaled.iter().map(|value| value * 2.0).collect();
                let numbers = [0_i16, 16, 17, 18, 0, 0, 26, 27, 28, 0].map(f32::from);
                assert_eq!(
                    halves.iter().map(|half| half.to_bits()).collect::<Vec<_>>(),
                    numbers.map(f32::to_bits)
                );
            }
        }
        let labels: Vec<u8> = (100..130).collect();
        let wide = written::<i32>(Decoded::Plain(&labels), &layout(Element::U8), Conversion::Widen, 1);
        assert_eq!(wide, [0, 116, 117, 118, 0, 0, 126, 127, 128, 0]);
        assert_eq!(written::<i16>(Decoded::Zeros, &layout(Element::I16), Conversion::Keep, 2), [0; 10]);
    }
}
