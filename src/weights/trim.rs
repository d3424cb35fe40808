//! Memory of models that are gone, given back to the system.
//!
//! glibc keeps freed blocks for later ones in an arena a thread. A model is loaded by some threads and freed by others, so
//! that each swap would leave its holes in another arena: 90 MB more after a few swaps of the shipped model.

/// Gives back what is free when it is dropped: the last field of what holds a model.
#[derive(Debug, Default)]
pub struct Trim;

impl Drop for Trim {
    fn drop(&mut self) {
        trim();
    }
}

/// Gives free pages of every arena back. Other C libraries do so by themselves, or can't be asked.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a call into the C library")]
pub fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: malloc_trim(3) takes any number, may be called from any thread, and touches free blocks alone. Rust's default
    // allocator is this malloc; under another one there would be nothing to give back.
    unsafe {
        malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() {}
