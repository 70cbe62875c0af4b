//! A timer that is there only while somebody waits for it: idle connections shall not pay for one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::time::Sleep;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the time has come; `None`: never, and the timer is given back. Has to be polled again after each change of the time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, time: Option<Instant>) -> Poll<()> {
        let Some(time) = time else {
            self.0 = None;
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(time.into())));
        if sleep.deadline().into_std() != time {
            sleep.as_mut().reset(time.into());
        }
        sleep.as_mut().poll(cx)
    }
}
