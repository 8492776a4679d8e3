//! Base64, the alphabet in which a Tekken file writes the bytes of its tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The bytes that a text stands for, if it is base64 as an encoder writes it: in groups of four, padded, no
/// bit left over that is not zero.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Six bits at a time, most significant first.
    fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = bytes.iter().fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
        let digit = |six: &[u8]| {
            let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
            char::from(DIGITS[usize::from_str_radix(&six, 2).unwrap()])
        };
        let digits: String = bits.as_bytes().chunks(6).map(digit).collect();
        let padding = digits.len().next_multiple_of(4) - digits.len();
        digits + &"=".repeat(padding)
    }

    proptest! {
        #[test]
        fn decoding_is_the_inverse_of_encoding(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn every_text_that_decodes_is_what_an_encoder_writes(text in "[A-D+/=]{0,8}|[A-Za-z0-9+/]{2}==|\\PC{0,8}") {
            if let Some(bytes) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    #[test]
    fn known_texts() {
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"INA=").unwrap(), b"\x20\xd0");
        assert_eq!(decode(b"/w==").unwrap(), b"\xff");
        assert_eq!(decode(b"Zm9v").unwrap(), b"foo");
        for broken in ["A", "AB", "ABC", "/x==", "A===", "====", "AA=A", "AAA-", "AAAA\n", "Z g="] {
            assert_eq!(decode(broken.as_bytes()), None, "{broken:?}");
        }
    }
}
