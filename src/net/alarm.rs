//! An alarm: a timer and its readiness in one.

use std::io;
use std::task::{Context, Poll, ready};

use super::{Readiness, Timer};
use crate::model::Mono;

/// Wakes a task at a moment, with the precision of [`Timer`] (microseconds).
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
    readiness: Readiness,
    set_to: Option<Mono>,
}

impl Alarm {
    /// An alarm that is not set, on the current runtime.
    ///
    /// # Errors
    /// Those of [`Timer::new`] and [`Readiness::of`].
    pub fn new() -> io::Result<Self> {
        let timer = Timer::new()?;
        Ok(Self { readiness: Readiness::of(&timer)?, timer, set_to: None })
    }

    /// Sets the alarm to `due`. It goes off at once if `due` has passed, and never if `due` is
    /// `None`.
    ///
    /// # Errors
    /// Those of [`Timer::arm`]; none is expected.
    pub fn set(&mut self, due: Option<Mono>) -> io::Result<()> {
        if due == self.set_to {
            return Ok(());
        }
        match due {
            Some(due) => self.timer.arm(due)?,
            None => self.timer.disarm()?,
        }
        self.set_to = due;
        Ok(())
    }

    /// Ready when the alarm has gone off. After that, the alarm is no longer set.
    ///
    /// # Errors
    /// Those of the kernel or the runtime; none is expected.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.readiness.poll_readable(context))?;
            // The readiness may be from an earlier setting that expired just before `set` replaced
            // it.
            if self.timer.acknowledge()? {
                self.set_to = None;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::net;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn an_alarm_goes_off_once_and_never_early() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            for _ in 0..3 {
                let due = net::now().mono + Duration::from_micros(300);
                alarm.set(Some(due)).unwrap();
                net::in_time(poll_fn(|context| alarm.poll(context))).await.unwrap();
                assert!(net::now().mono >= due);
                let silent = poll_fn(|context| Poll::Ready(alarm.poll(context).is_pending()));
                assert!(silent.await);
            }
        });
    }

    #[test]
    fn a_past_moment_goes_off_at_once_even_if_it_is_set_twice() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            for past in [1, 1, 0, 7] {
                alarm.set(Some(Mono::from_nanos(past))).unwrap();
                net::in_time(poll_fn(|context| alarm.poll(context))).await.unwrap();
            }
        });
    }

    #[test]
    fn an_unset_alarm_does_not_go_off() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            alarm.set(Some(net::now().mono + Duration::from_millis(1))).unwrap();
            alarm.set(None).unwrap();
            let silence = Duration::from_millis(20);
            let outcome = tokio::time::timeout(silence, poll_fn(|context| alarm.poll(context)));
            assert!(outcome.await.is_err());
        });
    }
}
