//! Integers as they are on disk to int16, of an image, or to uint8, of a mask.

use crate::element::{Element, Voxel};
use crate::vectorized::vectorized;
use crate::view::{Source, Target};

/// Voxels of a row, and rows, that are converted together where voxels do not lie side by side.
const WIDTH: usize = 64;
/// Voxels of a row that lie side by side.
const DENSE: usize = 512;

/// Write to each int16 or uint8 of the target the integer of the source plus `add`, modulo 2**16 or 2**8; None
/// where the shapes differ, the voxels are of other types, or those of the target do not lie side by side
/// along x.
#[must_use]
pub fn shift(source: &Source<'_>, target: &Target<'_>, add: i16) -> Option<()> {
    if source.strided().shape != target.strided().shape {
        return None;
    }
    vectorized!(by_element(source: &Source<'_>, target: &Target<'_>, add: i16) -> Option<()>)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo is what is asked for")]
fn by_element(source: &Source<'_>, target: &Target<'_>, add: i16) -> Option<()> {
    match target.strided().element {
        Element::I16 => by_stored(source, target, |value| (value as i16).wrapping_add(add)),
        Element::U8 => by_stored(source, target, |value| (value as u8).wrapping_add(add as u8)),
        Element::I32 | Element::F32 | Element::F64 => None,
    }
}

#[inline(always)]
fn by_stored<T: Voxel>(source: &Source<'_>, target: &Target<'_>, each: impl Fn(i32) -> T) -> Option<()> {
    match source.strided().element {
        Element::U8 => tiles::<u8, T>(source, target, each),
        Element::I16 => tiles::<i16, T>(source, target, each),
        Element::I32 => tiles::<i32, T>(source, target, each),
        Element::F32 | Element::F64 => None,
    }
}

#[inline(always)]
fn tiles<S: Voxel, T: Voxel>(
    source: &Source<'_>,
    target: &Target<'_>,
    each: impl Fn(i32) -> T,
) -> Option<()> {
    let [planes, rows, columns] = source.strided().shape;
    let (tall, wide) = if source.strided().strides[2].unsigned_abs() == source.strided().element.size() {
        (1, DENSE)
    } else {
        (WIDTH, WIDTH)
    };
    let mut values = [S::default(); DENSE];
    for plane in 0..planes {
        for top in (0..rows).step_by(tall) {
            for left in (0..columns).step_by(wide) {
                let values = &mut values[..wide.min(columns - left)];
                for row in top..rows.min(top + tall) {
                    source.read([plane, row, left], values);
                    // SAFETY: this thread alone writes to the target, one row at a time.
                    let mut to = unsafe { target.row::<T>([plane, row, left], values.len()) };
                    let dense = to.as_slice()?;
                    for (to, value) in dense.iter_mut().zip(&*values) {
                        *to = each(value.to_i32().unwrap_or_default());
                    }
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Strided;

    #[test]
    fn sums_wrap_around() {
        let stored = [i32::from(i16::MAX), 70_000, -1, 5];
        let mut found = [0_i16; 4];
        let strided = |strides, element| Strided { strides, shape: [1, 1, 4], element };
        // SAFETY: each is four voxels in a row, forwards and backwards.
        let (source, target) = unsafe {
            let last = stored.as_ptr().wrapping_add(3).cast();
            (
                Source::new(last, strided([16, 16, -4], Element::I32)).unwrap(),
                Target::new(found.as_mut_ptr().cast(), strided([8, 8, 2], Element::I16)).unwrap(),
            )
        };
        shift(&source, &target, 1).unwrap();
        assert_eq!(found, [6, 0, 4465, i16::MIN]);
        let mut found = [0_u8; 4];
        // SAFETY: four voxels in a row.
        let target = unsafe { Target::new(found.as_mut_ptr(), strided([4, 4, 1], Element::U8)).unwrap() };
        shift(&source, &target, 255).unwrap();
        assert_eq!(found, [4, 254, 111, 254]);
    }
}
