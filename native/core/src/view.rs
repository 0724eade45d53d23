//! Strided views of memory that somebody else owns, as of a numpy array.

use std::marker::PhantomData;

use crate::element::{Element, Voxel};

/// How the voxels of a (z, y, x) array lie in memory, whoever owns it.
#[derive(Clone, Copy, Debug)]
pub struct Strided {
    /// Bytes from a voxel to the next along each axis.
    pub strides: [isize; 3],
    /// Voxels along each axis.
    pub shape: [usize; 3],
    /// Of the voxels.
    pub element: Element,
}

impl Strided {
    /// Whether voxels along x lie side by side.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        self.strides[2] == self.element.size().cast_signed()
    }

    /// Lowest address, and the one after the highest, with the first voxel at `origin`; equal where there
    /// is no voxel.
    #[must_use]
    pub fn span(&self, origin: usize) -> (usize, usize) {
        if self.shape.contains(&0) {
            return (0, 0);
        }
        let (mut low, mut high) = (origin, origin + self.element.size());
        for (stride, count) in self.strides.into_iter().zip(self.shape) {
            let reach = stride.unsigned_abs() * (count - 1);
            if stride < 0 { low -= reach } else { high += reach }
        }
        (low, high)
    }

    /// Whether every voxel is aligned, with the first at `origin`.
    fn is_aligned(&self, origin: usize) -> bool {
        let size = self.element.size();
        let is_even = |stride: &isize| stride.unsigned_abs().is_multiple_of(size);
        origin.is_multiple_of(size) && self.strides.iter().all(is_even)
    }

    /// Whether no two voxels share memory: along each axis, from the shortest stride to the longest, a
    /// step leads beyond all that the axes before it reach.
    fn is_apart(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut axes: Vec<(usize, usize)> = (0..3)
            .filter(|axis| self.shape[*axis] > 1)
            .map(|axis| (self.strides[axis].unsigned_abs(), self.shape[axis]))
            .collect();
        axes.sort_unstable();
        let mut reach = Some(self.element.size());
        for (stride, count) in axes {
            reach = reach
                .filter(|reach| stride >= *reach)
                .and_then(|reach| stride.checked_mul(count - 1)?.checked_add(reach));
        }
        reach.is_some()
    }

    /// Bytes from the first voxel to that of a place, from which on `count` along x are in the array.
    ///
    /// # Panics
    /// Where they are not, or are of another type.
    #[inline(always)]
    fn offset<T: Voxel>(&self, [z, y, x]: [usize; 3], count: usize) -> isize {
        let [planes, rows, columns] = self.shape;
        let is_inside = z < planes && y < rows && x < columns && count <= columns - x;
        assert!(
            is_inside && T::ELEMENT == self.element,
            "a row beyond its target or source, or of another type"
        );
        let steps = [z, y, x].into_iter().zip(self.strides);
        steps.map(|(count, stride)| count.cast_signed() * stride).sum()
    }
}

/// A (z, y, x) array that may be written to, of any strides.
#[derive(Debug)]
pub struct Target<'a> {
    origin: *mut u8,
    strided: Strided,
    owner: PhantomData<&'a mut u8>,
}

// SAFETY: the type stands for exclusive access to the memory it describes, as `&mut [T]` does, and the
// voxels in it are plain numbers; see `new`.
unsafe impl Send for Target<'_> {}
// SAFETY: as above; writing through a shared reference is unsafe, and `row` says who may.
unsafe impl Sync for Target<'_> {}

impl Target<'_> {
    /// A view of memory; None where its voxels are not aligned, or two of them may share memory.
    ///
    /// # Safety
    /// For the lifetime, each voxel that `strided` has from `origin` on must be writable memory that nobody
    /// else reads or writes.
    #[must_use]
    pub unsafe fn new(origin: *mut u8, strided: Strided) -> Option<Self> {
        let is_legal = strided.is_aligned(origin.addr()) && strided.is_apart();
        is_legal.then_some(Self { origin, strided, owner: PhantomData })
    }

    /// How its voxels lie.
    #[must_use]
    pub fn strided(&self) -> &Strided {
        &self.strided
    }

    /// See `Strided::span`.
    #[must_use]
    pub fn span(&self) -> (usize, usize) {
        self.strided.span(self.origin.addr())
    }

    /// Where the voxel of a place lies, or would lie, were the place in the view.
    #[inline(always)]
    #[must_use]
    pub fn address(&self, place: [usize; 3]) -> *const u8 {
        let steps = place.into_iter().zip(self.strided.strides);
        steps.fold(self.origin, |at, (count, stride)| {
            at.wrapping_offset(count.cast_signed().wrapping_mul(stride))
        })
    }

    /// The same voxels, with y and x exchanged.
    #[must_use]
    pub fn turned(&self) -> Target<'_> {
        let Strided { strides: [z, y, x], shape: [planes, rows, columns], element } = self.strided;
        let strided = Strided { strides: [z, x, y], shape: [planes, columns, rows], element };
        Target { origin: self.origin, strided, owner: PhantomData }
    }

    /// `count` voxels along x from a place on.
    ///
    /// # Safety
    /// Nobody else may write to these voxels while the row is used.
    ///
    /// # Panics
    /// Where they are not all in the view, or of another type.
    #[inline(always)]
    #[must_use]
    pub unsafe fn row<T: Voxel>(&self, place: [usize; 3], count: usize) -> Row<'_, T> {
        let offset = self.strided.offset::<T>(place, count);
        // SAFETY: the place is in the view, all of which is memory of one owner (`new`).
        let first = unsafe { self.origin.offset(offset) }.cast::<T>();
        Row { first, stride: self.strided.strides[2], count, owner: PhantomData }
    }
}

/// A (z, y, x) array that is read, of any strides.
#[derive(Debug)]
pub struct Source<'a> {
    origin: *const u8,
    strided: Strided,
    owner: PhantomData<&'a u8>,
}

// SAFETY: the type stands for shared access to memory that nobody writes to, as `&[T]` does; see `new`.
unsafe impl Send for Source<'_> {}
// SAFETY: as above.
unsafe impl Sync for Source<'_> {}

impl Source<'_> {
    /// A view of memory; None where its voxels are not aligned.
    ///
    /// # Safety
    /// For the lifetime, each voxel that `strided` has from `origin` on must be initialized memory that nobody
    /// writes to.
    #[must_use]
    pub unsafe fn new(origin: *const u8, strided: Strided) -> Option<Self> {
        strided.is_aligned(origin.addr()).then_some(Self { origin, strided, owner: PhantomData })
    }

    /// How its voxels lie.
    #[must_use]
    pub fn strided(&self) -> &Strided {
        &self.strided
    }

    /// See `Strided::span`.
    #[must_use]
    pub fn span(&self) -> (usize, usize) {
        self.strided.span(self.origin.addr())
    }

    /// `count` voxels along x from a place on, where they lie side by side.
    ///
    /// # Panics
    /// Where they are not all in the view, or of another type.
    #[inline(always)]
    #[must_use]
    pub fn dense<T: Voxel>(&self, place: [usize; 3], count: usize) -> Option<&[T]> {
        let first = self.first::<T>(place, count);
        // SAFETY: all are in the view, initialized and aligned (`first`, `new`), and lie side by side.
        self.strided.is_dense().then(|| unsafe { std::slice::from_raw_parts(first, count) })
    }

    /// Fill `values` with voxels along x from a place on.
    ///
    /// # Panics
    /// Where they are not all in the view, or of another type.
    #[inline(always)]
    pub fn read<T: Voxel>(&self, place: [usize; 3], values: &mut [T]) {
        let (first, step) = (self.first::<T>(place, values.len()), self.strided.strides[2]);
        if let Some(dense) = self.dense(place, values.len()) {
            values.copy_from_slice(dense);
            return;
        }
        if step == -size_of::<T>().cast_signed() && !values.is_empty() {
            // SAFETY: the last voxel is in the view, `values.len() - 1` voxels below the first.
            let last = unsafe { first.sub(values.len() - 1) };
            // SAFETY: from there all lie side by side, in the view, initialized and aligned.
            let upwards = unsafe { std::slice::from_raw_parts(last, values.len()) };
            reverse(upwards, values);
            return;
        }
        for (at, value) in values.iter_mut().enumerate() {
            // SAFETY: the voxel is in the view, initialized and aligned (`first`, `new`).
            *value = unsafe { first.byte_offset(at.cast_signed() * step).read() };
        }
    }

    /// Where the voxel of a place lies, from which on `count` along x are in the view.
    #[inline(always)]
    fn first<T: Voxel>(&self, place: [usize; 3], count: usize) -> *const T {
        let offset = self.strided.offset::<T>(place, count);
        // SAFETY: the voxel is in the view, all of which is memory of one owner (`new`).
        unsafe { self.origin.byte_offset(offset) }.cast()
    }
}

/// Fill `to` with `from`, of the same length, in reverse.
#[inline(always)]
fn reverse<T: Copy>(from: &[T], to: &mut [T]) {
    // Groups of a fixed size are one instruction or two.
    const GROUP: usize = 16;
    let (rest, groups) = from.as_rchunks::<GROUP>();
    let (to_groups, to_rest) = to.as_chunks_mut::<GROUP>();
    for (group, from) in to_groups.iter_mut().zip(groups.iter().rev()) {
        *group = std::array::from_fn(|at| from[GROUP - 1 - at]);
    }
    for (value, from) in to_rest.iter_mut().zip(rest.iter().rev()) {
        *value = *from;
    }
}

/// Voxels along x of a target.
#[derive(Debug)]
pub struct Row<'a, T> {
    first: *mut T,
    stride: isize,
    count: usize,
    owner: PhantomData<&'a mut T>,
}

impl<T: Voxel> Row<'_, T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The voxels, where they lie side by side.
    #[inline(always)]
    pub fn as_slice(&mut self) -> Option<&mut [T]> {
        let is_dense = self.count <= 1 || self.stride == size_of::<T>().cast_signed();
        // SAFETY: `Target::row` saw that all are in the view, aligned, and this row is alone with them.
        is_dense.then(|| unsafe { std::slice::from_raw_parts_mut(self.first, self.count) })
    }

    /// Write values to the voxels from the first on.
    ///
    /// # Panics
    /// Where there are more values than voxels.
    #[inline(always)]
    pub fn write(&mut self, values: &[T]) {
        assert!(values.len() <= self.count, "more values than voxels");
        for (at, value) in values.iter().enumerate() {
            // SAFETY: `Target::row` saw that voxel `at` is in the view, and aligned.
            unsafe { self.first.byte_offset(at.cast_signed() * self.stride).write(*value) };
        }
    }

    /// `count` of the voxels from `at` on.
    ///
    /// # Panics
    /// Where there are not so many.
    #[inline(always)]
    #[must_use]
    pub fn part(&mut self, at: usize, count: usize) -> Row<'_, T> {
        assert!(at <= self.count && count <= self.count - at, "a row has no such voxels");
        // Of no voxel, one step beyond the last, which is never read: wrapping allows that.
        let first = self.first.wrapping_byte_offset(at.cast_signed() * self.stride);
        Row { first, count, stride: self.stride, owner: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(
        memory: &mut [i16],
        first: usize,
        strides: [isize; 3],
        shape: [usize; 3],
    ) -> Option<Target<'_>> {
        let strides = strides.map(|stride| stride * 2);
        // SAFETY: the tests' shapes and strides stay in `memory`, which is borrowed for as long.
        unsafe {
            Target::new(
                memory.as_mut_ptr().wrapping_add(first).cast(),
                Strided { strides, shape, element: Element::I16 },
            )
        }
    }

    #[test]
    fn views_whose_voxels_share_memory_are_refused() {
        let mut memory = [0_i16; 64];
        for (strides, shape, legal) in [
            ([16, 4, 1], [4, 4, 4], true),
            ([1, 4, 16], [4, 4, 4], true),
            ([16, 4, 1], [1, 9, 4], true),
            ([0, 4, 1], [1, 4, 4], true),
            ([0, 0, 0], [2, 0, 3], true),
            ([0, 4, 1], [2, 4, 4], false),
            ([16, 3, 1], [4, 4, 4], false),
            ([8, 8, 1], [2, 2, 4], false),
        ] {
            assert_eq!(target(&mut memory, 0, strides, shape).is_some(), legal, "{strides:?} {shape:?}");
        }
        // SAFETY: nothing is read or written.
        let odd = unsafe {
            Target::new(
                std::ptr::without_provenance_mut(1),
                Strided { strides: [2; 3], shape: [1; 3], element: Element::I16 },
            )
        };
        assert!(odd.is_none());
    }

    #[test]
    fn rows_of_any_stride_are_written_where_they_lie() {
        let mut memory = [0_i16; 24];
        {
            let view = target(&mut memory, 23, [-12, -4, -1], [2, 3, 4]).unwrap();
            // SAFETY: no other row is in use.
            unsafe { view.row::<i16>([0, 0, 0], 4) }.write(&[1, 2, 3, 4]);
            // SAFETY: as above.
            unsafe { view.row::<i16>([1, 2, 1], 3) }.part(1, 2).write(&[5, 6]);
        }
        assert_eq!(memory[20..], [4, 3, 2, 1]);
        assert_eq!(memory[..4], [6, 5, 0, 0]);
        let start = memory.as_ptr().addr();
        let view = target(&mut memory, 23, [-12, -4, -1], [2, 3, 4]).unwrap();
        assert_eq!(view.span(), (start, start + 48));
    }

    #[test]
    fn rows_that_run_downwards_are_read_in_reverse() {
        let memory: Vec<i16> = (0..40).collect();
        let strided = Strided { strides: [-80, -80, -2], shape: [1, 1, 40], element: Element::I16 };
        // SAFETY: from the last voxel down to the first.
        let view = unsafe { Source::new(memory.as_ptr().wrapping_add(39).cast(), strided) }.unwrap();
        let mut values = [0_i16; 37];
        view.read([0, 0, 2], &mut values);
        assert!(values.iter().copied().eq((1..38).rev()), "{values:?}");
    }

    #[test]
    #[should_panic(expected = "a row beyond its target")]
    fn a_row_beyond_the_view_is_refused() {
        let mut memory = [0_i16; 24];
        let view = target(&mut memory, 0, [12, 4, 1], [2, 3, 4]).unwrap();
        // SAFETY: it panics.
        let _ = unsafe { view.row::<i16>([0, 2, 1], 4) };
    }
}
