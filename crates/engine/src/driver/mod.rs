//! What drives BMCs.
