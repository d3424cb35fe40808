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
    // SAFETY: malloc_trim(3) takes any number, may be called from any thread, and touches free blocks alone. Rust's default
    // allocator is this malloc; under another one there would be nothing to give back.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets threads share arenas of the allocator, as many as there are processors, instead of having eight times as many: what one
/// thread frees the others use, so that memory stops growing sooner under a load of all sizes. To be called before threads are.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a call into the C library")]
pub fn share_arenas() {
    // Whoever sets the variable knows better.
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // SAFETY: mallopt(3) takes any numbers, and says by its result, which nothing hangs on, whether it could.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::try_from(processors).unwrap_or(1));
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_arenas() {}
