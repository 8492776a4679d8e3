//! E4M3 (the `FN` variant of the OCP 8-bit floating point specification, revision 1.0): one sign bit, four
//! exponent bits with bias 7, three mantissa bits.
//!
//! | code | value |
//! |---|---|
//! | `s 0000 mmm` | ±m · 2⁻⁹ (subnormal) |
//! | `s eeee mmm` | ±(1 + m/8) · 2^(e−7), at most 448 |
//! | `s 1111 111` | not a number; there are no infinities |

/// The largest finite value.
pub const MAX: f32 = 448.0;

/// The value of each of the 256 codes.
pub static VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = value(code as u8);
        code += 1;
    }
    values
};

const fn value(code: u8) -> f32 {
    let sign = ((code & 0x80) as u32) << 24;
    let magnitude = (code & 0x7f) as u32;
    if magnitude == 0x7f {
        return f32::NAN;
    }
    if magnitude < 8 {
        // 2⁻⁹ is f32 exponent 118: exact, and so is its product with a small integer.
        let subnormal = magnitude as f32 * f32::from_bits(118 << 23);
        return f32::from_bits(subnormal.to_bits() | sign);
    }
    // The exponent and mantissa fields are adjacent in both formats; only the bias differs, by 120.
    f32::from_bits(((magnitude << 20) + (120 << 23)) | sign)
}

/// Whether the code is one of the two that stand for "not a number".
pub const fn is_nan(code: u8) -> bool {
    code & 0x7f == 0x7f
}

/// The nearest code, ties to even; beyond ±448 it saturates. Not a number stays so.
///
/// ```
/// use nemo_fast::fp8::e4m3;
/// assert_eq!(e4m3::VALUES[e4m3::from_f32(-0.4) as usize], -0.40625);
/// assert_eq!(e4m3::VALUES[e4m3::from_f32(1e9) as usize], e4m3::MAX);
/// ```
pub fn from_f32(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    if x.is_nan() {
        return sign | 0x7f;
    }
    let nearest = round(x).abs();
    if nearest < f32::from_bits(121 << 23) {
        // Below 2⁻⁶ the grid is 2⁻⁹ wide, so the code is the count of steps: 0 to 8.
        #[allow(clippy::cast_sign_loss, reason = "it is a magnitude")]
        return sign | (nearest * 512.0) as u8;
    }
    sign | ((nearest.to_bits() - (120 << 23)) >> 20) as u8
}

/// The value of the nearest code, without naming the code: what quantizing and reading back gives.
///
/// No branch, so that a loop over a row runs on vector registers.
pub fn round(x: f32) -> f32 {
    let magnitude = x.abs().min(MAX);
    let bits = magnitude.to_bits();
    let normal = f32::from_bits((bits + 0x7_ffff + ((bits >> 20) & 1)) & !0xf_ffff);
    // An f32 near 1.5 · 2¹⁴ has steps of 2⁻⁹: adding and subtracting it rounds to the subnormal grid.
    let subnormal = (magnitude + 24576.0) - 24576.0;
    let nearest = if magnitude < 0.015_625 { subnormal } else { normal };
    nearest.copysign(x)
}
