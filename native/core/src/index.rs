//! The index of a shard: where each of its chunks lies.

use crate::checksum::without_checksum;

const ENTRY_BYTES: usize = 16;

/// Where each chunk of a shard lies: one bound more than there are chunks, chunk i being the bytes from
/// bound i to bound i + 1, and absent where both are equal.
///
/// None where the checksum fails, the index is not of `chunks` chunks, or they do not lie in C order
/// without gap from the first byte to `body_size`, where the index begins.
#[must_use]
pub fn decode_index(data: &[u8], chunks: usize, body_size: u64) -> Option<Vec<i64>> {
    i64::try_from(body_size).ok()?;
    let (entries, []) = without_checksum(data)?.as_chunks::<ENTRY_BYTES>() else {
        return None;
    };
    if entries.len() != chunks {
        return None;
    }
    let mut bounds = Vec::with_capacity(chunks + 1);
    let mut end = 0_u64;
    bounds.push(0);
    for entry in entries {
        end += stored_size(*entry, end, body_size)?;
        bounds.push(i64::try_from(end).ok()?);
    }
    (end == body_size).then_some(bounds)
}

/// Bytes of a chunk that begins at `begin`; 0 where it is absent.
fn stored_size(entry: [u8; ENTRY_BYTES], begin: u64, body_size: u64) -> Option<u64> {
    let entry = u128::from_le_bytes(entry);
    if entry == u128::MAX {
        return Some(0);
    }
    let (offset, size) = (entry & u128::from(u64::MAX), entry >> 64);
    let fits = offset == u128::from(begin) && size > 0 && u128::from(begin) + size <= u128::from(body_size);
    if fits { u64::try_from(size).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(entries: &[(u64, u64)]) -> Vec<u8> {
        let mut data: Vec<u8> = entries
            .iter()
            .flat_map(|(offset, size)| [offset.to_le_bytes(), size.to_le_bytes()].concat())
            .collect();
        data.extend(crc32c::crc32c(&data).to_le_bytes());
        data
    }

    #[test]
    fn chunks_lie_one_after_another_or_are_absent() {
        let absent = (u64::MAX, u64::MAX);
        assert_eq!(decode_index(&encoded(&[(0, 5), absent, (5, 7)]), 3, 12), Some(vec![0, 5, 5, 12]));
        assert_eq!(decode_index(&encoded(&[absent, absent]), 2, 0), Some(vec![0, 0, 0]));
    }

    #[test]
    fn any_other_layout_is_refused() {
        for (entries, body) in [
            (vec![(0, 5), (6, 6)], 12),
            (vec![(0, 5), (5, 8)], 12),
            (vec![(0, 5), (5, 6)], 12),
            (vec![(0, 0), (0, 12)], 12),
            (vec![(0, 12), (u64::MAX, 1)], 12),
            (vec![(0, 12), (12, u64::MAX)], 12),
            (vec![(0, 12)], 12),
        ] {
            assert_eq!(decode_index(&encoded(&entries), 2, body), None, "{entries:?}");
        }
        let mut data = encoded(&[(0, 12)]);
        data[3] ^= 1;
        assert_eq!(decode_index(&data, 1, 12), None);
        assert_eq!(decode_index(&[], 0, 0), None);
    }
}
