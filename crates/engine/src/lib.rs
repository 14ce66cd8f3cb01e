//! Runs the life cycle of machines.
