//! Threads that help with a piece of work, and wait for the next.
//!
//! A thread that begins anew, or is woken after it has waited for long, is often given the processor of the
//! one that woke it, while another is idle: in a virtual machine it then starts milliseconds late, when a
//! patch has been read. So helpers wait for work, and where the system allows it, for another processor.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use crate::processors::{Others, Place};
use crate::stash::Stash;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that have nothing to do.
static IDLE: Stash<Option<Helper>> = Stash::new();

/// What several threads return that do the same work at once, of the calling one first.
///
/// Where fewer can begin than are wanted, fewer work: each must be able to do all that is left.
///
/// # Panics
/// As the work does, after all have ended.
pub fn together<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let (sender, results) = channel();
    let work: &(dyn Fn(usize) -> R + Sync) = &work;
    let others = if threads > 1 { Others::of_this_thread() } else { None };
    let helpers: Vec<Helper> = (1..threads)
        .map_while(|number| {
            let sender = sender.clone();
            let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| work(number)));
                // The receiver is there: this function waits for every sender to go.
                let _ = sender.send(outcome);
            });
            // SAFETY: the job borrows `work` and has a sender of the channel, which goes when the job has
            // run or is thrown away. Below, the loop over the results ends when no sender is left, and
            // nothing before it can unwind: what `work` borrows outlives the job.
            let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
            Helper::beginning(job, others.as_ref())
        })
        .collect();
    drop(sender);
    let own = catch_unwind(AssertUnwindSafe(|| work(0)));
    let all: Vec<_> = std::iter::once(own).chain(results).collect();
    for helper in helpers {
        IDLE.give_back(Some(helper));
    }
    all.into_iter().map(|one| one.unwrap_or_else(|panic| resume_unwind(panic))).collect()
}

/// End the threads that wait, before a fork, which would leave their halves of what they share.
pub fn end_idle() {
    while let Some(helper) = IDLE.take().and_then(Helper::of_this_process) {
        let Helper { jobs, thread, .. } = helper;
        drop(jobs);
        // A job's panic is its caller's: the thread itself has none.
        let _ = thread.join();
    }
}

/// A thread that does jobs until nobody can give it one.
struct Helper {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    process: u32,
    place: Arc<Place>,
    /// What its place was set to.
    others: Option<Others>,
}

impl Helper {
    /// One that has this job, and waits for one of these processors; None where no thread can begin.
    fn beginning(job: Job, others: Option<&Others>) -> Option<Self> {
        let mut helper = IDLE.take().and_then(Self::of_this_process).or_else(Self::new)?;
        helper.wait_for(others);
        helper.jobs.send(job).ok()?;
        Some(helper)
    }

    fn new() -> Option<Self> {
        let (jobs, given) = channel::<Job>();
        let place = Arc::new(Place::default());
        let own = Arc::clone(&place);
        let work = move || {
            own.is_of_this_thread();
            for job in given {
                job();
            }
        };
        let thread = thread::Builder::new().name("ctspine_zarr".into()).spawn(work).ok()?;
        Some(Self { jobs, thread, process: std::process::id(), place, others: None })
    }

    /// Have it wait for one of these processors, which takes a microsecond where they are others than before.
    fn wait_for(&mut self, others: Option<&Others>) {
        if let Some(others) = others
            && self.others.as_ref() != Some(others)
            && self.place.set(others)
        {
            self.others = Some(others.clone());
        }
    }

    /// None where it is one of a process that was forked: only there is there a thread.
    fn of_this_process(self) -> Option<Self> {
        if self.process == std::process::id() {
            return Some(self);
        }
        // What it shares with that thread may be locked for good.
        std::mem::forget(self);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn all_threads_work_at_once_and_again() {
        for _ in 0..20 {
            let barrier = Barrier::new(4);
            let mut found = together(4, |number| {
                barrier.wait();
                (number, thread::current().id())
            });
            assert!(found[0] == (0, thread::current().id()));
            found.sort_unstable_by_key(|(number, _)| *number);
            assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        }
        assert_eq!(together(1, |number| number), [0]);
        end_idle();
        assert_eq!(together(3, |_| 1).len(), 3);
    }

    #[test]
    fn a_panic_of_any_comes_to_the_caller_after_all_have_ended() {
        for bad in 0..3 {
            let ended = std::sync::atomic::AtomicUsize::new(0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                together(3, |number| {
                    assert_ne!(number, bad, "on purpose");
                    thread::sleep(std::time::Duration::from_millis(20));
                    ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                })
            }));
            assert!(outcome.is_err());
            assert_eq!(ended.into_inner(), 2);
        }
    }
}
