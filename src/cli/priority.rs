//! Which threads have the processor first.

/// Lets the calling thread have the processor only while nobody else wants it much: a nice value of
/// 10 at least, which Linux has for each thread (sched(7)).
///
/// For threads that encode, compress and look up, so that a large scrape on a busy machine holds
/// up no worker: that a scrape takes longer harms nobody, that a heartbeat leaves late does. Where
/// it is refused, nothing is lost but this.
pub(super) fn give_way() {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, nice.max(10));
}
