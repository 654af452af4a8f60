//! For keys that are hashes already: hashing them again would only take time.

use std::hash::Hasher;

/// Takes a key of 64 or 128 bits as its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IsHash(u64);

impl Hasher for IsHash {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_i64(&mut self, key: i64) {
        self.0 = key as u64;
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
