//! How many requests a thread begins before it looks at the answers to those that it has begun.
//!
//! A thread serves whoever was ready first. With a thousand clients that are ready at the same time it would ask instances on behalf of all of
//! them, over a thousand connections, before it passes on the first answer, and by then nothing of all that is in the processor's caches any
//! more. That costs it a third of what it could answer. So a request is admitted only while few others wait for the head of their answer.
//!
//! That must never hold up a request while the thread has nothing better to do: before it goes to sleep, all who wait are admitted
//! ([`Admission::renew`]), so that instances may be as slow as they like. Where it never sleeps, because it carries large bodies, those that were
//! admitted count for a moment only.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

/// So many wait for the head of an answer at the same time, if others wait to be admitted. With 16 to 64, a thousand clients get as many
/// answers; with 100 fewer, with 200 hardly more than without a limit.
const COUNT: usize = 16;
/// For so long, if the thread does not sleep.
const MOMENT: Duration = Duration::from_millis(20);

/// Who may ask an instance now.
#[derive(Debug)]
pub(crate) struct Admission {
    free: Semaphore,
    given: Mutex<Given>,
    waiting: AtomicUsize,
    somebody_waits: Notify,
}

/// Those that count.
#[derive(Debug, Default)]
struct Given {
    /// How often all that were given had ceased to count.
    renewals: u64,
    /// How many were given since.
    count: usize,
}

/// Lets a request ask an instance, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    renewals: u64,
}

/// Somebody who waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Admission {
    /// For a thread that calls [`Self::renew`] before it sleeps.
    pub(crate) fn of_thread() -> Self {
        Self::of(COUNT)
    }

    /// For whoever cannot: all are admitted at once.
    pub(crate) fn of_everybody() -> Self {
        Self::of(Semaphore::MAX_PERMITS)
    }

    fn of(count: usize) -> Self {
        Self {
            free: Semaphore::new(count),
            given: Mutex::default(),
            waiting: AtomicUsize::new(0),
            somebody_waits: Notify::new(),
        }
    }

    /// Waits until another request may be begun; those who came first are admitted first.
    pub(crate) async fn admit(&self) -> Admitted<'_> {
        let free = match self.free.try_acquire() {
            Ok(free) => Some(free),
            Err(_) => {
                let _waiting = Waiting::among(self);
                // Nobody closes it.
                self.free.acquire().await.ok()
            }
        };
        let mut given = self.given();
        if let Some(free) = free {
            // Given back by the number of those that count, and not by each.
            free.forget();
            given.count += 1;
        }
        Admitted { admission: self, renewals: given.renewals }
    }

    /// Counts none of those that were admitted any more, if somebody waits: as many as they were are admitted instead.
    pub(crate) fn renew(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut given = self.given();
        given.renewals += 1;
        self.free.add_permits(std::mem::take(&mut given.count));
    }

    /// Sees to it that nobody waits for longer than a moment. Goes on for ever.
    pub(crate) async fn look_after(&self) {
        loop {
            self.somebody_waits.notified().await;
            while self.waiting.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(MOMENT).await;
                self.renew();
            }
        }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Waiting<'a> {
    fn among(admission: &'a Admission) -> Self {
        if admission.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            admission.somebody_waits.notify_one();
        }
        Self(&admission.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut given = self.admission.given();
        if given.renewals == self.renewals && given.count > 0 {
            given.count -= 1;
            self.admission.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn one_more_is_admitted_for_each_that_has_its_answer() {
        let admission = Admission::of_thread();
        let mut all = join_all((0..COUNT).map(|_| admission.admit())).await;
        let mut next = Box::pin(admission.admit());
        assert!(next.as_mut().now_or_never().is_none());
        all.pop();
        next.now_or_never().expect("admitted");
    }

    #[tokio::test]
    async fn who_waits_is_admitted_where_the_thread_has_nothing_to_do() {
        let admission = Admission::of_thread();
        let slow = join_all((0..COUNT).map(|_| admission.admit())).await;
        let mut others: Vec<_> = (0..COUNT + 1).map(|_| Box::pin(admission.admit())).collect();
        assert!(others.iter_mut().all(|other| other.as_mut().now_or_never().is_none()));
        admission.renew();
        let admitted: Vec<_> = others.iter_mut().filter_map(|other| other.as_mut().now_or_never()).collect();
        assert_eq!(admitted.len(), COUNT, "as many as had been admitted before");
        // Those that do not count any more give nothing back.
        drop(slow);
        assert!(others[COUNT].as_mut().now_or_never().is_none());
        drop(admitted);
        others.pop().unwrap().now_or_never().expect("admitted");
    }

    #[tokio::test]
    async fn where_nobody_waits_those_admitted_go_on_counting() {
        let admission = Admission::of_thread();
        let _all = join_all((0..COUNT).map(|_| admission.admit())).await;
        admission.renew();
        assert!(admission.admit().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_nothing_with_him() {
        let admission = Admission::of_thread();
        let all = join_all((0..COUNT).map(|_| admission.admit())).await;
        for _ in 0..COUNT {
            assert!(admission.admit().now_or_never().is_none());
        }
        drop(all);
        assert_eq!(join_all((0..COUNT).map(|_| admission.admit())).now_or_never().map(|all| all.len()), Some(COUNT));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_a_moment() {
        let admission = Admission::of_thread();
        let _all = join_all((0..COUNT).map(|_| admission.admit())).await;
        tokio::select! {
            () = admission.look_after() => {}
            admitted = tokio::time::timeout(MOMENT * 2, admission.admit()) => { admitted.expect("admitted in time"); }
        }
    }
}
