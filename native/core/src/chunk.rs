//! One chunk: from its stored bytes to voxels in a target.

use zstd_safe::DCtx;

use crate::boxes::{Piece, Positions};
use crate::checksum::without_checksum;
use crate::convert::{self, Conversion, MOST};
use crate::predict::{self, Scratch};
use crate::view::{Element, Target, Voxel};

/// Bytes of a blosc header, of the offset of its one block, and of that block's size.
const BLOSC_HEADER: usize = 24;
/// Flags of blosc: zstd, bytes shuffled, streams not split.
const SHUFFLED_ZSTD: u8 = 0x91;

/// Codecs of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Blosc with one zstd frame of shuffled bytes.
    Blosc,
    /// One zstd frame.
    Zstd,
    /// Our own, of int16: see `predict`.
    Predict,
}

/// How the chunks of an array are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Chunks along z, y and x.
    pub grid: [usize; 3],
    /// Voxels of a chunk along z, y and x.
    pub chunk: [usize; 3],
    /// Of its voxels.
    pub element: Element,
    /// Of its chunks.
    pub codec: Codec,
}

impl Layout {
    /// The layout; None where a chunk has no voxel, its bytes no number, or the codec not such voxels.
    #[must_use]
    pub fn new(grid: [usize; 3], chunk: [usize; 3], element: Element, codec: Codec) -> Option<Self> {
        let product = |sizes: [usize; 3]| sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        product(grid)?.checked_add(1)?;
        let bytes = product(chunk)?.checked_mul(element.size())?;
        let is_able = codec != Codec::Predict || element == Element::I16;
        (bytes > 0 && is_able).then_some(Self { grid, chunk, element, codec })
    }

    /// Voxels of a chunk.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.chunk.iter().product()
    }

    fn bytes(&self) -> usize {
        self.voxels() * self.element.size()
    }
}

/// Memory in which chunks are decoded one after another.
#[derive(Default)]
pub struct Decoder {
    context: Option<DCtx<'static>>,
    bytes: Vec<u8>,
    scratch: Scratch,
    voxels: Vec<i16>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Decoder").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Bytes that are kept for the next chunk.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The working memory of `predict` is about eight times a chunk.
        self.bytes.capacity() + self.voxels.capacity() * 2 * 9
    }

    /// The voxels of a chunk; None where it fails its checksum or is not of the form that is written.
    pub fn decode(&mut self, stored: &[u8], layout: &Layout) -> Option<Decoded<'_>> {
        let data = without_checksum(stored)?;
        let (frame, is_shuffled) = match layout.codec {
            Codec::Zstd => (data, false),
            Codec::Blosc => (blosc_frame(data, layout)?, true),
            Codec::Predict => return self.predicted(data, layout),
        };
        let size = layout.bytes();
        if !matches!(zstd_safe::get_frame_content_size(frame), Ok(Some(content)) if content == size as u64) {
            return None;
        }
        self.bytes.resize(size.max(self.bytes.len()), 0);
        let bytes = &mut self.bytes[..size];
        let inflated = self.context.get_or_insert_with(DCtx::create).decompress(bytes, frame);
        let decoded = if is_shuffled { Decoded::Shuffled } else { Decoded::Plain };
        (inflated == Ok(size)).then_some(decoded(bytes))
    }

    fn predicted(&mut self, data: &[u8], layout: &Layout) -> Option<Decoded<'_>> {
        let count = layout.voxels();
        self.voxels.resize(count.max(self.voxels.len()), 0);
        let voxels = &mut self.voxels[..count];
        predict::decode(data, layout.chunk, voxels, &mut self.scratch).ok()?;
        Some(Decoded::Int16(voxels))
    }
}

/// The zstd frame of a blosc buffer of one block, as C-Blosc 1 writes it where that compresses.
fn blosc_frame<'a>(data: &'a [u8], layout: &Layout) -> Option<&'a [u8]> {
    let (header, frame) = data.split_first_chunk::<BLOSC_HEADER>()?;
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte])) as usize;
    let size = layout.bytes();
    let kind = [header[2], header[3]];
    let is_as_written = kind == [SHUFFLED_ZSTD, u8::try_from(layout.element.size()).ok()?]
        && [number(4), number(8), number(12)] == [size, size, data.len()]
        && [number(16), number(20)] == [20, frame.len()];
    (is_as_written && frame.len() < size && layout.element.size() > 1).then_some(frame)
}

/// The voxels of a decoded chunk.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// All of them 0.
    Zeros,
    /// Their bytes, voxel by voxel.
    Plain(&'a [u8]),
    /// All their lowest bytes, then all next ones, to the highest.
    Shuffled(&'a [u8]),
    /// As they are, of int16.
    Int16(&'a [i16]),
}

impl Decoded<'_> {
    /// Fill `values` with voxels from index `at` of the chunk on, each `step` after the one before.
    #[inline(always)]
    fn read<S: Voxel>(&self, at: usize, step: usize, values: &mut [S]) {
        let size = size_of::<S>();
        let indices = (at..).step_by(step);
        match self {
            Self::Zeros => values.fill(S::default()),
            Self::Int16(voxels) => {
                for (value, index) in values.iter_mut().zip(indices) {
                    let voxel = voxels[index].to_le_bytes();
                    *value = S::from_bytes(|byte| voxel[byte]);
                }
            }
            Self::Plain(bytes) => {
                for (value, index) in values.iter_mut().zip(indices) {
                    let voxel = &bytes[index * size..][..size];
                    *value = S::from_bytes(|byte| voxel[byte]);
                }
            }
            Self::Shuffled(bytes) => {
                let voxels = bytes.len() / size;
                for (value, index) in values.iter_mut().zip(indices) {
                    *value = S::from_bytes(|byte| bytes[byte * voxels + index]);
                }
            }
        }
    }
}

/// Write a piece of a chunk to a target.
///
/// # Safety
/// Nobody else may write to the voxels of the target that the piece covers.
pub unsafe fn write(
    decoded: Decoded<'_>,
    layout: &Layout,
    piece: &Piece,
    target: &Target<'_>,
    conversion: Conversion,
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the caller's promise is handed on.
        return unsafe { write_avx2(decoded, layout, piece, target, conversion) };
    }
    // SAFETY: the caller's promise.
    unsafe { write_by_stored(decoded, layout, piece, target, conversion) }
}

/// `write`, compiled for processors with AVX2.
///
/// # Safety
/// As `write`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn write_avx2(
    decoded: Decoded<'_>,
    layout: &Layout,
    piece: &Piece,
    target: &Target<'_>,
    conversion: Conversion,
) {
    // SAFETY: the caller's promise.
    unsafe { write_by_stored(decoded, layout, piece, target, conversion) }
}

#[inline(always)]
unsafe fn write_by_stored(
    decoded: Decoded<'_>,
    layout: &Layout,
    piece: &Piece,
    target: &Target<'_>,
    conversion: Conversion,
) {
    // SAFETY: the caller's promise, for each.
    unsafe {
        match layout.element {
            Element::U8 => write_by_form::<u8>(decoded, layout, piece, target, conversion),
            Element::I16 => write_by_form::<i16>(decoded, layout, piece, target, conversion),
            Element::I32 => write_by_form::<i32>(decoded, layout, piece, target, conversion),
            Element::F32 => write_by_form::<f32>(decoded, layout, piece, target, conversion),
            Element::F64 => write_by_form::<f64>(decoded, layout, piece, target, conversion),
        }
    }
}

#[inline(always)]
unsafe fn write_by_form<S: Voxel>(
    decoded: Decoded<'_>,
    layout: &Layout,
    piece: &Piece,
    target: &Target<'_>,
    conversion: Conversion,
) {
    // SAFETY: the caller's promise, for each.
    unsafe {
        match conversion {
            Conversion::Keep => write_rows::<S, S>(decoded, layout, piece, target, |value| value),
            Conversion::Float => write_rows::<S, f32>(decoded, layout, piece, target, S::to_f32),
            Conversion::Scale(scaling) => {
                let scaled = move |value: S| scaling.apply(value.to_f32());
                write_rows::<S, f32>(decoded, layout, piece, target, scaled);
            }
            Conversion::Widen => write_rows::<S, i32>(decoded, layout, piece, target, |value| {
                value.to_i32().unwrap_or_default()
            }),
        }
    }
}

#[inline(always)]
unsafe fn write_rows<S: Voxel, T: Voxel>(
    decoded: Decoded<'_>,
    layout: &Layout,
    piece: &Piece,
    target: &Target<'_>,
    each: impl Fn(S) -> T + Copy,
) {
    let [z, y, x] = piece.inside;
    let [_, rows, columns] = layout.chunk;
    let [first_z, first_y, first_x] = piece.target;
    for plane in 0..z.count {
        let begin = ((z.start + plane * z.step) * rows + y.start) * columns + x.start;
        let lines = Lines { begin, step: y.step * columns, count: y.count, along: x };
        let place = [first_z + plane, first_y, first_x];
        // SAFETY: the caller's promise; pieces of different chunks share no voxel of a target.
        unsafe {
            match decoded {
                Decoded::Shuffled(bytes) if x.step == 1 && size_of::<S>() == 2 && target.is_dense() => {
                    write_halves(bytes.split_at(bytes.len() / 2), lines, place, target, each);
                }
                _ => write_lines(decoded, lines, place, target, each),
            }
        }
    }
}

/// The rows of a chunk's plane that a piece has.
#[derive(Clone, Copy)]
struct Lines {
    /// Index of the first voxel.
    begin: usize,
    /// From a row to the next.
    step: usize,
    /// How many rows there are.
    count: usize,
    /// In each row, from the first voxel's own position on.
    along: Positions,
}

/// Write rows of two-byte voxels, whose low and high bytes are apart, to rows that are dense.
///
/// Nothing but the target is written to in between: stores that miss the cache then overlap.
#[inline(always)]
unsafe fn write_halves<S: Voxel, T: Voxel>(
    (low, high): (&[u8], &[u8]),
    lines: Lines,
    [z, y, x]: [usize; 3],
    target: &Target<'_>,
    each: impl Fn(S) -> T + Copy,
) {
    let count = lines.along.count;
    for row in 0..lines.count {
        let at = lines.begin + row * lines.step;
        let (low, high) = (&low[at..][..count], &high[at..][..count]);
        // SAFETY: the caller's promise.
        let mut to = unsafe { target.row::<T>([z, y + row, x], count) };
        for ((to, low), high) in to.as_slice().into_iter().flatten().zip(low).zip(high) {
            *to = each(S::from_bytes(|byte| if byte == 0 { *low } else { *high }));
        }
    }
}

#[inline(always)]
unsafe fn write_lines<S: Voxel, T: Voxel>(
    decoded: Decoded<'_>,
    lines: Lines,
    [z, y, x]: [usize; 3],
    target: &Target<'_>,
    each: impl Fn(S) -> T + Copy,
) {
    let Positions { step, count, .. } = lines.along;
    let mut values = [S::default(); MOST];
    for row in 0..lines.count {
        let begin = lines.begin + row * lines.step;
        // SAFETY: the caller's promise.
        let mut to = unsafe { target.row::<T>([z, y + row, x], count) };
        for done in (0..count).step_by(MOST) {
            let values = &mut values[..MOST.min(count - done)];
            decoded.read(begin + done * step, step, values);
            convert::write(values, &mut to.part(done, values.len()), each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Scaling;

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
        let target = unsafe { Target::new(origin, strides, [1, 2, 5], T::ELEMENT) }.unwrap();
        // SAFETY: nobody else has the memory.
        unsafe { write(decoded, layout, &piece(), &target, conversion) };
        let at = |row: isize, column: isize| first.cast_signed() + row * 10 * step.signum() + column * step;
        (0..2)
            .flat_map(|row| (0..5).map(move |column| at(row, column).cast_unsigned()))
            .map(|at| memory[at])
            .collect()
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
                let scaling = Scaling { subtract: -7000.0, divide: 2000.0, clip: false };
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

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn a_chunk_is_decoded_only_as_it_is_written() {
        let layout = layout(Element::I16);
        let bytes: Vec<u8> = [7; 60].to_vec();
        let mut frame = vec![0; 100];
        let length = zstd_safe::compress(&mut frame[..], &bytes, 1).unwrap();
        frame.truncate(length);
        let mut data = vec![2, 1, SHUFFLED_ZSTD, 2];
        for number in [60, 60, 24 + length, 20, length] {
            data.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        data.extend(&frame);
        let stored = |data: &[u8]| [data, &crc32c::crc32c(data).to_le_bytes()].concat();
        let mut decoder = Decoder::default();
        assert!(
            matches!(decoder.decode(&stored(&data), &layout), Some(Decoded::Shuffled(found)) if found == bytes)
        );
        let zstd = Layout { codec: Codec::Zstd, ..layout };
        assert!(
            matches!(decoder.decode(&stored(&frame), &zstd), Some(Decoded::Plain(found)) if found == bytes)
        );
        for at in 2..data.len() {
            let mut spoilt = data.clone();
            spoilt[at] ^= 1;
            // Other bytes may be legal, other sizes never are.
            let outcome = decoder.decode(&stored(&spoilt), &layout);
            assert!(at >= BLOSC_HEADER || outcome.is_none(), "byte {at}");
        }
        assert!(decoder.decode(&data, &layout).is_none());
        assert!(decoder.decode(&stored(&data[..20]), &layout).is_none());
        assert!(decoder.decode(&[], &layout).is_none());
    }
}
