//! The operations that a device offers.

/// A device or its memory.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No such device on this machine.
    #[error("device {0:?} is not available")]
    Unavailable(String),
}
