//! Placeholder while the first slice lands.
