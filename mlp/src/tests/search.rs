//! Finding settings: the sweep of the learning rate, and points scored by cross-validation.

use super::{config, message, small, spiral, xor};
use crate::{
    Adam, DataError, Dataset, Loss, Mlp, MlpError, RateSweep, Search, SearchReport, Sgd, Space,
    TrainConfig,
};

#[test]
fn a_sweep_finds_a_rate_that_learns_and_changes_nothing() {
    // The sign of a sum.
    let points =
        (0..400).flat_map(|i| [(i % 20) as f32 / 10.0 - 0.95, (i / 20) as f32 / 10.0 - 0.95]);
    let points: Vec<f32> = points.collect();
    let labels = points.chunks(2).map(|p| u32::from(p[0] + p[1] > 0.05));
    let labels = labels.collect();
    let data = Dataset::classes(points, 2, labels).unwrap();
    let net = Mlp::builder(2).dense(32).relu().dense(2).seed(2);
    let mut net = net.build().unwrap();
    let before = net.snapshot();
    let settings = || {
        TrainConfig::default()
            .batch_size(32)
            .optimizer(Sgd::new(7.0))
    };
    let sweep = RateSweep::default().range(1e-5, 100.0).steps(120);
    let curve = net.find_learning_rate(&data, &settings(), sweep).unwrap();
    assert_eq!(net.parameters(), {
        let mut other = net.clone();
        other.restore(&before).unwrap();
        other.parameters().to_vec()
    });
    assert_eq!(net.progress.state.step, 0);
    // Equal factors from the first rate on; the end is an explosion.
    let rates: Vec<f32> = curve
        .points
        .iter()
        .map(|point| point.learning_rate)
        .collect();
    assert_eq!(rates[0], 1e-5);
    let factor = 1e7f32.powf(1.0 / 119.0);
    for pair in rates.windows(2) {
        assert!((pair[1] / pair[0] / factor - 1.0).abs() < 1e-4, "{pair:?}");
    }
    assert!(curve.exploded && rates.len() < 120);
    let rate = curve.suggestion.unwrap();
    assert!((1e-3..10.0).contains(&rate), "{rate}: {curve:?}");
    // With that rate, more is learned in a few epochs than with one a thousand times lower.
    let mut loss = |rate: f32| {
        net.restore(&before).unwrap();
        let settings = settings().optimizer(Sgd::new(rate)).max_epochs(20);
        net.fit(&data, &settings).unwrap().loss()
    };
    assert!(loss(rate) < loss(rate / 1000.0));
    // The same bits again, whatever the threads.
    net.restore(&before).unwrap();
    for threads in [1, 2] {
        let again = net.find_learning_rate(&data, &settings().threads(threads), sweep);
        assert_eq!(again.unwrap(), curve);
    }
}

#[test]
fn smoothed_losses_are_means_that_favour_the_newest() {
    let net = small().build().unwrap();
    let sweep = RateSweep::default()
        .range(1e-7, 1e-6)
        .steps(5)
        .smoothing(0.5);
    let settings = TrainConfig::default()
        .batch_size(2)
        .optimizer(Sgd::new(1.0));
    let curve = net.find_learning_rate(&xor(), &settings, sweep).unwrap();
    assert_eq!((curve.points.len(), curve.exploded), (5, false));
    for (i, point) in curve.points.iter().enumerate() {
        let weights = (0..=i).map(|j| 0.5f64.powi((i - j) as i32));
        let total: f64 = weights.clone().sum();
        let losses = curve.points.iter().map(|point| f64::from(point.loss));
        let mean: f64 = weights.zip(losses).map(|(w, loss)| w * loss).sum();
        assert!((f64::from(point.smoothed) - mean / total).abs() < 1e-6);
    }
    let plain = net.find_learning_rate(&xor(), &settings, sweep.smoothing(0.0));
    assert!(
        plain
            .unwrap()
            .points
            .iter()
            .all(|point| point.smoothed == point.loss)
    );
}

#[test]
fn a_sweep_goes_with_a_loss_of_ones_own_and_ends_where_numbers_do() {
    let net = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
    let net = net.build().unwrap();
    let data = Dataset::values(vec![1e18, -1e18], 1, vec![0.0, 0.0], 1).unwrap();
    let settings = TrainConfig::default().optimizer(Sgd::new(1.0));
    let curve = net
        .find_learning_rate(&data, &settings, RateSweep::default())
        .unwrap();
    assert!(curve.exploded && curve.points.len() < 100);
    let own = settings.loss_fn(|_| -1.0);
    let curve = net
        .find_learning_rate(&data, &own, RateSweep::default())
        .unwrap();
    assert!(curve.points.iter().all(|point| point.smoothed == -1.0));
    assert_eq!((curve.points.len(), curve.suggestion), (100, None));
}

#[test]
fn sweeps_out_of_range_are_refused() {
    let net = small().build().unwrap();
    let default = RateSweep::default();
    for (sweep, name) in [
        (default.range(0.0, 1.0), "sweep: range"),
        (default.range(-1.0, 1.0), "sweep: range"),
        (default.range(1.0, 1.0), "sweep: range"),
        (default.range(1.0, f32::INFINITY), "sweep: range"),
        (default.range(f32::NAN, 1.0), "sweep: range"),
        (default.steps(4), "sweep: steps"),
        (default.smoothing(1.0), "sweep: smoothing"),
        (default.smoothing(-0.5), "sweep: smoothing"),
    ] {
        let error = net
            .find_learning_rate(&xor(), &config(), sweep)
            .unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let wrong = config().batch_size(0);
    let error = net.find_learning_rate(&xor(), &wrong, default).unwrap_err();
    assert!(error.to_string().starts_with("batch_size"), "{error}");
}

fn widths_and_rates() -> Space {
    Space::new()
        .values("width", [2.0, 16.0])
        .values("learning_rate", [1e-6, 0.05])
}

fn search(settings: Search, threads: usize) -> SearchReport {
    settings
        .run(&spiral(60), |point| {
            let net = Mlp::builder(2).dense(point.whole("width")?).tanh().dense(2);
            let adam = Adam::new(point.get("learning_rate")? as f32);
            Ok((
                net.seed(3),
                config().optimizer(adam).max_epochs(40).threads(threads),
            ))
        })
        .unwrap()
}

#[test]
fn a_grid_is_ranked_by_its_mean_and_always_the_same() {
    let grid = widths_and_rates().grid().unwrap();
    let names: Vec<String> = grid.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "width 2, learning_rate 0.000001",
            "width 2, learning_rate 0.05",
            "width 16, learning_rate 0.000001",
            "width 16, learning_rate 0.05",
        ]
    );
    let settings = Search::new(grid).folds(3).seed(5);
    let report = search(settings.clone(), 1);
    assert_eq!(report, search(settings.clone(), 2));
    assert_eq!(report.best().point.to_string(), names[3]);
    assert_eq!(report.trials.len(), 4);
    assert!(
        report
            .trials
            .is_sorted_by(|a, b| a.loss.mean <= b.loss.mean)
    );
    for trial in &report.trials {
        let accuracy = trial.accuracy.as_ref().unwrap();
        for score in [&trial.loss, accuracy] {
            assert_eq!(score.folds.len(), 3);
            let mean = score.folds.iter().map(|&s| f64::from(s)).sum::<f64>() / 3.0;
            let squares = score.folds.iter().map(|&s| (f64::from(s) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / 2.0).sqrt();
            assert!((score.mean - mean).abs() < 1e-12);
            assert!((score.deviation - deviation).abs() < 1e-12);
        }
    }
    // Each score is that of a training of its own on the other parts.
    let data = spiral(60);
    let fold = &data.data().folds(3, 5).unwrap()[1];
    let mut net = Mlp::builder(2)
        .dense(16)
        .tanh()
        .dense(2)
        .seed(3)
        .build()
        .unwrap();
    let settings_of_best = config().optimizer(Adam::new(0.05)).max_epochs(40);
    net.fit(&data.select(&fold.train).unwrap(), &settings_of_best)
        .unwrap();
    let score = net.evaluate(&data.select(&fold.test).unwrap()).unwrap();
    assert_eq!(report.best().loss.folds[1], score.loss);
    let by_accuracy = search(settings.by_accuracy(), 1);
    let means = by_accuracy
        .trials
        .iter()
        .map(|t| t.accuracy.as_ref().unwrap().mean);
    assert!(means.is_sorted_by(|a, b| a >= b));
    let text = report.to_string();
    assert_eq!(text.lines().count(), 4);
    assert!(text.lines().next().unwrap().ends_with(&names[3]), "{text}");
}

#[test]
fn random_points_lie_in_their_ranges_and_follow_the_seed() {
    let space = Space::new()
        .values("a", [1.0, 2.0, 4.0])
        .uniform("b", -1.0..3.0)
        .log_uniform("c", 1e-4..1.0);
    let points = space.random(3000, 1).unwrap();
    assert_eq!(points, space.random(3000, 1).unwrap());
    assert_ne!(points, space.random(3000, 2).unwrap());
    // A longer draw begins with the shorter one.
    assert_eq!(points[..10], space.random(10, 1).unwrap());
    let share = |name: &str, good: &dyn Fn(f64) -> bool| {
        let count = points
            .iter()
            .filter(|point| good(point.get(name).unwrap()))
            .count();
        count as f64 / 3000.0
    };
    assert_eq!(share("b", &|b| (-1.0..3.0).contains(&b)), 1.0);
    assert_eq!(share("c", &|c| (1e-4..1.0).contains(&c)), 1.0);
    // Standard deviations are below 0.01.
    for value in [1.0, 2.0, 4.0] {
        assert!((share("a", &|a| a == value) - 1.0 / 3.0).abs() < 0.04);
    }
    assert!((share("b", &|b| b < 0.0) - 0.25).abs() < 0.04);
    assert!((share("c", &|c| c < 1e-2) - 0.5).abs() < 0.04);
}

#[test]
fn a_training_that_diverges_is_last_and_values_are_scored_too() {
    let x: Vec<f32> = (0..40u8).map(|i| f32::from(i) / 20.0 - 1.0).collect();
    let y = x.iter().map(|x| 3.0 * x).collect();
    let data = Dataset::values(x, 1, y, 1).unwrap();
    let grid = Space::new().values("rate", [1e30, 0.1]).grid().unwrap();
    let report = Search::new(grid)
        .run(&data, |point| {
            let net = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
            Ok((net, config().optimizer(Sgd::new(point.get("rate")? as f32))))
        })
        .unwrap();
    assert_eq!(report.best().point.get("rate").unwrap(), 0.1);
    assert_eq!(report.best().loss.folds.len(), 5);
    assert_eq!(report.trials[1].loss.mean, f64::INFINITY);
    assert!(report.trials.iter().all(|trial| trial.accuracy.is_none()));
}

#[test]
fn a_fold_of_no_weight_is_refused() {
    let (data, search) = (
        spiral(20),
        Search::new(Space::new().values("a", [1.0]).grid().unwrap()),
    );
    let folds = data.data().folds(4, 0).unwrap();
    let mut weights = [1.0; 20];
    for &row in &folds[2].test {
        weights[row] = 0.0;
    }
    let run = |weights: &[f32]| {
        let weighted = data.data().weighted(weights).unwrap();
        let search = search.clone().folds(4);
        search.run(weighted, |_| Ok((small(), config().max_epochs(1))))
    };
    let expected = "search: expected a sample of a weight above 0 in every fold, got a fold of 5";
    assert_eq!(
        message(run(&weights)),
        format!("{expected} left out, all of weight 0")
    );
    weights = weights.map(|weight| 1.0 - weight);
    let first = message(run(&weights));
    assert!(first.starts_with(expected), "{first}");
    weights[folds[0].test[0]] = 0.5;
    weights[folds[1].test[0]] = 0.5;
    weights[folds[3].test[0]] = 0.5;
    let report = run(&weights).unwrap();
    assert!(report.best().loss.folds.iter().all(|loss| loss.is_finite()));
    // Of such samples alone nothing can be said.
    let mut buffer = crate::BatchBuffer::new(data.data().weighted(&weights).unwrap(), 5).unwrap();
    let none: Vec<usize> = (0..20).filter(|&row| weights[row] == 0.0).take(5).collect();
    let none = buffer.gather(data.data().weighted(&weights).unwrap(), &none);
    assert_eq!(
        message(small().build().unwrap().evaluate(none.unwrap())),
        "weights: expected finite numbers of at least 0, not all 0, got 0 in row 0"
    );
}

#[test]
fn batch_norm_is_searched_with_the_last_batch_left_out() {
    // Folds of 16 and 17: batches of 8 leave none, or one.
    let data = spiral(33);
    let points = Space::new().values("a", [1.0]).grid().unwrap();
    let run = |drop_last| {
        let search = Search::new(points.clone()).folds(2);
        let report = search.run(&data, |_| {
            let net = Mlp::builder(2).dense(4).batch_norm().tanh().dense(2);
            let settings = config().batch_size(8).max_epochs(1);
            Ok((net, settings.drop_last(drop_last)))
        });
        report.map(|report| report.best().loss.folds.len())
    };
    assert_eq!(
        message(run(false)),
        "a 1: layer 1: batch normalisation in training: expected batches of at least 2 rows, got \
         one of 1; another batch_size, or drop_last where the last batch of an epoch is short, avoids it"
    );
    assert_eq!(run(true), Ok(2));
}

#[test]
fn searches_of_nothing_are_refused() {
    let empty = Space::new();
    let twice = Space::new().values("a", [1.0]).uniform("a", 0.0..1.0);
    for (space, got) in [
        (empty, "expected at least one setting, got none"),
        (
            twice,
            "expected settings of different names, got two named \"a\"",
        ),
        (
            Space::new().values("a", []),
            "expected at least one value, got none for \"a\"",
        ),
        (
            Space::new().values("a", [f64::NAN]),
            "expected finite values, got NaN for \"a\"",
        ),
        (
            Space::new().uniform("a", 1.0..1.0),
            "expected a range from a finite number to a greater one, got 1.0..1.0 for \"a\"",
        ),
        (
            Space::new().uniform("a", -1e308..1e308),
            "expected a range whose length is finite, got -1e308..1e308 for \"a\"",
        ),
        (
            Space::new().log_uniform("a", 0.0..1.0),
            "expected a range above 0, for its logarithm, got 0.0..1.0 for \"a\"",
        ),
    ] {
        for error in [space.grid().unwrap_err(), space.random(3, 0).unwrap_err()] {
            assert_eq!(error.to_string(), format!("search: {got}"));
        }
    }
    let range = Space::new().uniform("a", 0.0..1.0);
    assert!(matches!(range.grid(), Err(MlpError::Search { .. })));
    assert!(matches!(range.random(0, 0), Err(MlpError::Search { .. })));
    let huge = (0..7).fold(Space::new(), |space, i| {
        space.values(&i.to_string(), (0..10).map(f64::from))
    });
    let error = huge.grid().unwrap_err().to_string();
    assert_eq!(error, "search: expected no more than 2^20 points, got more");

    let points = || Space::new().values("a", [0.5]).grid().unwrap();
    let run = |search: Search, loss| {
        let data = spiral(20);
        let run = search.run(&data, |point| {
            point.get("a")?;
            Ok((small().loss(loss), config().max_epochs(1)))
        });
        run.unwrap_err()
    };
    let cross_entropy = Loss::SoftmaxCrossEntropy;
    let error = run(Search::new(Vec::new()), cross_entropy).to_string();
    assert_eq!(error, "search: expected at least one point, got none");
    for folds in [0, 1, 21] {
        let error = run(Search::new(points()).folds(folds), cross_entropy);
        assert!(
            matches!(error, MlpError::Data(DataError::Setting { .. })),
            "{error}"
        );
    }
    let error = run(Search::new(points()), Loss::MeanSquaredError).to_string();
    assert!(
        error.starts_with("a 0.5: targets for mean squared error"),
        "{error}"
    );
    let data = spiral(20);
    let unknown = Search::new(points()).run(&data, |point| {
        point.get("b")?;
        Ok((small(), config()))
    });
    let error = unknown.unwrap_err().to_string();
    assert_eq!(
        error,
        "a 0.5: search: expected a setting of the space, got \"b\""
    );
    let half = Search::new(points()).run(&data, |point| {
        point.whole("a")?;
        Ok((small(), config()))
    });
    let error = half.unwrap_err().to_string();
    assert!(
        error.contains("a whole number from 0 on, got 0.5"),
        "{error}"
    );
    let values = Dataset::values(vec![0.0; 12], 1, vec![0.0; 12], 1).unwrap();
    let ranked = Search::new(points()).by_accuracy().run(&values, |_| {
        let net = Mlp::builder(1).dense(1).loss(Loss::MeanSquaredError);
        Ok((net, config().max_epochs(1)))
    });
    let error = ranked.unwrap_err().to_string();
    assert!(
        error.contains("networks that tell classes apart"),
        "{error}"
    );
}
