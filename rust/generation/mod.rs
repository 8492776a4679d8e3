//! Requests, sampling, stopping, text.

/// What can be wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {}
