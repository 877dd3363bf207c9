//! Work on memory that is divided into parts, one for each chunk of a phase.
//!
//! What a part holds is computed from that part and from what is only read, so how many parts there
//! are changes no bit.

use std::array;
use std::sync::{Mutex, PoisonError};

use crate::team::Team;

/// The most parts of a phase: they are kept on the stack.
pub(crate) const MAX_PARTS: usize = 64;

/// Something with a length that can be cut in two.
pub(crate) trait Divide: Sized {
    /// Rows, columns, or whatever it is cut between.
    fn len(&self) -> usize;

    /// What comes before `at`, and the rest; `at` is at most the length.
    fn split(self, at: usize) -> (Self, Self);
}

/// Pieces of one length, the last of them maybe shorter.
pub(crate) struct Pieces<D> {
    rest: Option<D>,
    piece: usize,
}

impl<D: Divide> Pieces<D> {
    /// Cuts `whole` into pieces of `piece`, at least 1.
    #[inline(always)]
    pub(crate) fn new(whole: D, piece: usize) -> Self {
        let rest = Some(whole).filter(|whole| whole.len() > 0);
        Self { rest, piece }
    }

    /// What has not been given yet, if anything.
    #[inline(always)]
    pub(crate) fn rest(&self) -> Option<&D> {
        self.rest.as_ref()
    }

    /// Goes on with pieces of another length, at least 1.
    #[inline(always)]
    pub(crate) fn set_piece(&mut self, piece: usize) {
        self.piece = piece;
    }
}

impl<D: Divide> Iterator for Pieces<D> {
    type Item = D;

    #[inline(always)]
    fn next(&mut self) -> Option<D> {
        let rest = self.rest.take()?;
        if rest.len() <= self.piece {
            return Some(rest);
        }
        let (piece, rest) = rest.split(self.piece);
        self.rest = Some(rest);
        Some(piece)
    }
}

/// Calls `work(part, slot)` for each part, on whichever member of the team claims it.
pub(crate) fn each_part<T: Send>(
    team: &Team,
    parts: impl Iterator<Item = T>,
    work: &(dyn Fn(T, usize) + Sync),
) {
    let mut parts = parts.peekable();
    while parts.peek().is_some() {
        let cells: [Mutex<Option<T>>; MAX_PARTS] = array::from_fn(|_| Mutex::new(parts.next()));
        team.run(MAX_PARTS, &|number, slot| {
            let part = cells[number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(part) = part {
                work(part, slot);
            }
        });
    }
}

/// Cuts `whole` into parts of at least `grain`, and works on each.
pub(crate) fn each_piece<D: Divide + Send>(
    team: &Team,
    whole: D,
    grain: usize,
    work: &(dyn Fn(D) + Sync),
) {
    let piece = whole.len().div_ceil(MAX_PARTS).max(grain);
    if team.threads() == 1 || whole.len() <= piece {
        work(whole);
    } else {
        each_part(team, Pieces::new(whole, piece), &|part, _| work(part));
    }
}
