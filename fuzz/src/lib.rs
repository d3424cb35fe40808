//! The functions that are fuzzed: those of the tests.

#[path = "../../tests/suite/foreign.rs"]
pub mod foreign;
