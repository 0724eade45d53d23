//! Which processors a thread may have. Miri knows no such system call.

#[cfg(all(target_os = "linux", not(miri)))]
pub use linux::{Others, Place};
#[cfg(not(all(target_os = "linux", not(miri))))]
pub use unknown::{Others, Place};

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The processors that a thread may have, but for the one that it has.
    #[derive(Clone, PartialEq)]
    pub struct Others(CpuSet);

    impl Others {
        /// Those of the calling thread; None where it has no other.
        pub fn of_this_thread() -> Option<Self> {
            let mut processors = sched_getaffinity(None).ok()?;
            processors.unset(sched_getcpu());
            (processors.count() > 0).then_some(Self(processors))
        }
    }

    /// Where a thread may be, as another thread says.
    #[derive(Default)]
    pub struct Place {
        thread: OnceLock<Pid>,
    }

    impl Place {
        /// Have it be that of the calling thread.
        pub fn is_of_this_thread(&self) {
            let _ = self.thread.set(gettid());
        }

        /// Let the thread have these processors alone, from when it next waits for one; whether it will.
        pub fn set(&self, others: &Others) -> bool {
            self.thread.get().is_some_and(|thread| sched_setaffinity(Some(*thread), &others.0).is_ok())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_thread_waits_for_another_processor_than_that_of_the_one_that_says_so() {
            let place = std::sync::Arc::new(Place::default());
            let (told, asked) = std::sync::mpsc::channel::<()>();
            let own = std::sync::Arc::clone(&place);
            let thread = std::thread::spawn(move || {
                own.is_of_this_thread();
                asked.recv().expect("the test asks");
                sched_getaffinity(None).expect("it may be asked for")
            });
            let Some(others) = Others::of_this_thread() else { return };
            while !place.set(&others) {
                std::thread::yield_now();
            }
            told.send(()).expect("the thread waits");
            let found = thread.join().expect("the thread ends");
            assert!(found == others.0);
            let all = sched_getaffinity(None).expect("it may be asked for");
            assert_eq!(found.count() + 1, all.count());
        }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod unknown {
    /// None of which is known here.
    #[derive(Clone, PartialEq)]
    pub struct Others;

    impl Others {
        /// None: the system is left to choose.
        pub fn of_this_thread() -> Option<Self> {
            None
        }
    }

    /// Of a thread, of which nothing is said here.
    #[derive(Default)]
    pub struct Place;

    impl Place {
        /// Nothing is kept.
        pub fn is_of_this_thread(&self) {}

        /// Whether it is so: never.
        pub fn set(&self, _: &Others) -> bool {
            false
        }
    }
}
