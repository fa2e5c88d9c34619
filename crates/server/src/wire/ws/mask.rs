//! Unmasking: every byte a client sends is combined with a four-byte key.

/// A masking key together with how far into the payload it has come, so that a payload may arrive in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mask {
    key: [u8; 4],
}

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Unmasks the next piece of the payload in place.
    pub(super) fn apply(&mut self, piece: &mut [u8]) {
        let word = u32::from_ne_bytes(self.key);
        let wide = u64::from(word) << 32 | u64::from(word);
        let mut chunks = piece.chunks_exact_mut(8);
        for chunk in &mut chunks {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
        for (byte, key) in chunks.into_remainder().iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        // The next piece begins where this one ended.
        self.key.rotate_left(piece.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_in_pieces_unmasks_like_the_whole() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..100u8).collect();
        let masked: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
        for cut in 0..=plain.len() {
            let mut bytes = masked.clone();
            let mut mask = Mask::new(key);
            let (head, tail) = bytes.split_at_mut(cut);
            mask.apply(head);
            mask.apply(tail);
            assert_eq!(bytes, plain, "cut at {cut}");
        }
    }
}
