//! Where the names of points go so that none covers another, or a point.
//!
//! 1. Labels are placed one after the other, those with the nearest neighbours first, since they have
//!    the least choice.
//! 2. Each tries places on growing circles around its point, and takes the first that covers nothing
//!    and whose line to the point crosses no label, no other point and no other such line: off the lines
//!    of the plot if there is such a place, or else on one.
//! 3. Two labels whose lines cross after all change places as long as that leaves fewer conflicts.

/// Pixels kept free around a label.
const MARGIN: f64 = 2.0;

/// Directions tried on each circle.
const DIRECTIONS: u32 = 24;

/// First circle, and from one to the next.
const STEP: f64 = 7.0;

/// A label that lies farther from its point than this needs a line.
const LEADER: f64 = 16.0;

/// A box in pixels; y grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Rect {
    /// A box around a middle.
    pub(crate) fn around((x, y): (f64, f64), (width, height): (f64, f64)) -> Self {
        Self {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    fn middle(&self) -> (f64, f64) {
        (
            (self.left + self.right) / 2.0,
            (self.top + self.bottom) / 2.0,
        )
    }

    fn grown(self, by: f64) -> Self {
        Self {
            left: self.left - by,
            top: self.top - by,
            right: self.right + by,
            bottom: self.bottom + by,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }

    /// The point of this box that is nearest to `to`.
    fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            x.clamp(self.left, self.right),
            y.clamp(self.top, self.bottom),
        )
    }

    /// Whether a line from `a` to `b` meets the box (Liang and Barsky, 1984).
    fn meets(&self, a: (f64, f64), b: (f64, f64)) -> bool {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        for (direction, distance) in [
            (-dx, a.0 - self.left),
            (dx, self.right - a.0),
            (-dy, a.1 - self.top),
            (dy, self.bottom - a.1),
        ] {
            if direction == 0.0 {
                if distance < 0.0 {
                    return false;
                }
            } else if direction < 0.0 {
                enter = enter.max(distance / direction);
            } else {
                leave = leave.min(distance / direction);
            }
        }
        enter <= leave
    }
}

/// A label in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Label {
    /// Which point it belongs to.
    pub(crate) point: usize,
    pub(crate) place: Rect,
    /// From the point to the label, where they lie apart.
    pub(crate) leader: Option<[(f64, f64); 2]>,
}

impl Label {
    fn at(place: Rect, point: usize, of: (f64, f64)) -> Self {
        let target = place.nearest(of);
        let gap = (target.0 - of.0).hypot(target.1 - of.1);
        Self {
            point,
            place,
            leader: (gap > LEADER).then_some([of, target]),
        }
    }

    /// The same label around the middle of another place.
    fn moved_to(&self, place: &Rect, discs: &[Rect]) -> Self {
        let own = self.place;
        let size = (own.right - own.left, own.bottom - own.top);
        Self::at(
            Rect::around(place.middle(), size),
            self.point,
            discs[self.point].middle(),
        )
    }
}

/// Places a label of each size beside its point, inside `frame`, and off the lines where there is room
/// elsewhere. Points beyond the sizes have no label, and are kept free. A label for which there is no room at all
/// is left out.
pub(crate) fn place(
    points: &[(f64, f64)],
    sizes: &[(f64, f64)],
    radius: f64,
    lines: &[[(f64, f64); 2]],
    frame: Rect,
) -> Vec<Label> {
    let discs: Vec<_> = points
        .iter()
        .map(|&point| Rect::around(point, (2.0 * radius, 2.0 * radius)))
        .collect();
    let nearest = |of: usize| {
        let others = points.iter().enumerate().filter(|(other, _)| *other != of);
        let distances = others.map(|(_, p)| (p.0 - points[of].0).hypot(p.1 - points[of].1));
        distances.fold(f64::INFINITY, f64::min)
    };
    let mut order: Vec<_> = (0..points.len().min(sizes.len())).collect();
    order.sort_by(|&a, &b| nearest(a).total_cmp(&nearest(b)));
    let mut placed: Vec<Label> = Vec::new();
    for point in order {
        let free: Vec<_> = candidates(points[point], sizes[point], radius, frame)
            .into_iter()
            .filter(|place| is_free(place, &placed, &discs))
            .map(|place| Label::at(place, point, points[point]))
            .collect();
        let is_clear = |label: &&Label| !crosses(label, &placed) && !covers(label, &discs);
        let is_off_lines = |label: &&Label| !lines.iter().any(|&[a, b]| label.place.meets(a, b));
        let best = free
            .iter()
            .find(|label| is_clear(label) && is_off_lines(label));
        let best = best.or_else(|| free.iter().find(is_clear));
        // The fewest, and of these the nearest.
        let conflicts = |label: &&Label| conflicts(label, &placed, &discs);
        let best = best.or_else(|| free.iter().min_by_key(conflicts));
        placed.extend(best.copied());
    }
    untangle(&mut placed, &discs, frame);
    placed
}

/// Exchanges the places of labels whose lines cross, while that helps.
fn untangle(labels: &mut [Label], discs: &[Rect], frame: Rect) {
    let all = |labels: &[Label]| -> usize {
        let of = |i: usize| conflicts(&labels[i], &labels[..i], discs);
        (0..labels.len()).map(of).sum()
    };
    let mut before = all(labels);
    let mut has_changed = true;
    while has_changed && before > 0 {
        has_changed = false;
        for j in 0..labels.len() {
            for i in 0..j {
                if !lines_cross(&labels[i], &labels[j]) {
                    continue;
                }
                let pair = [labels[i], labels[j]];
                labels[i] = pair[0].moved_to(&pair[1].place, discs);
                labels[j] = pair[1].moved_to(&pair[0].place, discs);
                let fits = |i: usize| {
                    let others = labels.iter().enumerate().filter(|(other, _)| *other != i);
                    let others: Vec<_> = others.map(|(_, label)| *label).collect();
                    frame.holds(&labels[i].place) && is_free(&labels[i].place, &others, discs)
                };
                let after = all(labels);
                if fits(i) && fits(j) && after < before {
                    before = after;
                    has_changed = true;
                } else {
                    (labels[i], labels[j]) = (pair[0], pair[1]);
                }
            }
        }
    }
}

/// Places around a point, nearest first.
fn candidates(
    point: (f64, f64),
    (width, height): (f64, f64),
    radius: f64,
    frame: Rect,
) -> Vec<Rect> {
    let reach = (frame.right - frame.left).hypot(frame.bottom - frame.top);
    let circles = (reach / STEP) as u32;
    (0..circles)
        .flat_map(|circle| {
            let distance = radius + 2.0 + STEP * f64::from(circle);
            (0..DIRECTIONS).map(move |direction| {
                // Right first, then left, then around.
                let turn = f64::from(direction.div_ceil(2)) / f64::from(DIRECTIONS);
                let sign = if direction % 2 == 0 { 1.0 } else { -1.0 };
                let (sin, cos) = (std::f64::consts::TAU * turn * sign).sin_cos();
                let middle = (
                    point.0 + cos * (distance + width / 2.0),
                    point.1 + sin * (distance + height / 2.0),
                );
                Rect::around(middle, (width, height))
            })
        })
        .filter(|place| frame.holds(place))
        .collect()
}

fn is_free(place: &Rect, placed: &[Label], discs: &[Rect]) -> bool {
    let wide = place.grown(MARGIN);
    let over_labels = placed.iter().any(|other| wide.overlaps(&other.place));
    !over_labels && !discs.iter().any(|disc| wide.overlaps(disc))
}

/// Whether the line of a label covers a point that is not its own.
fn covers(label: &Label, discs: &[Rect]) -> bool {
    points_covered(label, discs) > 0
}

fn points_covered(label: &Label, discs: &[Rect]) -> usize {
    let others = discs
        .iter()
        .enumerate()
        .filter(|(point, _)| *point != label.point);
    let meets = |[a, b]: [(f64, f64); 2]| others.filter(|(_, disc)| disc.meets(a, b)).count();
    label.leader.map_or(0, meets)
}

/// Whether a line of one of the labels crosses another label, or its line.
fn crosses(label: &Label, placed: &[Label]) -> bool {
    placed.iter().any(|other| crossings(label, other) > 0)
}

fn lines_cross(one: &Label, other: &Label) -> bool {
    let both = one.leader.zip(other.leader);
    both.is_some_and(|(one, other)| cross(one, other))
}

/// How often the lines of two labels cross each other, or the other label.
fn crossings(one: &Label, other: &Label) -> usize {
    let meets = |one: &Label, other: &Label| {
        let place = other.place.grown(MARGIN);
        one.leader.is_some_and(|[a, b]| place.meets(a, b))
    };
    [
        meets(one, other),
        meets(other, one),
        lines_cross(one, other),
    ]
    .into_iter()
    .filter(|&found| found)
    .count()
}

/// What is wrong with a label beside others.
fn conflicts(label: &Label, others: &[Label], discs: &[Rect]) -> usize {
    let crossings = others.iter().map(|other| crossings(label, other));
    crossings.sum::<usize>() + points_covered(label, discs)
}

/// Whether two lines have a point in common: the ends of each lie on different sides of the other.
fn cross([a, b]: [(f64, f64); 2], [c, d]: [(f64, f64); 2]) -> bool {
    // The sign says on which side of the line from p to q the point r lies.
    let side = |p: (f64, f64), q: (f64, f64), r: (f64, f64)| {
        (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0)
    };
    side(a, b, c) * side(a, b, d) <= 0.0 && side(c, d, a) * side(c, d, b) <= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect {
        left: 0.0,
        top: 0.0,
        right: 800.0,
        bottom: 400.0,
    };

    /// Points in three clumps, many of them nearly the same.
    fn clumps() -> Vec<(f64, f64)> {
        (0..24)
            .map(|i| {
                let (clump, member) = (f64::from(i % 3), f64::from(i / 3));
                (60.0 + 330.0 * clump + 3.0 * member, 40.0 + 2.0 * member)
            })
            .collect()
    }

    #[test]
    fn no_label_covers_another_or_a_point() {
        let points = clumps();
        let sizes = vec![(90.0, 14.0); points.len()];
        let labels = place(&points, &sizes, 4.0, &[], FRAME);
        assert_eq!(labels.len(), points.len());
        for (index, label) in labels.iter().enumerate() {
            assert!(FRAME.holds(&label.place), "{label:?}");
            for other in &labels[..index] {
                assert!(
                    !label.place.overlaps(&other.place),
                    "{label:?} and {other:?}"
                );
            }
            for other in &labels[..index] {
                assert!(!lines_cross(label, other), "{label:?} {other:?}");
            }
            for &point in &points {
                let disc = Rect::around(point, (8.0, 8.0));
                assert!(!label.place.overlaps(&disc), "{label:?} over {point:?}");
            }
        }
    }

    #[test]
    fn a_lonely_point_has_its_label_beside_it() {
        let labels = place(&[(100.0, 100.0)], &[(50.0, 10.0)], 4.0, &[], FRAME);
        let expected = Rect::around((131.0, 100.0), (50.0, 10.0));
        assert_eq!(labels[0].place, expected);
        assert_eq!(labels[0].leader, None);
    }

    #[test]
    fn a_label_keeps_off_a_line_where_it_can() {
        let line = [(110.0, 0.0), (110.0, 400.0)];
        let label = place(&[(100.0, 100.0)], &[(50.0, 10.0)], 4.0, &[line], FRAME)[0];
        assert!(label.place.right < 110.0, "{label:?}");
        let everywhere: Vec<_> = (0..80)
            .map(|x| [(f64::from(10 * x), 0.0), (f64::from(10 * x), 400.0)])
            .collect();
        let labels = place(&[(100.0, 100.0)], &[(50.0, 10.0)], 4.0, &everywhere, FRAME);
        assert_eq!(labels.len(), 1);
    }

    #[test]
    fn a_label_without_room_is_left_out() {
        assert_eq!(
            place(&[(100.0, 100.0)], &[(900.0, 10.0)], 4.0, &[], FRAME),
            Vec::new()
        );
    }

    #[test]
    fn lines_that_cross_are_told_from_those_that_do_not() {
        let line = [(0.0, 0.0), (10.0, 10.0)];
        assert!(cross(line, [(0.0, 10.0), (10.0, 0.0)]));
        assert!(cross(line, [(5.0, 5.0), (9.0, 0.0)]));
        assert!(!cross(line, [(1.0, 0.0), (11.0, 10.0)]));
        assert!(!cross(line, [(0.0, 10.0), (4.0, 6.0)]));
    }

    #[test]
    fn lines_meet_the_boxes_that_they_cross() {
        let rect = Rect::around((10.0, 10.0), (4.0, 4.0));
        assert!(rect.meets((0.0, 0.0), (20.0, 20.0)));
        assert!(rect.meets((10.0, 10.0), (30.0, 10.0)));
        assert!(!rect.meets((0.0, 0.0), (20.0, 0.0)));
        assert!(!rect.meets((0.0, 0.0), (7.0, 7.0)));
    }
}
