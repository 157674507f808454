//! Scheduling priorities of threads.

/// Lowers the priority of the calling thread to a nice value of at least 10. On Linux, nice values
/// are per thread (sched(7)).
///
/// For threads that encode, compress and resolve names, so that a large scrape on a busy machine
/// does not delay heartbeats. A failure is ignored, as the thread then runs at normal priority.
pub(super) fn give_way() {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, nice.max(10));
}
