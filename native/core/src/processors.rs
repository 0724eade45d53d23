//! Which processors a thread may have.

use std::sync::OnceLock;

/// The processors that a thread may have, but for the one that it has.
#[derive(Clone, PartialEq)]
pub struct Others(system::Processors);

impl Others {
    /// Those of the calling thread; None where it has no other, or the system does not say.
    pub fn of_this_thread() -> Option<Self> {
        system::others().map(Self)
    }
}

/// Where a thread may be, as another thread says.
#[derive(Default)]
pub struct Place {
    thread: OnceLock<system::Thread>,
}

impl Place {
    /// Have it be that of the calling thread.
    pub fn is_of_this_thread(&self) {
        let _ = self.thread.set(system::this_thread());
    }

    /// Let the thread have these processors alone, from when it next waits for one; whether it will.
    pub fn set(&self, others: &Others) -> bool {
        self.thread.get().is_some_and(|thread| system::keep(*thread, others.0))
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    pub type Processors = CpuSet;
    pub type Thread = Pid;

    pub fn others() -> Option<Processors> {
        let mut processors = sched_getaffinity(None).ok()?;
        processors.unset(sched_getcpu());
        (processors.count() > 0).then_some(processors)
    }

    pub fn this_thread() -> Thread {
        gettid()
    }

    pub fn keep(thread: Thread, processors: Processors) -> bool {
        sched_setaffinity(Some(thread), &processors).is_ok()
    }
}

/// Of a system that chooses by itself; Miri knows no such call.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    #[derive(Clone, Copy, PartialEq)]
    pub struct Processors;
    #[derive(Clone, Copy)]
    pub struct Thread;

    pub fn others() -> Option<Processors> {
        None
    }

    pub fn this_thread() -> Thread {
        Thread
    }

    pub fn keep(_: Thread, _: Processors) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc::channel};
    use std::thread;

    use rustix::thread::sched_getaffinity;

    #[test]
    fn a_thread_waits_for_another_processor_than_that_of_the_one_that_says_so() {
        let place = Arc::new(Place::default());
        let own = Arc::clone(&place);
        let (told, asked) = channel::<()>();
        let thread = thread::spawn(move || {
            own.is_of_this_thread();
            asked.recv().expect("the test asks");
            sched_getaffinity(None).expect("it may be asked for")
        });
        // On one processor there is nothing to choose.
        let Some(others) = Others::of_this_thread() else { return };
        while !place.set(&others) {
            thread::yield_now();
        }
        told.send(()).expect("the thread waits");
        let found = thread.join().expect("the thread ends");
        assert!(found == others.0);
        let all = sched_getaffinity(None).expect("it may be asked for");
        assert_eq!(found.count() + 1, all.count());
    }
}
