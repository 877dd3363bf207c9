//! The only door to threads.

/// A caller and the helpers that follow it through the parallel phases of one scope.
#[derive(Debug)]
pub struct Team {
    threads: usize,
}

impl Team {
    /// A team of the caller alone.
    pub fn solo() -> Self {
        Self { threads: 1 }
    }

    /// The caller and its helpers: one slot of scratch memory for each.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work(chunk, slot)` once for each chunk below `chunks`, on whichever member claims it.
    ///
    /// `slot` is below [`Self::threads`]; two calls at a time never have the same.
    pub fn run(&self, chunks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        for chunk in 0..chunks {
            work(chunk, 0);
        }
    }
}

/// Runs `scope` with a team of at most `threads` members.
pub fn with_team<R>(threads: usize, scope: impl FnOnce(&Team) -> R) -> R {
    let _ = threads;
    scope(&Team::solo())
}
