//! One test binary for the crate, a module a topic.
