//! Counts of the values of int16 voxels: of all of them, and of those of each label.

use crate::element::Element;
use crate::view::Source;

/// Values of int16, of which -32768 comes first.
pub const VALUES: usize = 1 << 16;
/// Labels, 0 included.
pub const LABELS: usize = 256;

/// Voxels that are looked at together.
const WIDTH: usize = 64;

fn place(value: i16) -> usize {
    usize::from(value.cast_unsigned() ^ (1 << 15))
}

/// Add to `counts` how often each value occurs: of voxels at even places to the first `VALUES` of them, of
/// the others to the next, since equal neighbours would wait for each other; None where there is no such
/// room, or the voxels are no int16.
#[must_use]
pub fn count(voxels: &Source<'_>, counts: &mut [i64]) -> Option<()> {
    let (even, odd) = counts.split_at_mut_checked(VALUES)?;
    let (even, odd): (&mut [i64; VALUES], &mut [i64; VALUES]) = (even.try_into().ok()?, odd.try_into().ok()?);
    each_part(voxels, |_, values| {
        let (groups, rest) = values.as_chunks::<8>();
        for group in groups {
            if group.iter().all(|value| *value == group[0]) {
                even[place(group[0])] += 8;
                continue;
            }
            for pair in group.as_chunks::<2>().0 {
                even[place(pair[0])] += 1;
                odd[place(pair[1])] += 1;
            }
        }
        for value in rest {
            even[place(*value)] += 1;
        }
    })
}

/// Add to `counts` how often each value occurs among the voxels of each label above 0, `VALUES` for each in
/// the order of `places`; None where there is no such room, a label has no place, the shapes differ, or the
/// voxels are of other types.
#[must_use]
pub fn count_labels(
    labels: &Source<'_>,
    voxels: &Source<'_>,
    places: &[u8; LABELS],
    counts: &mut [i64],
) -> Option<()> {
    if labels.strided().shape != voxels.strided().shape
        || [labels.strided().element, voxels.strided().element] != [Element::U8, Element::I16]
    {
        return None;
    }
    let (tables, []) = counts.as_chunks_mut::<VALUES>() else { return None };
    let [depth, rows, columns] = voxels.strided().shape;
    let (mut here, mut values) = (vec![0_u8; columns], vec![0; columns]);
    for plane in 0..depth {
        for row in 0..if columns == 0 { 0 } else { rows } {
            labels.read([plane, row, 0], &mut here);
            if here.iter().fold(0, |all, label| all | label) == 0 {
                continue;
            }
            voxels.read([plane, row, 0], &mut values);
            for (label, value) in here.iter().zip(&values).filter(|(label, _)| **label != 0) {
                tables.get_mut(usize::from(places[usize::from(*label)]))?[place(*value)] += 1;
            }
        }
    }
    Some(())
}

/// Call a function with voxels along x, and the place of the first, until it had all of them.
#[inline(always)]
fn each_part(voxels: &Source<'_>, mut each: impl FnMut([usize; 3], &[i16])) -> Option<()> {
    if voxels.strided().element != Element::I16 {
        return None;
    }
    let [planes, rows, columns] = voxels.strided().shape;
    let mut memory = [0; WIDTH];
    for plane in 0..planes {
        for row in 0..rows {
            for left in (0..columns).step_by(WIDTH) {
                let (place, width) = ([plane, row, left], WIDTH.min(columns - left));
                let values = voxels.dense(place, width).unwrap_or_else(|| {
                    voxels.read(place, &mut memory[..width]);
                    &memory[..width]
                });
                each(place, values);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Strided;

    fn line<T>(memory: &[T], element: Element) -> Source<'_> {
        let size = element.size().cast_signed();
        let strided = Strided { strides: [size; 3], shape: [1, 1, memory.len()], element };
        // SAFETY: one row of all that there is.
        unsafe { Source::new(memory.as_ptr().cast(), strided) }.unwrap()
    }

    #[test]
    fn every_voxel_is_counted_once() {
        let mut memory = vec![-1024_i16; 100];
        memory.extend([i16::MIN, i16::MAX, 0, 0, 7, 7, 7]);
        let mut counts = vec![0; 2 * VALUES];
        count(&line(&memory, Element::I16), &mut counts).unwrap();
        let of = |value: i16| counts[place(value)] + counts[VALUES + place(value)];
        assert_eq!([-1024, i16::MIN, i16::MAX, 0, 7].map(of), [100, 1, 1, 2, 3]);
        assert_eq!(counts.iter().sum::<i64>(), 107);
        assert!(count(&line(&memory, Element::I16), &mut counts[1..]).is_none());
    }

    #[test]
    fn voxels_are_counted_by_label() {
        let (labels, voxels) = ([0_u8, 3, 3, 9, 0], [1_i16, 2, 2, -5, 4]);
        let (labels, voxels) = (line(&labels, Element::U8), line(&voxels, Element::I16));
        let mut places = [u8::MAX; LABELS];
        (places[3], places[9]) = (0, 1);
        let mut counts = vec![0; 2 * VALUES];
        count_labels(&labels, &voxels, &places, &mut counts).unwrap();
        assert_eq!((counts[place(2)], counts[VALUES + place(-5)]), (2, 1));
        assert_eq!(counts.iter().sum::<i64>(), 3);
        places[9] = u8::MAX;
        assert!(count_labels(&labels, &voxels, &places, &mut counts).is_none());
    }
}
