use mlp::{Adam, Dataset, EarlyStopping, Mlp, TrainConfig};

fn main() -> Result<(), mlp::MlpError> {
    // Points in the plane: class 1 inside the unit circle, class 0 outside.
    let x: Vec<f32> = (0..800).map(|i| (i as f32 * 0.7).sin() * 1.6).collect();
    let y = x.chunks(2).map(|p| u32::from(p[0] * p[0] + p[1] * p[1] < 1.0)).collect();
    let (train, valid) = Dataset::classes(x, 2, y)?.split(0.75, 42)?;

    let mut net = Mlp::builder(2).dense(32).relu().dense(2).seed(42).build()?;
    let report = net.fit(&train, &TrainConfig::default()
        .optimizer(Adam::new(1e-2)).batch_size(32).max_epochs(60)
        .validation(&valid).early_stopping(EarlyStopping::patience(10).restore_best()))?;
    println!("{report}");
    let classes = net.predict(&valid)?;
    println!("the first sample is of class {}", classes[0]);
    Ok(())
}
