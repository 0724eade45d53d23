//! Voxels in the form in which samples want them.

use crate::element::{Element, Voxel};
use crate::vectorized::vectorized;
use crate::view::{Row, Source, Target};

/// float32 from a voxel: `(value - subtract) / divide`, moved to the nearest of `low` to `high`.
///
/// Each step is rounded to float32, as numpy does it with arrays of that type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Taken from each value.
    subtract: f32,
    /// What each is divided by.
    divide: f32,
    /// The least result.
    low: f32,
    /// The largest result.
    high: f32,
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
    /// From what is subtracted, what that is divided by, and the bounds of the result; None where `low` is
    /// not at most `high`.
    #[must_use]
    pub fn new(subtract: f32, divide: f32, (low, high): (f32, f32)) -> Option<Self> {
        (low <= high).then_some(Self { subtract, divide, low, high })
    }

    /// Of one value; NaN stays NaN.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, value: f32) -> f32 {
        let mut scaled = (value - self.subtract) / self.divide;
        // Not `clamp`, which panics where the bounds are none, and is not compiled to two instructions.
        if scaled < self.low {
            scaled = self.low;
        }
        if scaled > self.high {
            scaled = self.high;
        }
        scaled
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
    are_apart(source, target).then(|| {
        let (stored, tiles) = (from.element, Tiles { source, target });
        vectorized!(dispatch(stored: Element, conversion: Conversion, tiles: Tiles<'_>) -> ());
    })
}

/// Write for each label of an array what a table has at its place; as `convert`, to uint8 or int32.
#[must_use]
pub fn look_up(source: &Source<'_>, target: &Target<'_>, table: &[u8; 256]) -> Option<()> {
    let (from, to) = (source.strided(), target.strided());
    let is_known = from.element == Element::U8 && matches!(to.element, Element::U8 | Element::I32);
    (is_known && are_apart(source, target)).then(|| {
        let tiles = Tiles { source, target };
        match to.element {
            Element::U8 => tiles.run::<u8, u8>(|label| table[usize::from(label)]),
            _ => tiles.run::<u8, i32>(|label| i32::from(table[usize::from(label)])),
        }
    })
}

/// Whether an array and a target are of one shape and share no memory.
fn are_apart(source: &Source<'_>, target: &Target<'_>) -> bool {
    let ((low, high), (first, end)) = (source.span(), target.span());
    source.strided().shape == target.strided().shape && (high <= first || end <= low)
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
        let scaling = Scaling::new(1.0, 2.0, (0.0, 1.0)).unwrap();
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
        let of = |low, high| Scaling::new(10.0, 4.0, (low, high)).unwrap();
        let bits = |scaling: Scaling| [0.0, 11.0, 99.0].map(|value| scaling.apply(value).to_bits());
        assert_eq!(bits(of(0.0, 1.0)), [0.0, 0.25, 1.0].map(f32::to_bits));
        assert_eq!(bits(of(-2.0, 0.5)), [-2.0, 0.25, 0.5].map(f32::to_bits));
        assert_eq!(bits(of(f32::NEG_INFINITY, f32::INFINITY)), [-2.5, 0.25, 22.25].map(f32::to_bits));
        assert!(of(0.0, 1.0).apply(f32::NAN).is_nan());
        assert_eq!(Scaling::new(0.0, 1.0, (1.0, 0.0)), None);
        assert_eq!(Scaling::new(0.0, 1.0, (f32::NAN, 0.0)), None);
    }

    #[test]
    fn labels_are_looked_up() {
        let labels: Vec<u8> = (0..=255).collect();
        let table: [u8; 256] = std::array::from_fn(|label| 255 - u8::try_from(label).unwrap());
        let (mut narrow, mut wide) = ([0_u8; 256], [0_i32; 256]);
        let flat = |step: isize, element| Strided {
            strides: [step * 256, step * 16, step],
            shape: [1, 16, 16],
            element,
        };
        // SAFETY: each array is all of its memory.
        let (source, bytes, words) = unsafe {
            (
                Source::new(labels.as_ptr(), flat(1, Element::U8)).unwrap(),
                Target::new(narrow.as_mut_ptr(), flat(1, Element::U8)).unwrap(),
                Target::new(wide.as_mut_ptr().cast(), flat(4, Element::I32)).unwrap(),
            )
        };
        look_up(&source, &bytes, &table).unwrap();
        look_up(&source, &words, &table).unwrap();
        assert_eq!(narrow, table);
        assert_eq!(wide, table.map(i32::from));
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
            assert!(convert(&source, &target, Scaling::new(0.0, 1.0, (0.0, 1.0))).is_some());
        }
    }
}
