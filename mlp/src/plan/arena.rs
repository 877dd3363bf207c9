//! Where values lie in the arena: each takes the lowest place that is free for as long as it lives.
//!
//! First fit in order of birth: not optimal in general, and never more than all values side by side.

/// A value: how many floats it takes, and between which positions of the order of computation
/// something writes or reads it, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) len: usize,
    pub(crate) born: usize,
    pub(crate) dies: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.born <= other.dies && other.born <= self.dies
    }
}

/// The offsets of the values, which come in order of birth, and the length of the arena.
///
/// Offsets are multiples of `align`. Values that live at the same time do not overlap; a value that
/// is read for the last time where another is born lives at the same time as that one.
pub(crate) fn place(values: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut offsets: Vec<usize> = Vec::with_capacity(values.len());
    let mut arena_len = 0;
    for (i, value) in values.iter().enumerate() {
        let mut taken: Vec<(usize, usize)> = values[..i]
            .iter()
            .zip(&offsets)
            .filter(|(other, _)| other.meets(value))
            .map(|(other, &offset)| (offset, offset + other.len.next_multiple_of(align)))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + value.len <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets.push(offset);
        arena_len = arena_len.max(offset + value.len.next_multiple_of(align));
    }
    (offsets, arena_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(len: usize, born: usize, dies: usize) -> Lifetime {
        Lifetime { len, born, dies }
    }

    #[test]
    fn values_that_live_together_lie_apart() {
        let values = [value(10, 0, 2), value(5, 1, 3), value(16, 2, 2)];
        assert_eq!(place(&values, 8), (vec![0, 16, 24], 40));
    }

    #[test]
    fn a_place_is_used_again_when_its_value_is_dead() {
        let values = [value(8, 0, 1), value(8, 1, 2), value(8, 2, 3)];
        assert_eq!(place(&values, 8), (vec![0, 8, 0], 16));
    }

    #[test]
    fn a_gap_that_is_too_small_is_passed_over() {
        let values = [
            value(8, 0, 1),
            value(8, 0, 3),
            value(16, 2, 3),
            value(8, 3, 3),
        ];
        assert_eq!(place(&values, 8), (vec![0, 8, 16, 0], 32));
    }

    #[test]
    fn no_values_need_no_arena() {
        assert_eq!(place(&[], 16), (vec![], 0));
    }
}
