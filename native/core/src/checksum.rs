//! The crc32c that ends every chunk and every index.

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 4;

/// `data` without its last four bytes, where these are the crc32c of the others.
#[must_use]
pub fn without_checksum(data: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = data.split_last_chunk::<CHECKSUM_BYTES>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*checksum)).then_some(body)
}

/// The crc32c of `data`, as it is stored.
#[must_use]
pub fn checksum(data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    crc32c::crc32c(data).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_given_only_with_its_own_checksum() {
        let mut data = b"123456789".to_vec();
        // The check value of CRC-32C (RFC 3720).
        data.extend(0xE306_9283_u32.to_le_bytes());
        assert_eq!(without_checksum(&data), Some(&b"123456789"[..]));
        for bit in 0..data.len() * 8 {
            data[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(without_checksum(&data), None);
            data[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(without_checksum(&data[..3]), None);
        assert_eq!(without_checksum(&[]), None);
    }
}
