//! Numbers: how far one reaches in a text, Python's integers, and `repr` of a float.

use std::fmt::Write;

use super::{Json, JsonError};

/// Python converts no longer integers, because it takes it more than linear time.
pub(super) const MAX_INT_DIGITS: usize = 4_300;

/// Two decimals of no more digits are two floats, so that no float lies halfway between two shortest texts.
const MAX_CERTAIN_DIGITS: usize = 15;

/// The number at the start of a text and its length; `None` if there is none.
///
/// Python's grammar is `-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?`: of `01`, `1.` and `1e+` it reads one character.
pub(super) fn parse_number(text: &str) -> Result<Option<(Json, usize)>, JsonError> {
    let bytes = text.as_bytes();
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let int_digits = match bytes.get(sign) {
        Some(b'0') => 1,
        _ => digits(&bytes[sign..]),
    };
    if int_digits == 0 {
        return Ok(None);
    }
    let int_end = sign + int_digits;
    let mut end = int_end;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(&bytes[end + 1..]);
        end += if fraction == 0 { 0 } else { 1 + fraction };
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(&bytes[end + 1 + signed..]);
        end += if exponent == 0 { 0 } else { 1 + signed + exponent };
    }
    let number = if end > int_end {
        // A text of this grammar is one that Rust reads, too; beyond the largest float there is infinity.
        Json::Float(text[..end].parse().unwrap_or(f64::NAN))
    } else if int_digits > MAX_INT_DIGITS {
        return Err(JsonError::HugeInteger);
    } else {
        let int = &text[..end];
        Json::Int(if int == "-0" { "0" } else { int }.to_owned())
    };
    Ok(Some((number, end)))
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Appends a float as Python's `repr` has it, and infinity as `json.dumps`.
pub(super) fn write_float(value: f64, out: &mut String) {
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    let start = out.len();
    // Rust has the same shortest digits, with an exponent below 1e-4 and from 1e16 as Python. Strings do not fail.
    let _ = write!(out, "{value:?}");
    if out.len() - start > MAX_CERTAIN_DIGITS
        && let Some(even) = rounded_to_even(value, &out[start..])
    {
        out.replace_range(start.., &even);
    }
    // Python's exponents have a sign and at least two digits.
    if let Some(exponent) = out[start..].find('e').map(|found| start + found + 1) {
        let sign = usize::from(out[exponent..].starts_with('-'));
        if out.len() - exponent - sign < 2 {
            out.insert(exponent + sign, '0');
        }
        if sign == 0 {
            out.insert(exponent, '+');
        }
    }
}

/// The value with as many decimals as in its shortest form, if that is the same float.
///
/// It is another text where the value lies halfway between two shortest ones: Rust then prints the larger one, Python
/// the even one. At a power of two, where floats below are closer, the even one may be another float.
fn rounded_to_even(value: f64, shortest: &str) -> Option<String> {
    let exponent = shortest.find('e');
    let mantissa = &shortest[..exponent.unwrap_or(shortest.len())];
    let decimals = mantissa.find('.').map_or(0, |point| mantissa.len() - point - 1);
    let even = match exponent {
        Some(_) => format!("{value:.decimals$e}"),
        None => format!("{value:.decimals$}"),
    };
    (even.parse() == Ok(value)).then_some(even)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repr(value: f64) -> String {
        let mut out = "x".to_owned();
        write_float(value, &mut out);
        out.split_off(1)
    }

    #[test]
    fn floats_as_python_prints_them() {
        // The results of `repr` and, for infinity, of `json.dumps`.
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1e5, "100000.0"),
            (22.5, "22.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-4, "0.0001"),
            (0.000_099_999_999_999_999_99, "9.999999999999999e-05"),
            (1e-5, "1e-05"),
            (1e-10, "1e-10"),
            (123_456_789_012_345.67, "123456789012345.67"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (-1.5e16, "-1.5e+16"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            // Halfway between two texts of as many digits.
            (1_475_739_525_896_765.0 / 8.0, "184467440737095.62"),
            (7_378_697_629_483_821.0 / 4.0, "1844674407370955.2"),
            (2_f64.powi(-44), "5.684341886080802e-14"),
            (5e-324, "5e-324"),
            (2.225_073_858_507_201_4e-308, "2.2250738585072014e-308"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            assert_eq!(repr(value), expected);
        }
    }

    #[test]
    fn a_number_ends_where_python_ends_it() {
        let length = |text: &str| parse_number(text).unwrap().map_or(0, |(_, length)| length);
        let cases = [
            ("", 0),
            ("-", 0),
            ("-x", 0),
            (".5", 0),
            ("+1", 0),
            ("٣", 0),
            ("e5", 0),
            ("Infinity", 0),
            ("0", 1),
            ("-0", 2),
            ("007", 1),
            ("-01", 2),
            ("12", 2),
            ("1.", 1),
            ("1.e5", 1),
            ("1e", 1),
            ("1e+", 1),
            ("1E-x", 1),
            ("1.5e", 3),
            ("1.5", 3),
            ("0.0", 3),
            ("1e5", 3),
            ("1E+05,", 5),
            ("-1.25e-007]", 10),
            ("1_000", 1),
            ("1٣", 1),
            ("0x10", 1),
            ("1.5.5", 3),
            ("1e5e5", 3),
        ];
        for (text, expected) in cases {
            assert_eq!(length(text), expected, "{text:?}");
        }
    }

    #[test]
    fn integers_keep_their_digits() {
        let int = |text: &str| parse_number(text).unwrap().unwrap().0;
        for text in ["0", "-1", "9007199254740993", "-18446744073709551616"] {
            assert_eq!(int(text), Json::Int(text.to_owned()));
        }
        assert_eq!(int("-0"), Json::Int("0".to_owned()));
        let longest = format!("-{}", "9".repeat(MAX_INT_DIGITS));
        assert_eq!(int(&longest), Json::Int(longest.clone()));
        assert_eq!(parse_number(&format!("{longest}0]")), Err(JsonError::HugeInteger));
        // A float may have any number of digits.
        assert_eq!(int(&format!("{}.0", "9".repeat(5_000))), Json::Float(f64::INFINITY));
    }

    proptest! {
        #[test]
        fn a_written_float_is_read_as_the_same_float(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = repr(value);
            let Some((Json::Float(read), length)) = parse_number(&text).unwrap() else { panic!("{text}") };
            prop_assert_eq!((read.to_bits(), length), (bits, text.len()));
        }
    }
}
