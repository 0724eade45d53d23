//! A read: many chunks of one shard, by several threads, to the targets of its requests.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::boxes::{Piece, Positions, Selection};
use crate::chunk::{Decoded, Decoder, Layout};
use crate::convert::{Conversion, Scaling};
use crate::helpers::together;
use crate::runs::{Extent, Merging, runs};
use crate::stash::Stash;
use crate::view::Target;
use crate::write::{self, Writing};

/// Voxels to read and where to put them.
#[derive(Debug)]
pub struct Request<'a> {
    selection: Selection,
    target: Target<'a>,
    conversion: Conversion,
}

impl<'a> Request<'a> {
    /// A request; None where a position lies beyond the chunks, the target has another shape, or its
    /// voxels are of a type that the stored ones do not become.
    #[must_use]
    pub fn new(
        positions: [Positions; 3],
        target: Target<'a>,
        layout: &Layout,
        scaling: Option<Scaling>,
    ) -> Option<Self> {
        let conversion = Conversion::of(layout.element, target.strided().element, scaling)?;
        let selection = Selection::new(positions, layout.grid, layout.chunk)?;
        let fits = positions.map(|axis| axis.count) == target.strided().shape;
        fits.then_some(Self { selection, target, conversion })
    }
}

/// The numbers of the chunks that any of the requests touches, ascending, each once.
#[must_use]
pub fn touched(requests: &[Request<'_>]) -> Vec<usize> {
    let mut found: Vec<usize> = requests.iter().flat_map(|request| request.selection.chunks()).collect();
    if !found.is_sorted_by(|one, other| one < other) {
        found.sort_unstable();
        found.dedup();
    }
    found
}

/// Where the bytes of a shard are.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// In a file of that many bytes.
    File(&'a File, u64),
    /// In memory: parts of the shard, and where in it each begins, ascending.
    Parts(&'a [(u64, &'a [u8])]),
}

/// With fewer chunks a thread, beginning it costs more than it saves.
const LEAST_CHUNKS: usize = 8;
const MOST_THREADS: usize = 64;

/// Fill the requests' targets from these chunks, and say which of them could not be decoded, ascending.
///
/// Absent chunks are zeros. Voxels of the targets that lie in other chunks stay as they are.
#[must_use]
pub fn read(
    layout: &Layout,
    requests: &[Request<'_>],
    extents: &[Extent],
    source: Source<'_>,
    merging: Merging,
    threads: usize,
) -> Vec<usize> {
    let most = MOST_THREADS.min(1 + extents.len() / LEAST_CHUNKS);
    let threads = if are_apart(requests) { threads.clamp(1, most) } else { 1 };
    let work = Work { layout, requests, extents, source };
    let merging = Merging { longest: merging.longest.min(bytes_a_run(extents, threads)), ..merging };
    let shares = Shares::new(&runs(extents, merging), threads);
    let mut left = together(threads, |thread| work.all(&shares, thread)).concat();
    left.sort_unstable();
    left
}

/// Bytes of a run: enough runs for each thread to have several.
fn bytes_a_run(extents: &[Extent], threads: usize) -> u64 {
    let bytes: u64 = extents.iter().map(|extent| extent.stop.saturating_sub(extent.start)).sum();
    if threads == 1 { u64::MAX } else { bytes / (threads as u64 * 4) }
}

/// Whether no two requests share memory, so that several threads may fill them.
fn are_apart(requests: &[Request<'_>]) -> bool {
    let mut spans: Vec<(usize, usize)> = requests.iter().map(|request| request.target.span()).collect();
    spans.sort_unstable();
    spans.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

/// Runs in shares of neighbours, one a thread, so that threads write to parts that lie apart.
struct Shares(Vec<Mutex<Vec<Range<usize>>>>);

impl Shares {
    fn new(runs: &[Range<usize>], threads: usize) -> Self {
        let edge = |share: usize| runs.len() * share / threads;
        // Taken from the end: in reverse.
        let share = |number: usize| runs[edge(number)..edge(number + 1)].iter().rev().cloned().collect();
        Self((0..threads).map(|number| Mutex::new(share(number))).collect())
    }

    /// The next run of a thread's own share, or the last of another's that is left.
    fn take(&self, thread: usize) -> Option<Range<usize>> {
        let count = self.0.len();
        (0..count).find_map(|step| {
            let share = &self.0[(thread + step) % count];
            let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
            if step == 0 { share.pop() } else { (!share.is_empty()).then(|| share.remove(0)) }
        })
    }
}

static DECODED: AtomicU64 = AtomicU64::new(0);
static FILE_BYTES: AtomicU64 = AtomicU64::new(0);

/// Chunks that this process has decoded, and bytes that it has read from files.
#[must_use]
pub fn counts() -> (u64, u64) {
    (DECODED.load(Ordering::Relaxed), FILE_BYTES.load(Ordering::Relaxed))
}

/// Decoders and buffers that no read uses at the moment.
static IDLE: Stash<Tools> = Stash::new();
/// Bytes of a buffer that is kept.
const MOST_KEPT: usize = 1 << 22;

/// What a thread decodes with.
#[derive(Default)]
struct Tools {
    decoder: Decoder,
    stored: Vec<u8>,
}

impl Tools {
    fn give_back(self) {
        if self.stored.capacity() + self.decoder.bytes() <= MOST_KEPT {
            IDLE.give_back(self);
        }
    }
}

/// What the threads of a read share.
struct Work<'a> {
    layout: &'a Layout,
    requests: &'a [Request<'a>],
    extents: &'a [Extent],
    source: Source<'a>,
}

impl Work<'_> {
    /// Decode runs as long as there are any; the chunks that could not be.
    fn all(&self, shares: &Shares, thread: usize) -> Vec<usize> {
        let mut tools = IDLE.take();
        let mut left = Vec::new();
        while let Some(run) = shares.take(thread) {
            self.run(&self.extents[run], &mut tools, &mut left);
        }
        tools.give_back();
        left
    }

    fn run(&self, run: &[Extent], tools: &mut Tools, left: &mut Vec<usize>) {
        let Tools { decoder, stored } = tools;
        let Some((first, last)) = run.first().zip(run.last()) else { return };
        let found = match self.source {
            Source::File(file, size) => from_file(file, size, first.start..last.stop, stored),
            Source::Parts(parts) => from_parts(parts, first.start..last.stop),
        };
        for extent in run {
            let is_absent = extent.start == extent.stop;
            let bytes = found.and_then(|found| part(found, first.start, extent));
            let chunk = match bytes {
                _ if is_absent => Some(Decoded::Zeros),
                Some(bytes) => {
                    DECODED.fetch_add(1, Ordering::Relaxed);
                    decoder.decode(bytes, self.layout)
                }
                None => None,
            };
            match chunk {
                Some(chunk) => self.write(extent.number, chunk),
                None => left.push(extent.number),
            }
        }
    }

    fn write(&self, number: usize, decoded: Decoded<'_>) {
        for request in self.requests {
            if let Some(piece) = request.selection.piece(number) {
                self.write_piece(decoded, &piece, request);
            }
        }
    }

    fn write_piece(&self, decoded: Decoded<'_>, piece: &Piece, request: &Request<'_>) {
        let writing = Writing { decoded, layout: self.layout, piece, target: &request.target };
        // SAFETY: no two pieces of a request share a voxel, one thread alone has this chunk, and threads
        // are several only where no two requests share memory (`are_apart`).
        unsafe { write::write(writing, request.conversion) }
    }
}

fn part<'a>(found: &'a [u8], begin: u64, extent: &Extent) -> Option<&'a [u8]> {
    let start = usize::try_from(extent.start.checked_sub(begin)?).ok()?;
    let stop = usize::try_from(extent.stop.checked_sub(begin)?).ok()?;
    found.get(start..stop)
}

/// The bytes of a range of a file, fewer where it ends before; None where they cannot be read.
fn from_file<'a>(file: &File, size: u64, range: Range<u64>, memory: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    // Room is made for no more than there is.
    let length = usize::try_from(range.end.min(size).checked_sub(range.start)?).ok()?;
    memory.resize(length.max(memory.len()), 0);
    let bytes = &mut memory[..length];
    read_exactly(file, bytes, range.start).ok()?;
    FILE_BYTES.fetch_add(length as u64, Ordering::Relaxed);
    Some(bytes)
}

#[cfg(unix)]
fn read_exactly(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_exactly(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn from_parts<'a>(parts: &[(u64, &'a [u8])], range: Range<u64>) -> Option<&'a [u8]> {
    let after = parts.partition_point(|(begin, _)| *begin <= range.start);
    let (begin, bytes) = parts[after.checked_sub(1)?];
    let start = usize::try_from(range.start.checked_sub(begin)?).ok()?;
    bytes.get(start..usize::try_from(range.end.checked_sub(begin)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Codec;
    use crate::element::Element;
    use crate::view::Strided;

    const GRID: [usize; 3] = [4, 4, 4];
    const EDGE: usize = 3;
    const SIDE: usize = 12;

    /// A read of the whole array of 64 chunks by four threads, from these parts; what is left.
    fn read_all(memory: &mut [i16], extents: &[Extent], parts: &[(u64, &[u8])]) -> Vec<usize> {
        let layout = Layout::new(GRID, [EDGE; 3], Element::I16, Codec::Zstd).unwrap();
        let strides = [288, 24, 2];
        // SAFETY: the target is all of `memory`.
        let target = unsafe {
            Target::new(
                memory.as_mut_ptr().cast(),
                Strided { strides, shape: [SIDE; 3], element: Element::I16 },
            )
        };
        let whole = Positions { start: 0, step: 1, count: SIDE };
        let request = Request::new([whole; 3], target.unwrap(), &layout, None).unwrap();
        let merging = Merging { gap: 0, longest: 0 };
        read(&layout, &[request], extents, Source::Parts(parts), merging, 4)
    }

    #[test]
    fn absent_chunks_are_zeros_by_any_thread() {
        let mut memory = vec![1; SIDE * SIDE * SIDE];
        let extents: Vec<Extent> = (0..64).map(|number| Extent { number, start: 0, stop: 0 }).collect();
        assert!(read_all(&mut memory, &extents, &[]).is_empty());
        assert!(memory.iter().all(|voxel| *voxel == 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no zstd")]
    fn each_chunk_is_decoded_once_and_damaged_ones_are_left() {
        let chunk = |number: i16| {
            let voxels: Vec<u8> =
                [number; EDGE * EDGE * EDGE].iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
            let mut frame = vec![0; 200];
            let length = zstd_safe::compress(&mut frame[..], &voxels, 1).unwrap();
            frame.truncate(length);
            frame.extend(crc32c::crc32c(&frame).to_le_bytes());
            frame
        };
        let mut chunks: Vec<Vec<u8>> = (0..64).map(chunk).collect();
        chunks[9][3] ^= 1;
        chunks[40].pop();
        let mut extents = Vec::new();
        let mut parts = Vec::new();
        let mut start = 0;
        for (number, bytes) in chunks.iter().enumerate() {
            let stop = start + bytes.len() as u64;
            extents.push(Extent { number, start, stop });
            parts.push((start, &bytes[..]));
            start = stop;
        }
        let before = counts().0;
        let mut memory = vec![-1; SIDE * SIDE * SIDE];
        assert_eq!(read_all(&mut memory, &extents, &parts), [9, 40]);
        assert!(counts().0 - before >= 64);
        for (at, voxel) in memory.iter().enumerate() {
            let place = [at / SIDE / SIDE, at / SIDE % SIDE, at % SIDE].map(|index| index / EDGE);
            let number = (place[0] * 4 + place[1]) * 4 + place[2];
            let expected = if [9, 40].contains(&number) { -1 } else { i16::try_from(number).unwrap() };
            assert_eq!(*voxel, expected);
        }
    }

    #[test]
    fn each_run_is_taken_once() {
        for threads in 1..6 {
            let shares = Shares::new(&(0..17).map(|at| at..at + 1).collect::<Vec<_>>(), threads);
            let mut seen: Vec<usize> =
                std::iter::from_fn(|| shares.take(threads / 2)).map(|run| run.start).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..17).collect::<Vec<_>>());
        }
    }
}
