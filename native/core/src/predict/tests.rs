//! The codec is lossless for every shape and content, and refuses what is cut or altered.

use super::header::{PREDICTED, RAW};
use super::tables::{CLASSES, ESCAPE, SLOTS, Slot, TABLES, class_of, family};
use super::{Malformed, Scratch, decode, encode};

/// Numbers that look random, the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn chunk(&mut self, kind: usize, voxels: usize) -> Vec<i16> {
        let mut last = 0_i16;
        let mut voxel = |_| {
            let bytes = self.next().to_le_bytes();
            let wide = i16::from_le_bytes([bytes[0], bytes[1]]);
            last = match kind {
                0 => wide,
                1 => last.wrapping_add(wide % 20),
                2 => i16::from(bytes[0] % 2) * 7 - 3,
                3 => [i16::MIN, i16::MAX][usize::from(bytes[0] % 2)],
                _ => i16::from(bytes[0] == 0) * wide,
            };
            last
        };
        (0..voxels).map(&mut voxel).collect()
    }
}

const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [1, 1, 2],
    [3, 5, 1],
    [2, 3, 7],
    [8, 64, 64],
    [4, 33, 31],
    [2, 2, 130],
    [1, 9, 64],
    [3, 20, 95],
];

#[test]
fn every_content_of_every_shape_comes_back() {
    let (mut noise, mut scratch) = (Noise(1), Scratch::default());
    // Miri takes minutes for two small shapes and one of whole groups of states.
    let shapes = if cfg!(miri) { &[[2, 3, 1], [2, 3, 7], [2, 3, 70]][..] } else { &SHAPES };
    for (&shape, kind) in shapes.iter().flat_map(|shape| (0..5).map(move |kind| (shape, kind))) {
        let voxels = noise.chunk(kind, shape.iter().product());
        let (mut encoded, mut out) = (Vec::new(), vec![1; voxels.len()]);
        encode(&voxels, shape, &mut scratch, &mut encoded);
        assert!(encoded.len() <= 2 * voxels.len() + 1, "{shape:?} {kind}");
        assert_eq!(decode(&encoded, shape, &mut out, &mut scratch), Ok(()), "{shape:?} {kind}");
        assert_eq!(voxels, out, "{shape:?} {kind}");
    }
}

#[test]
fn what_is_cut_or_altered_is_refused_or_some_other_chunk() {
    let (mut noise, mut scratch) = (Noise(2), Scratch::default());
    let (shape, step, rounds) = if cfg!(miri) { ([2, 3, 70], 97, 5) } else { ([3, 20, 95], 7, 500) };
    let voxels = noise.chunk(1, shape.iter().product());
    let (mut encoded, mut out) = (Vec::new(), vec![0; voxels.len()]);
    encode(&voxels, shape, &mut scratch, &mut encoded);
    assert_eq!(encoded[0], PREDICTED);
    for end in (0..encoded.len()).step_by(step) {
        assert!(decode(&encoded[..end], shape, &mut out, &mut scratch).is_err(), "{end}");
    }
    for _ in 0..rounds {
        let mut altered = encoded.clone();
        for _ in 0..=noise.next() % 3 {
            let at = usize::try_from(noise.next()).unwrap_or(0) % altered.len().min(400);
            altered[at] = noise.next().to_le_bytes()[0];
        }
        let _ = decode(&altered, shape, &mut out, &mut scratch);
    }
    encoded.extend([0; 2]);
    assert!(decode(&encoded, shape, &mut out, &mut scratch).is_err());
    assert_eq!(
        decode(&[RAW], [1, 1, usize::MAX], &mut [], &mut scratch),
        Err(Malformed("its shape is not that of the buffer",))
    );
}

#[test]
fn tables_are_whole_and_every_residual_has_its_class() {
    let family = family();
    for (table, symbols) in family.symbols.iter().enumerate() {
        for slot in family.slots[table * SLOTS..(table + 1) * SLOTS].iter().copied().map(Slot) {
            assert!(
                slot.rank() < slot.freq() && slot.freq() % (1 << slot.k().saturating_sub(6)) == 0,
                "{table}"
            );
            assert!(slot.least() > ESCAPE || slot.freq() == 1, "{table}");
        }
        assert!(symbols.iter().all(|symbol| symbol.freq > 0), "{table}");
    }
    assert_eq!(family.symbols.len(), TABLES);
    assert!((i16::MIN..=i16::MAX).all(|residual| class_of(residual) < CLASSES));
}
