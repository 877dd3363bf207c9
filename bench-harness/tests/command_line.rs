//! What scripts rely on: lines of JSON with these fields, and exit codes. No test looks at a time.

use std::process::{Command, Output};

use serde_json::{Map, Value};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-harness");

fn run(line: &str) -> Output {
    let words = line.split(' ').map(|word| match word {
        "PROGRAM" => PROGRAM,
        word => word,
    });
    let output = Command::new(PROGRAM).args(words).output();
    output.expect("the program starts")
}

/// The objects on stdout, one a line.
fn objects(line: &str) -> Vec<Map<String, Value>> {
    let output = run(line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

/// Holds the objects of a run against what each has to have.
fn check(line: &str, count: usize, fields: &[&str]) -> Vec<Map<String, Value>> {
    let objects = objects(line);
    assert_eq!(objects.len(), count, "{line}");
    for object in &objects {
        assert_eq!(object["schema_version"], 1, "{line}");
        for field in fields {
            assert!(
                object.contains_key(*field),
                "{line}: no {field} in {object:?}"
            );
        }
    }
    objects
}

/// What every timed case reports.
const TIMED: [&str; 16] = [
    "suite",
    "impl",
    "isa",
    "threads",
    "precision",
    "precision_asked",
    "repeats",
    "median_ns",
    "min_ns",
    "mad_ns",
    "flop",
    "gflop_per_s",
    "peak_gflop_per_s",
    "fraction_of_peak",
    "clock_ghz",
    "peak_spread",
];

#[test]
fn products_are_reported() {
    let line = "gemm --m 5 --n 6 --k 7 --op tn --json --precision high";
    let object = &check(line, 1, &TIMED)[0];
    assert_eq!(object["impl"], "ours");
    assert_eq!(object["flop"], 420.0);
    assert_eq!(object["precision_asked"], "high");
    assert_eq!(object["precision"], "ieee");
    for (field, value) in [("m", 5), ("n", 6), ("k", 7)] {
        assert_eq!(object[field], value);
    }
}

#[test]
fn products_with_packed_weights_are_reported() {
    for op in ["nn", "nt", "tn"] {
        let line = format!("gemm --m 20 --n 30 --k 40 --op {op} --prepacked --json");
        let object = &check(&line, 1, &TIMED)[0];
        assert_eq!(object["prepacked"], true, "{op}");
    }
    let object = &check("gemm --m 5 --n 6 --k 7 --json", 1, &TIMED)[0];
    assert_eq!(object["prepacked"], false);
}

#[test]
fn peers_come_with_an_interval_and_the_noise() {
    let objects = objects("gemm --m 8 --n 8 --k 8 --peers --json");
    assert!(objects.len() >= 2);
    for object in &objects {
        let is_ours = object["impl"] == "ours";
        for field in ["time_over_ours", "time_over_ours_low", "noise", "verdict"] {
            assert_eq!(object[field].is_null(), is_ours, "{field}");
        }
    }
}

#[test]
fn networks_are_reported() {
    let network = "--layers 5,4,3 --batch 2 --json";
    let both = [&TIMED[..], &["samples_per_s", "allocations_per_step"]].concat();
    for line in [
        format!("train {network} --optimizer sgd"),
        format!("infer {network}"),
    ] {
        let object = &check(&line, 1, &both)[0];
        assert_eq!(object["layers"], "5,4,3");
        assert_eq!(object["allocations_per_step"], 0.0);
    }
}

#[test]
fn two_builds_are_compared() {
    let line = "compare PROGRAM PROGRAM --launches 2 --pairs 2 --json -- infer --layers 5,4,3";
    let output = run(line);
    // Four pairs say little, so either verdict may come.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let object: Map<String, Value> = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(object["suite"], "compare");
    assert_eq!(object["case"], "infer --layers 5,4,3");
    assert_eq!(
        (&object["launches"], &object["pairs"]),
        (&2.into(), &4.into())
    );
    assert_eq!(object["verdict"] == "slower", code == Some(3));
}

#[test]
fn growth_is_reported_for_each_pass() {
    let fields = [
        "exponent", "low", "high", "sweep", "points", "threads", "isa",
    ];
    // One round: the exponents of times mean nothing, that of memory does.
    let mut objects = objects("complexity --rounds 1 --json");
    // Which caches the operands fit in depends on the machine.
    objects.retain(|object| {
        !object["sweep"]
            .as_str()
            .is_some_and(|s| s.starts_with("in "))
    });
    assert_eq!(objects.len(), 15);
    for object in &objects {
        for field in fields {
            assert!(object.contains_key(field), "no {field} in {object:?}");
        }
    }
    let of = |pass: &str, against: &str| {
        let found = objects.iter();
        found
            .filter(|object| object["pass"] == pass && object["against"] == against)
            .count()
    };
    assert_eq!(of("forward", "flop"), 4);
    assert_eq!(of("backward", "flop"), 4);
    // An update takes the same for every batch.
    assert_eq!(of("update", "flop"), 3);
    assert_eq!(of("memory", "sum_d"), 4);
    for object in objects.iter().filter(|object| object["pass"] == "memory") {
        let exponent = object["exponent"].as_f64().expect("a number");
        assert!((0.85..1.02).contains(&exponent), "{object:?}");
    }
}

#[test]
fn a_record_is_made_compared_and_shown() {
    let directory = format!("{}/records", env!("CARGO_TARGET_TMPDIR"));
    let made = run(&format!(
        "run --save tiny --records {directory} --budget-ms 1 -- infer --layers 5,4,3 --batch 2"
    ));
    assert!(made.status.success(), "{made:?}");
    let compared = run(&format!("compare tiny tiny --records {directory}"));
    let text = String::from_utf8(compared.stdout).expect("text");
    assert!(text.starts_with("not paired"), "{text}");
    assert!(text.contains("no difference beyond the noise"), "{text}");
    assert!(compared.status.success());
    let tables = run(&format!("tables tiny --records {directory}"));
    let text = String::from_utf8(tables.stdout).expect("text");
    assert!(text.contains("| 5,4,3 x2, 1 T |"), "{text}");
}

#[test]
fn a_table_of_networks_is_run() {
    let line = "infer --suite small --budget-ms 1 --json";
    let objects = check(line, 7, &TIMED);
    let names: Vec<_> = objects.iter().map(|object| &object["network"]).collect();
    assert_eq!(names, ["A", "B", "C", "D", "E", "F", "G"]);
}

#[test]
fn networks_in_use_have_one_sample_and_many() {
    let objects = check("infer --suite serving --budget-ms 1 --json", 14, &TIMED);
    for batch in [1, 64] {
        let of_batch = objects.iter().filter(|object| object["batch"] == batch);
        assert_eq!(of_batch.count(), 7, "{batch}");
    }
}

#[test]
fn the_machine_is_described() {
    let objects = objects("peak --json");
    let of = |kind: &str| {
        let found = objects.iter().filter(|object| object["kind"] == kind);
        found.collect::<Vec<_>>()
    };
    assert_eq!(of("cpu").len(), 1);
    assert_eq!(of("amx").len(), 1);
    assert!(of("amx")[0]["reason"].is_string());
    let tiles = of("tile_multiply").len();
    assert_eq!(tiles > 0, of("amx")[0]["state"] == "present");
    for (kind, figure, least) in [
        ("multiply_add", "peak_gflop_per_s", 1),
        ("bandwidth", "gb_per_s", 9),
    ] {
        assert!(of(kind).len() >= least, "{kind}");
        for object in of(kind) {
            let number = |field: &str| object[field].as_f64().expect("a number");
            assert!(number("min") <= number(figure), "{object:?}");
            assert!(number(figure) <= number("max"), "{object:?}");
            assert!(object.contains_key("mad") && object.contains_key("clock_ghz"));
        }
    }
}

#[test]
fn the_data_of_an_epoch_are_a_part_of_it() {
    let fields = ["shuffle_ns", "gather_ns", "step_ns", "samples", "epochs"];
    // The largest takes seconds for each step.
    for object in check("epoch --networks CD --budget-ms 1 --json", 2, &fields) {
        let share = object["data_share"].as_f64().expect("a number");
        assert!(0.0 < share && share < 1.0, "{object:?}");
    }
}

#[test]
fn every_step_of_a_latency_counts() {
    let line = "latency --steps 2000 --layers 5,4,3 --batch 2 --json";
    let object = &check(line, 1, &["p50_ns", "p99_99_ns", "peak_rss_bytes"])[0];
    assert_eq!(object["steps"], 2000);
    let ns = |field: &str| object[field].as_u64().expect("a number");
    assert!(ns("min_ns") <= ns("p50_ns") && ns("p50_ns") <= ns("p99_ns"));
    assert!(ns("p99_ns") <= ns("max_ns"));
    let bins = object["histogram"].as_array().expect("bins").iter();
    let steps = bins.map(|bin| bin["steps"].as_u64().expect("a number"));
    assert_eq!(steps.sum::<u64>(), 2000);
}

#[test]
fn a_report_is_drawn_from_a_record() {
    let directory = format!("{}/report", env!("CARGO_TARGET_TMPDIR"));
    let made = run(&format!(
        "run --save small --records {directory} --budget-ms 1 -- gemm --suite squares --op nn"
    ));
    assert!(made.status.success(), "{made:?}");
    let drawn = run(&format!(
        "report --from small --records {directory} --out {directory}/out"
    ));
    assert!(drawn.status.success(), "{drawn:?}");
    let page = std::fs::read_to_string(format!("{directory}/out/index.html")).expect("a page");
    assert!(page.contains("Products") && page.contains("<svg class=\"wide\""));
    assert!(!page.contains("http:") || page.contains("http://www.w3.org/2000/svg"));
    for file in ["peers.svg", "peers.png"] {
        let file = std::fs::metadata(format!("{directory}/out/{file}")).expect("a plot");
        assert!(file.len() > 1_000);
    }
}

/// Whether the process catches the signal that Ctrl-C sends.
#[cfg(target_os = "linux")]
fn listens(pid: u32) -> bool {
    const SIGINT_BIT: u64 = 1 << (2 - 1);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & SIGINT_BIT != 0)
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_measurement_says_what_was_measured() {
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let steps: u64 = 200_000_000;
    let line = format!("latency --steps {steps} --layers 5,4,3 --batch 2 --json");
    let child = Command::new(PROGRAM)
        .args(line.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    while !listens(child.id()) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never listens"
        );
        sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let object: Map<String, Value> = serde_json::from_slice(&output.stdout).expect("an object");
    let done = object["steps"].as_u64().expect("a number");
    assert!(0 < done && done < steps, "{done}");
}

#[test]
fn errors_are_one_line_however_much_is_asked_for() {
    let output = Command::new(PROGRAM)
        .args(["threads", "--threads", "1"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program starts");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(
        errors.starts_with("error: ") && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn vector_operations_are_reported() {
    let fields = [
        "op",
        "rows",
        "cols",
        "isa",
        "median_ns",
        "elements_per_ns",
        "gb_per_s",
    ];
    let objects = check("vector --budget-ms 1 --json", 94, &fields);
    for object in &objects {
        let ulp = object["max_ulp"].as_f64();
        assert!(ulp.is_none_or(|ulp| ulp < 8.0), "{object:?}");
    }
    for op in [
        "relu",
        "tanh_backward",
        "gelu",
        "softplus_backward",
        "softmax",
        "softmax_cross_entropy",
        "layer_norm",
        "batch_norm_backward",
        "attention",
        "attention_backward",
        "sgd",
        "nesterov",
        "adamw",
        "rmsprop",
    ] {
        let of_op: Vec<_> = objects.iter().filter(|o| o["op"] == op).collect();
        assert_eq!(of_op.len(), 3, "{op}");
        for object in of_op {
            let has_products = object.contains_key("gflop_per_s");
            assert_eq!(has_products, op.starts_with("attention"), "{op}");
        }
    }
}

#[test]
fn ways_of_doing_the_same_are_compared() {
    let fields = [
        "first_median_ns",
        "second_median_ns",
        "ratio",
        "noise",
        "verdict",
    ];
    // Three activations of each shape, and eight epilogues.
    check("fused --budget-ms 1 --json", 15 + 8, &fields);
    let line = "threads --threads 2 --up-to 262144 --budget-ms 1 --json";
    let objects = objects(line);
    let (ensembles, sweep): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|object| object["suite"] == "ensemble");
    // Small networks, and small products in three orientations.
    assert_eq!(sweep.len(), 11 + 15, "{line}");
    for field in fields {
        assert!(sweep.iter().all(|object| object.contains_key(field)));
    }
    assert_eq!(ensembles.len(), 4, "{line}");
    assert!(ensembles.iter().all(|object| object["members"] == 2));
    assert!(objects.iter().all(|object| object["threads"] == 2));
}

#[test]
fn mistakes_are_named() {
    for (line, words) in [
        ("compare no-such-file PROGRAM", "no-such-file"),
        ("compare /bin/cat PROGRAM", "/bin/cat"),
        (
            "compare PROGRAM PROGRAM -- train --layers 7",
            "at least two widths",
        ),
        ("threads --threads 1", "at least 2"),
        ("epoch --networks xyz", "from A to H"),
        ("report --out /tmp --from no-such-record", "no-such-record"),
        ("gemm --m 0 --n 1 --k 1", "at least 1"),
    ] {
        let output = run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line}");
        assert!(errors.contains(words), "{line}: {errors}");
    }
}
