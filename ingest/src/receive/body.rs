//! Compressed bodies.
//!
//! A small body can claim to hold gigabytes. What is inflated is written into a buffer that grows
//! with what really comes out, and stops at the limit.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use crate::Error;

/// Raw snappy turns at most 3 bytes into 64; whoever claims more is lying.
const SNAPPY_RATIO: usize = 22;

/// Undoes a `Content-Encoding`: `gzip`, `zstd`, `snappy` (raw, as Prometheus sends it) or
/// `identity`. An absent header is the same as `identity`.
///
/// # Errors
/// [`Error::TooLarge`] when more than `limit` bytes come out, [`Error::Malformed`] when the bytes
/// are not in that encoding, [`Error::Unsupported`] when the encoding is another one.
pub fn inflate(bytes: &[u8], content_encoding: &str, limit: usize) -> Result<Vec<u8>, Error> {
    match content_encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" if bytes.len() > limit => Err(Error::TooLarge { limit }),
        "" | "identity" => Ok(bytes.to_vec()),
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(bytes), "gzip", limit),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(not("zstd"))?;
            read(decoder, "zstd", limit)
        }
        "snappy" => inflate_snappy(bytes, limit),
        other => Err(Error::Unsupported(format!(
            "content encoding `{other}` is not supported, send gzip, zstd, snappy or identity"
        ))),
    }
}

/// Undoes raw snappy; its header tells the size, which is checked before anything is allocated.
///
/// # Errors
/// As [`inflate`].
pub fn inflate_snappy(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let n = snap::raw::decompress_len(bytes).map_err(not("snappy"))?;
    if n > limit {
        return Err(Error::TooLarge { limit });
    }
    if n > bytes.len().saturating_mul(SNAPPY_RATIO) {
        return Err(Error::Malformed("the body claims to hold more than snappy can".to_owned()));
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(not("snappy"))
}

/// Reads one byte beyond the limit, to know whether there is one.
fn read(decoder: impl Read, encoding: &'static str, limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = vec![];
    decoder.take(limit as u64 + 1).read_to_end(&mut out).map_err(not(encoding))?;
    if out.len() > limit { Err(Error::TooLarge { limit }) } else { Ok(out) }
}

fn not<E: std::fmt::Display>(encoding: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Malformed(format!("the body is not {encoding}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn pack(encoding: &str, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(vec![], Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "zstd" => zstd::encode_all(bytes, 3).unwrap(),
            "snappy" => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            _ => bytes.to_vec(),
        }
    }

    const ENCODINGS: [&str; 4] = ["gzip", "zstd", "snappy", "identity"];

    #[test]
    fn each_encoding_is_undone() {
        for encoding in ENCODINGS {
            let packed = pack(encoding, b"hello hello hello");
            assert_eq!(inflate(&packed, encoding, 17).unwrap(), b"hello hello hello");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        for encoding in ENCODINGS {
            let packed = pack(encoding, &vec![0; 10_000_000]);
            let refused = inflate(&packed, encoding, 1_000_000);
            assert!(matches!(refused, Err(Error::TooLarge { limit: 1_000_000 })), "{encoding}");
        }
    }

    #[test]
    fn a_truncated_body_is_malformed() {
        for encoding in ["gzip", "zstd", "snappy"] {
            let packed = pack(encoding, b"hello hello hello, said the truncated body");
            for n in 1..packed.len() {
                let refused = inflate(&packed[..n], encoding, 1000);
                assert!(matches!(refused, Err(Error::Malformed(_))), "{encoding} {n} {refused:?}");
            }
        }
    }

    #[test]
    fn a_snappy_header_that_lies_allocates_nothing() {
        let refused = inflate(&[0x80, 0x80, 0x80, 0x10, 0], "snappy", usize::MAX);
        assert!(matches!(refused, Err(Error::Malformed(_))), "{refused:?}");
    }

    #[test]
    fn an_unknown_encoding_is_unsupported() {
        assert!(matches!(inflate(b"", "br", 10), Err(Error::Unsupported(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            for encoding in ENCODINGS {
                let _outcome = inflate(&bytes, encoding, 1 << 16);
            }
        }
    }
}
