//! Things that cost something to make, kept for the next call that needs one.

use std::sync::{Mutex, TryLockError};

const MOST_IDLE: usize = 64;

/// Things that no call uses at the moment. It is only ever tried: a process that was forked while another
/// thread held it makes new ones, and waits for nothing.
#[derive(Debug)]
pub struct Stash<T>(Mutex<Vec<T>>);

impl<T: Default> Stash<T> {
    /// A stash with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that was given back, or a new one.
    #[must_use]
    pub fn take(&self) -> T {
        match self.0.try_lock() {
            Ok(mut idle) => idle.pop(),
            Err(TryLockError::Poisoned(idle)) => idle.into_inner().pop(),
            Err(TryLockError::WouldBlock) => None,
        }
        .unwrap_or_default()
    }

    /// Keep one for another call, unless there are many.
    pub fn give_back(&self, one: T) {
        if let Ok(mut idle) = self.0.try_lock()
            && idle.len() < MOST_IDLE
        {
            idle.push(one);
        }
    }
}

impl<T: Default> Default for Stash<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let stash = Stash::<Vec<u8>>::new();
        assert!(stash.take().is_empty());
        stash.give_back(vec![1]);
        assert_eq!(stash.take(), [1]);
        let held = stash.0.lock().unwrap();
        assert!(stash.take().is_empty());
        stash.give_back(vec![2]);
        assert!(held.is_empty());
    }
}
