//! One binary for all integration tests: linking candle again for each file is what would cost the time.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod suite;
