//! Base64, the alphabet in which a Tekken file writes the bytes of its tokens.

const PADDING: u8 = b'=';

/// The bytes that a text stands for, if it is base64 as an encoder writes it: in groups of four, padded, no
/// bit left over that is not zero.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&digit| digit == PADDING).count();
    let digits = &text[..text.len() - padding];
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            bits = bits << 6 | value(digit)?;
        }
        // A group of 4, 3 or 2 digits holds 3, 2 or 1 bytes, from the highest of 24 bits on.
        bits <<= 6 * (4 - group.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        let (kept, rest) = whole.split_at(group.len() - 1);
        if rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
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
