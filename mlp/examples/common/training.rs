//! One training of a network with one hidden layer, and what came of it.

use std::error::Error;
use std::ops::ControlFlow;

use mlp::{Adam, Dataset, EpochReport, Mlp, TrainConfig};

use super::progress::Progress;

/// What is trained, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    /// Units of the hidden layer; ReLU follows.
    pub(crate) hidden: usize,
    /// Step size of Adam, the same from the first step to the last.
    pub(crate) learning_rate: f32,
    /// Samples of a step.
    pub(crate) batch_size: usize,
    /// Passes over the training samples.
    pub(crate) epochs: usize,
    /// The most threads; 0 for all.
    pub(crate) threads: usize,
}

/// What came of a training.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// One report for each epoch.
    pub(crate) history: Vec<EpochReport>,
    /// Instruction set that the kernels used.
    pub(crate) isa: mlp::Isa,
    /// From the first step to the last, the looks at the test samples included.
    pub(crate) seconds: f64,
    /// Training samples per second, the looks at the test samples left out.
    pub(crate) samples_per_second: f64,
    /// Mean loss over the test samples.
    pub(crate) test_loss: f64,
    labels: Vec<u32>,
    answers: Vec<u32>,
}

impl Training {
    /// Trains on one set and tests on another, with weights and orders drawn from `seed`.
    ///
    /// The test samples are looked at after each epoch for the chart; nothing is chosen by them.
    pub(crate) fn run(
        &self,
        title: &str,
        train: &Dataset,
        test: &Dataset,
        seed: u64,
    ) -> Result<Outcome, Box<dyn Error>> {
        let labels = test.labels().ok_or("the test samples have no labels")?;
        let n_classes = train.n_classes().max(test.n_classes()).unwrap_or(0);
        let mut net = Mlp::builder(train.n_features())
            .dense(self.hidden)
            .relu()
            .dense(n_classes)
            .seed(seed)
            .build()?;
        let progress = Progress::new(title, self.epochs);
        let config = TrainConfig::default()
            .optimizer(Adam::new(self.learning_rate))
            .batch_size(self.batch_size)
            .max_epochs(self.epochs)
            .threads(self.threads)
            .validation(test)
            .on_epoch(|epoch| {
                progress.show(epoch);
                ControlFlow::Continue(())
            });
        let report = net.fit(train, &config)?;
        progress.finish();
        Ok(Outcome {
            isa: net.isa(),
            seconds: report.seconds,
            samples_per_second: report.samples_per_second,
            test_loss: net.evaluate(test)?.loss.into(),
            labels: labels.to_vec(),
            answers: net.predict(test)?,
            history: report.history,
        })
    }
}

impl Outcome {
    /// True class and answer of each test sample.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u32, u32)> {
        self.labels
            .iter()
            .copied()
            .zip(self.answers.iter().copied())
    }

    /// Share of the test samples whose class was found, 0 to 1.
    pub(crate) fn accuracy(&self) -> f64 {
        let found = self.answers().filter(|(label, answer)| label == answer);
        found.count() as f64 / self.labels.len() as f64
    }
}
