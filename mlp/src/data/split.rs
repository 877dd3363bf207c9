//! Which samples go where when a data set is divided: arithmetic on indices.
//!
//! Samples are shuffled, sorted by class if classes are to keep their shares, and dealt out in that
//! order. Dealing the sorted order gives every part of every class within one sample of its share,
//! and the parts their exact sizes, which rounding class by class would not.

use rand::seq::SliceRandom;

use crate::rng::{self, Purpose};

/// One of the ways to leave a part out: indices of samples, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Samples to train with.
    pub train: Vec<usize>,
    /// Samples left out, to test with.
    pub test: Vec<usize>,
}

/// The order in which samples are dealt: shuffled by `seed`, then by class if there are labels.
fn dealing_order(n: usize, labels: Option<&[u32]>, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut rng::stream(seed, Purpose::Split, 0));
    if let Some(labels) = labels {
        order.sort_by_key(|&i| labels[i]);
    }
    order
}

/// Divides `0..n` into `count` samples and the rest, both ascending.
///
/// Position p of the dealing order goes to the first part where `floor(p count / n)` is about to
/// rise, so that any run of the order has its share within one.
pub(super) fn two_parts(
    n: usize,
    count: usize,
    labels: Option<&[u32]>,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let dealt = |p: usize| (p as u128 * count as u128) / n as u128;
    let (mut first, mut second) = (Vec::with_capacity(count), Vec::with_capacity(n - count));
    for (p, i) in dealing_order(n, labels, seed).into_iter().enumerate() {
        if dealt(p + 1) > dealt(p) {
            first.push(i);
        } else {
            second.push(i);
        }
    }
    first.sort_unstable();
    second.sort_unstable();
    (first, second)
}

/// Divides `0..n` into `k` folds, each left out once; position p of the order is dealt to p mod k.
pub(super) fn folds(n: usize, k: usize, labels: Option<&[u32]>, seed: u64) -> Vec<Fold> {
    let mut fold_of = vec![0; n];
    for (p, i) in dealing_order(n, labels, seed).into_iter().enumerate() {
        fold_of[i] = p % k;
    }
    (0..k)
        .map(|fold| {
            let (test, train) = (0..n).partition(|&i| fold_of[i] == fold);
            Fold { train, test }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 labels: 70 of class 0, 20 of class 1, 10 of class 2, mixed.
    fn labels() -> Vec<u32> {
        (0..100)
            .map(|i| match i % 10 {
                0..7 => 0,
                7..9 => 1,
                _ => 2,
            })
            .collect()
    }

    fn count(indices: &[usize], labels: &[u32], class: u32) -> usize {
        indices.iter().filter(|&&i| labels[i] == class).count()
    }

    fn all_once(parts: &[&[usize]], n: usize) -> bool {
        let mut all = parts.concat();
        all.sort_unstable();
        all.into_iter().eq(0..n)
    }

    #[test]
    fn parts_are_disjoint_and_complete() {
        let labels = labels();
        for by_class in [None, Some(&labels[..])] {
            for size in [1, 33, 50, 99] {
                let (first, second) = two_parts(100, size, by_class, 3);
                assert_eq!(first.len(), size);
                assert!(all_once(&[&first, &second], 100));
                assert!(first.is_sorted() && second.is_sorted());
            }
        }
    }

    #[test]
    fn stratified_parts_keep_the_shares_of_the_classes() {
        let labels = labels();
        for seed in 0..20 {
            let (first, _) = two_parts(100, 25, Some(&labels), seed);
            for (class, share) in [(0, 17.5), (1, 5.0), (2, 2.5)] {
                let got = count(&first, &labels, class) as f64;
                assert!((got - share).abs() < 1.0, "class {class}: {got} of {share}");
            }
        }
    }

    #[test]
    fn a_plain_split_is_a_random_choice() {
        let (a, _) = two_parts(1000, 500, None, 0);
        let (b, _) = two_parts(1000, 500, None, 1);
        let common = a.iter().filter(|i| b.binary_search(i).is_ok()).count();
        // Hypergeometric: mean 250, standard deviation 8.
        assert!((200..300).contains(&common), "{common}");
        assert_eq!(two_parts(1000, 500, None, 0).0, a);
    }

    #[test]
    fn splits_never_change() {
        assert_eq!(two_parts(10, 4, None, 7).0, [2, 5, 7, 8]);
    }

    #[test]
    fn plain_folds_are_of_equal_sizes_and_follow_the_seed() {
        for k in [2, 3, 7, 10] {
            let folds = folds(10, k, None, 4);
            let tests: Vec<&[usize]> = folds.iter().map(|fold| &fold.test[..]).collect();
            assert!(all_once(&tests, 10));
            for fold in &folds {
                assert!(all_once(&[&fold.train, &fold.test], 10));
                assert!((10 / k..=10_usize.div_ceil(k)).contains(&fold.test.len()));
            }
        }
        assert_eq!(folds(100, 5, None, 4), folds(100, 5, None, 4));
        assert_ne!(folds(100, 5, None, 4), folds(100, 5, None, 5));
    }

    #[test]
    fn every_sample_is_left_out_once() {
        let labels = labels();
        for k in [2, 3, 5, 100] {
            let folds = folds(100, k, Some(&labels), 1);
            let tests: Vec<&[usize]> = folds.iter().map(|fold| &fold.test[..]).collect();
            assert!(all_once(&tests, 100));
            for fold in &folds {
                assert!(all_once(&[&fold.train, &fold.test], 100));
                for (class, size) in [(0, 70), (1, 20), (2, 10)] {
                    let got = count(&fold.test, &labels, class);
                    assert!((size / k..=size.div_ceil(k)).contains(&got), "{k}: {got}");
                }
            }
        }
    }
}
