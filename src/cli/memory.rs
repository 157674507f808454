//! Returns free memory to the kernel.

/// Returns freed heap memory to the kernel with `malloc_trim(3)`. Reading a configuration takes
/// several times the memory that its targets need afterwards.
///
/// Does nothing with C libraries other than glibc.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    // SAFETY: it takes no pointer, moves no memory in use, and may be called on any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
