//! Memory that is free, given back to the kernel.

/// Gives back what has been freed within the heap, which allocators keep: reading a configuration
/// takes several times the memory that its targets need afterwards.
///
/// Does nothing where the C library is not glibc (`malloc_trim(3)`).
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    // SAFETY: it takes no pointer and moves nothing that is in use; any thread may call it.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
