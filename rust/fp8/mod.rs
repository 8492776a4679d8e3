//! Eight-bit floats: the one conversion between E4M3 and other floats, and the choice of a row's scale.
//!
//! Knows no tensor names and no device.

pub mod e4m3;
pub mod panels;
mod quantize;

pub use panels::{Codes, Panels};
pub use quantize::{Fp8Rows, GROUP, quantize_rows};
