//! Memory for packed operands, kept between calls.

use super::bf16_blocking::bf16_bound;
use super::blocking::packed_bound;
use super::partial::partial_bound;
use crate::team::MAX_THREADS;
use aligned_vec::{AVec, ConstAlign};

/// Memory for packed operands, one slot per member of a team, and for partial sums that the members
/// share: grown when needed, kept between calls.
///
/// A call that fits what earlier calls needed does not allocate; [`Workspace::reserve`] makes the
/// first one fit too.
#[derive(Debug)]
pub struct Workspace {
    bytes: AVec<u8, ConstAlign<ALIGN>>,
    shared_bytes: usize,
    slot_bytes: usize,
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// A page: no two slots share one, and panels start at cache lines.
const ALIGN: usize = 4096;

impl Workspace {
    /// An empty workspace; the first call that needs memory allocates it.
    pub fn new() -> Self {
        Self {
            bytes: AVec::new(ALIGN),
            shared_bytes: 0,
            slot_bytes: 0,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for a product of an `m x k` and a `k x n` matrix of f32 by a team of `threads`
    /// members, so that the call itself does not allocate.
    ///
    /// `threads` is what [`crate::Team::threads`] says: at least 1, and at most the 512 that a team
    /// can have; other numbers are taken as the nearest of these.
    pub fn reserve(&mut self, m: usize, n: usize, k: usize, threads: usize) {
        let bytes = packed_bound((m, n, k)) * size_of::<f32>();
        let bytes = bytes.max(bf16_bound((m, n, k)));
        let shared_bytes = match threads {
            0 | 1 => 0,
            _ => partial_bound((m, n, k)) * size_of::<f32>(),
        };
        self.grow(threads.clamp(1, MAX_THREADS), bytes, shared_bytes);
    }

    /// Makes room for `slots` slots of at least `bytes` bytes each, and `shared_bytes` for all.
    pub(super) fn grow(&mut self, slots: usize, bytes: usize, shared_bytes: usize) {
        let slot_bytes = bytes.next_multiple_of(ALIGN);
        let shared_bytes = shared_bytes.next_multiple_of(ALIGN);
        // A size that saturates is refused by the allocation, where a wrapped one would be made.
        let all_bytes = slots.saturating_mul(slot_bytes);
        let all_bytes = all_bytes.saturating_add(shared_bytes);
        if all_bytes > self.bytes.len() {
            // What was there has no meaning any more: do not copy it.
            self.bytes.clear();
            self.bytes.resize(all_bytes, 0);
        }
        self.shared_bytes = shared_bytes;
        self.slot_bytes = slot_bytes;
    }

    /// The slots, after [`Self::grow`].
    pub(super) fn slots(&mut self) -> Slots {
        Slots {
            shared: self.bytes.as_mut_ptr(),
            shared_bytes: self.shared_bytes,
            slot_bytes: self.slot_bytes,
        }
    }
}

/// The slots of a workspace, to be shared with the members of a team.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    shared: *mut u8,
    shared_bytes: usize,
    slot_bytes: usize,
}

// SAFETY: `Slots::get` and `Slots::shared` leave it to their callers that no place is used by two
// threads at a time.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// Start of a slot, aligned to a page.
    ///
    /// # Safety
    /// `slot` is below the number of slots grown to, the workspace is borrowed for as long as the
    /// pointer is used, and no one else uses this slot meanwhile.
    pub(super) unsafe fn get<T>(self, slot: usize) -> *mut T {
        // SAFETY: the slot lies in the buffer, says the caller.
        unsafe {
            self.shared
                .add(self.shared_bytes + slot * self.slot_bytes)
                .cast()
        }
    }

    /// Start of the memory that all members share, aligned to a page; it may be used for as long as
    /// the workspace is borrowed, each place by one thread at a time.
    pub(super) fn shared<T>(self) -> *mut T {
        self.shared.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_of_any_size_is_taken_as_one_that_can_be() {
        let bytes_for = |threads| {
            let mut workspace = Workspace::new();
            workspace.reserve(2, 3, 4, threads);
            workspace.bytes()
        };
        assert!(bytes_for(1) > 0);
        assert_eq!(bytes_for(0), bytes_for(1));
        for threads in [MAX_THREADS + 1, usize::MAX / 4096 + 2, usize::MAX] {
            assert_eq!(bytes_for(threads), bytes_for(MAX_THREADS), "{threads}");
        }
    }
}
