#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tasnif_fuzz::foreign::gguf(data));
