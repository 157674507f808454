//! The phases of a connection and the time limits of each, by which slow clients are dropped.

use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::Limits;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No octet has come since the last answer.
    Idle,
    /// A header has begun.
    Reading,
    /// The request of this number, from 0, is being answered.
    Answering(u64),
}

/// Resolves when a phase has exceeded its time limit.
///
/// The sender reports each change of phase. While a request is being answered it also reports the
/// same phase again for every write that the kernel accepts: that is progress. A client that does
/// not read its answer makes no progress, and is dropped after [`Limits::stall`].
pub(super) async fn overstay(mut phase: watch::Receiver<Phase>, limits: Limits) {
    loop {
        let present = *phase.borrow_and_update();
        let in_time = match present {
            Phase::Idle => timeout(limits.idle, phase.changed()).await.is_ok(),
            Phase::Reading => timeout(limits.header, phase.changed()).await.is_ok(),
            Phase::Answering(_) => {
                let progress = async {
                    while *phase.borrow_and_update() == present {
                        if timeout(limits.stall, phase.changed()).await.is_err() {
                            return false;
                        }
                    }
                    true
                };
                timeout(limits.answer, progress).await == Ok(true)
            }
        };
        if !in_time {
            return;
        }
    }
}
