//! The transformer, written once over any backend.
