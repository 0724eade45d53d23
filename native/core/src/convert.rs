//! Voxels in the form in which samples want them.

use crate::element::{Element, Voxel};
use crate::vectorized::vectorized;
use crate::view::{Row, Source, Target};

/// float32 from a voxel: `(value - subtract) / divide`, and between 0 and 1 where it is clipped.
///
/// Each step is rounded to float32, as numpy does it with arrays of that type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Taken from each value.
    pub subtract: f32,
    /// What each is divided by.
    pub divide: f32,
    /// Whether values beyond 0 and 1 become these.
    pub clip: bool,
}

/// What becomes of voxels on their way to a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    /// They stay as they are.
    Keep,
    /// uint8 or int16 become int32.
    Widen,
    /// They become the nearest float32.
    Float,
    /// They become float32, and are scaled.
    Scale(Scaling),
}

impl Conversion {
    /// From stored voxels to a target's; None where there is none.
    #[must_use]
    pub fn of(stored: Element, target: Element, scaling: Option<Scaling>) -> Option<Self> {
        match (scaling, target) {
            (Some(scaling), Element::F32) => Some(Self::Scale(scaling)),
            (None, _) if stored == target => Some(Self::Keep),
            (None, Element::F32) => Some(Self::Float),
            (None, Element::I32) if matches!(stored, Element::U8 | Element::I16) => Some(Self::Widen),
            _ => None,
        }
    }
}

/// What is done to voxels of one type on their way to another.
pub trait Work {
    /// Do it, with `each` for a voxel.
    fn run<S: Voxel, T: Voxel>(self, each: impl Fn(S) -> T + Copy);
}

/// Do the work with the types and the conversion that are known only now.
#[inline(always)]
pub fn dispatch(stored: Element, conversion: Conversion, work: impl Work) {
    match stored {
        Element::U8 => by_form::<u8>(conversion, work),
        Element::I16 => by_form::<i16>(conversion, work),
        Element::I32 => by_form::<i32>(conversion, work),
        Element::F32 => by_form::<f32>(conversion, work),
        Element::F64 => by_form::<f64>(conversion, work),
    }
}

#[inline(always)]
fn by_form<S: Voxel>(conversion: Conversion, work: impl Work) {
    match conversion {
        Conversion::Keep => work.run::<S, S>(|value| value),
        Conversion::Float => work.run::<S, f32>(S::to_f32),
        Conversion::Scale(scaling) => work.run::<S, f32>(move |value| scaling.apply(value.to_f32())),
        Conversion::Widen => work.run::<S, i32>(|value| value.to_i32().unwrap_or_default()),
    }
}

/// Values that are converted together: few enough for the nearest cache.
pub const MOST: usize = 256;

/// Write values to the voxels of a row, of which there are as many.
#[inline(always)]
pub fn write<S: Voxel, T: Voxel>(values: &[S], row: &mut Row<'_, T>, each: impl Fn(S) -> T + Copy) {
    if let Some(dense) = row.as_slice() {
        for (to, from) in dense.iter_mut().zip(values) {
            *to = each(*from);
        }
        return;
    }
    let mut converted = [T::default(); MOST];
    for (at, values) in values.chunks(MOST).enumerate() {
        for (to, from) in converted.iter_mut().zip(values) {
            *to = each(*from);
        }
        row.part(at * MOST, values.len()).write(&converted[..values.len()]);
    }
}

impl Scaling {
    /// Of one value.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, value: f32) -> f32 {
        let scaled = (value - self.subtract) / self.divide;
        if self.clip { scaled.clamp(0.0, 1.0) } else { scaled }
    }
}

/// Rows and columns of a plane that are converted together, so that a transposed one stays in the cache.
const TILE: usize = 64;

/// Write the voxels of an array to a target of its shape, in its form; None where the shapes differ, the
/// two may share memory, or there is no such conversion.
#[must_use]
pub fn convert(source: &Source<'_>, target: &Target<'_>, scaling: Option<Scaling>) -> Option<()> {
    let (from, to) = (source.strided(), target.strided());
    let conversion = Conversion::of(from.element, to.element, scaling)?;
    let ((low, high), (first, end)) = (source.span(), target.span());
    let is_legal = from.shape == to.shape && (high <= first || end <= low);
    is_legal.then(|| {
        let (stored, tiles) = (from.element, Tiles { source, target });
        vectorized!(dispatch(stored: Element, conversion: Conversion, tiles: Tiles<'_>) -> ());
    })
}

/// An array and a target of its shape, tile by tile.
struct Tiles<'a> {
    source: &'a Source<'a>,
    target: &'a Target<'a>,
}

impl Work for Tiles<'_> {
    #[inline(always)]
    fn run<S: Voxel, T: Voxel>(self, each: impl Fn(S) -> T + Copy) {
        let Self { source, target } = self;
        let [planes, rows, columns] = source.strided().shape;
        let width = if source.strided().is_dense() { columns } else { TILE }.max(1);
        for plane in 0..planes {
            for top in (0..rows).step_by(TILE) {
                for left in (0..columns).step_by(width) {
                    for row in top..rows.min(top + TILE) {
                        let count = width.min(columns - left);
                        // SAFETY: this thread alone writes to the target, one row at a time.
                        let mut to = unsafe { target.row::<T>([plane, row, left], count) };
                        write_row(source, [plane, row, left], &mut to, each);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn write_row<S: Voxel, T: Voxel>(
    source: &Source<'_>,
    place: [usize; 3],
    to: &mut Row<'_, T>,
    each: impl Fn(S) -> T + Copy,
) {
    if let Some(values) = source.dense(place, to.len()) {
        write(values, to, each);
        return;
    }
    let mut values = [S::default(); TILE];
    let values = &mut values[..to.len()];
    source.read(place, values);
    write(values, to, each);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Strided;

    #[test]
    fn a_conversion_is_one_that_loses_no_integer_or_is_asked_for() {
        let scaling = Scaling { subtract: 1.0, divide: 2.0, clip: true };
        assert_eq!(Conversion::of(Element::I16, Element::I16, None), Some(Conversion::Keep));
        assert_eq!(Conversion::of(Element::U8, Element::I32, None), Some(Conversion::Widen));
        assert_eq!(Conversion::of(Element::F64, Element::F32, None), Some(Conversion::Float));
        assert_eq!(
            Conversion::of(Element::F32, Element::F32, Some(scaling)),
            Some(Conversion::Scale(scaling))
        );
        assert_eq!(Conversion::of(Element::I32, Element::I16, None), None);
        assert_eq!(Conversion::of(Element::I16, Element::F64, Some(scaling)), None);
    }

    #[test]
    fn values_are_clipped_where_that_is_asked_for() {
        let mut scaling = Scaling { subtract: 10.0, divide: 4.0, clip: true };
        let bits = |scaling: Scaling| [0.0, 11.0, 99.0].map(|value| scaling.apply(value).to_bits());
        assert_eq!(bits(scaling), [0.0, 0.25, 1.0].map(f32::to_bits));
        scaling.clip = false;
        assert_eq!(bits(scaling), [-2.5, 0.25, 22.25].map(f32::to_bits));
    }

    #[test]
    fn arrays_of_any_strides_are_converted() {
        let stored: Vec<i16> = (0..280).collect();
        // 2 x 70 x 2, and the same memory as 2 x 2 x 70.
        for (strides, shape) in
            [([280, 4, 2], [2, 70, 2]), ([280, 2, 4], [2, 2, 70]), ([-280, -4, -2], [2, 70, 2])]
        {
            let first = if strides[0] < 0 { 279 } else { 0 };
            let origin = stored.as_ptr().wrapping_add(first).cast();
            // SAFETY: the shapes and strides stay in `stored`.
            let source =
                unsafe { Source::new(origin, Strided { strides, shape, element: Element::I16 }) }.unwrap();
            let mut found = vec![0_f32; 280];
            let dense = [560, 4 * shape[2].cast_signed(), 4];
            // SAFETY: the target is all of `found`.
            let target = unsafe {
                Target::new(
                    found.as_mut_ptr().cast(),
                    Strided { strides: dense, shape, element: Element::F32 },
                )
            }
            .unwrap();
            convert(&source, &target, None).unwrap();
            let mut at = 0;
            for plane in 0..2 {
                for row in 0..shape[1] {
                    for column in 0..shape[2] {
                        let steps = [plane, row, column].into_iter().zip(strides);
                        let offset: isize =
                            steps.map(|(count, stride)| count.cast_signed() * stride / 2).sum();
                        let expected = stored[first.checked_add_signed(offset).unwrap()];
                        assert_eq!(found[at].to_bits(), f32::from(expected).to_bits());
                        at += 1;
                    }
                }
            }
            assert!(
                convert(&source, &target, Some(Scaling { subtract: 0.0, divide: 1.0, clip: true })).is_some()
            );
        }
    }
}
