//! The one conversion between E4M3 and floats, and the choice of scales.
