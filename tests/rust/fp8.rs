//! E4M3 against its definition, and the choice of scales against trying all of them.

use nemo_fast::fp8::{e4m3, quantize_rows};
use proptest::prelude::*;

/// The definition, in f64.
fn value(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f64::NAN,
        (0, _) => mantissa * 2.0_f64.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2.0_f64.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[test]
fn every_code_has_its_value_and_comes_back() {
    for code in 0..=u8::MAX {
        let decoded = e4m3::VALUES[code as usize];
        if e4m3::is_nan(code) {
            assert!(decoded.is_nan());
            continue;
        }
        assert_eq!(f64::from(decoded), value(code), "{code:#04x}");
        assert_eq!(e4m3::from_f32(decoded), code);
        assert_eq!(e4m3::round(decoded).to_bits(), decoded.to_bits());
    }
}

#[test]
fn half_way_goes_to_the_even_code() {
    for code in (0..0x7e_u8).filter(|&code| !e4m3::is_nan(code + 1)) {
        let middle = f32::midpoint(e4m3::VALUES[code as usize], e4m3::VALUES[code as usize + 1]);
        let even = code + (code & 1);
        assert_eq!(e4m3::from_f32(middle), even, "between {code:#04x} and the next");
        assert_eq!(e4m3::from_f32(-middle), even | 0x80);
    }
}

#[test]
fn what_does_not_fit_saturates() {
    for large in [449.0, 464.0, 1e10, f32::MAX, f32::INFINITY] {
        assert_eq!((e4m3::from_f32(large), e4m3::from_f32(-large)), (0x7e, 0xfe));
    }
    assert_eq!(e4m3::from_f32(f32::NAN) & 0x7f, 0x7f);
    assert_eq!((e4m3::from_f32(1e-30), e4m3::from_f32(-1e-30)), (0x00, 0x80));
}

proptest! {
    #[test]
    fn the_nearest_code_is_chosen(x in -500.0_f32..500.0, scale in -12..1) {
        let x = x * 2.0_f32.powi(scale);
        let chosen = e4m3::VALUES[e4m3::from_f32(x) as usize];
        prop_assert_eq!(e4m3::round(x).to_bits(), chosen.to_bits());
        let distance = |code: u8| (value(code) - f64::from(x)).abs();
        let nearest = (0..=u8::MAX).filter(|&code| !e4m3::is_nan(code)).map(distance).fold(f64::INFINITY, f64::min);
        prop_assert_eq!((f64::from(chosen) - f64::from(x)).abs(), nearest);
    }

    #[test]
    fn quantized_rows_are_within_half_a_step(
        rows in 1_usize..5, columns in 1_usize..70, exponent in -30..30, seed in any::<u64>(),
    ) {
        let weight = |i: usize| ((seed.wrapping_mul(i as u64 * 2 + 1) >> 40) as f32 / 8_388_608.0 - 1.0) * 2.0_f32.powi(exponent);
        let quantized = quantize_rows(rows, columns, |row, target| {
            for (k, target) in target.iter_mut().enumerate() {
                *target = weight(row * columns + k);
            }
        });
        prop_assert_eq!((quantized.rows(), quantized.columns, quantized.codes.len()), (rows, columns, rows * columns));
        for row in 0..rows {
            let weights: Vec<f32> = (0..columns).map(|k| weight(row * columns + k)).collect();
            let amax = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            for (k, weight) in weights.iter().enumerate() {
                let found = quantized.scales[row] * e4m3::VALUES[quantized.codes[row * columns + k] as usize];
                // Half of the widest relative step, 2⁻⁴, or of the subnormal step at twice the plain scale.
                let bound = (weight.abs() / 16.0).max(amax / 448.0 * 2.0_f32.powi(-9)) * 1.001;
                prop_assert!((found - weight).abs() <= bound, "{} became {}", weight, found);
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_of_the_smallest_numbers_are_zero() {
    for tiny in [0.0, f32::MIN_POSITIVE / 2.0, f32::from_bits(1)] {
        let quantized = quantize_rows(1, 3, |_, row| row.fill(tiny));
        assert_eq!((quantized.codes, quantized.scales), (vec![0; 3], vec![1.0]));
    }
    assert_eq!(quantize_rows(0, 3, |_, _| ()).rows(), 0);
}
