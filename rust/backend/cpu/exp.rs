//! e to the power of x, in operations that vector registers have: a loop over it runs on them.
//!
//! No branch and no fused operation, so every level of kernels has the same bits. The error is below 2⁻²² of the result;
//! results below the normal floats are 0, and those above 2¹²⁷·√2 infinite.

/// 1 / n! for n from 8 down to 0: the remainder of the series at ±ln(2)/2 is below 2⁻³².
const SERIES: [f32; 9] =
    [1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
/// ln 2 in two parts: the first has 15 bits, so that its product with an exponent is exact.
const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];
/// An f32 near 1.5 · 2²³ has steps of 1: adding and subtracting it rounds to a whole number.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = x - power * LN_2[0] - power * LN_2[1];
    let series = SERIES[1..].iter().fold(SERIES[0], |sum, term| sum * rest + term);
    // The lowest bits of `shifted` are the whole number.
    let two_to_the_power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let result = series * two_to_the_power;
    let result = if power < -126.0 { 0.0 } else { result };
    if power > 127.0 { f32::INFINITY } else { result }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn every_result_is_near_that_in_f64() {
        let near = |x: f32| {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < f64::from(f32::EPSILON) * 2.0, "{x}: {} not {expected}", exp(x));
        };
        (-174_000..176_000).map(|i| i as f32 / 2_000.0).for_each(near);
        (0..60).map(|i| 0.5_f32.powi(i)).for_each(|x| [x, -x].into_iter().for_each(near));
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "exact")]
    fn the_ends_are_zero_infinity_and_not_a_number() {
        for x in [-88.0, -1e3, -1e30, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0, "{x}");
        }
        for x in [88.8, 1e3, 1e30, f32::MAX, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
    }
}
