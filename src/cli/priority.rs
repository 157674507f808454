//! Which threads have the processor first.

/// Lets the calling thread have the processor only while nobody else wants it much: nice(2) by 10,
/// which Linux counts by the thread (sched(7)).
///
/// For threads that encode, compress and look up, so that a large scrape on a busy machine holds
/// up no worker: that a scrape takes longer harms nobody, that a heartbeat leaves late does. Where
/// it is refused, nothing is lost but this.
pub(super) fn give_way() {
    let _ = rustix::process::setpriority_process(None, 10);
}
