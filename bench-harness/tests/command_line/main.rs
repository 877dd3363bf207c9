//! What scripts rely on: lines of JSON with these fields, and exit codes. No test looks at a time.

mod common;
mod mistakes;

use serde_json::{Map, Value};

use common::{TIMED, check, objects, run};

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
    let object = &check("gemm --m 5 --n 6 --k 7 --precision ieee --json", 1, &TIMED)[0];
    assert_eq!(object["prepacked"], false);
}

#[test]
fn every_precision_is_timed_or_said_to_run_the_same() {
    let objects = objects("gemm --m 5 --n 6 --k 7 --json");
    let alike = objects.iter().map(|object| {
        let alike = object["asked_alike"].as_array().expect("a list");
        assert!(alike.contains(&object["precision_asked"]), "{object:?}");
        alike.len()
    });
    assert_eq!(alike.sum::<usize>(), 4);
    let is_one = |line: &str| check(line, 1, &TIMED)[0].get("asked_alike").is_none();
    assert!(is_one("gemm --m 5 --n 6 --k 7 --precision high --json"));
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
fn cases_are_listed_without_being_timed() {
    let objects = objects("cases train --suite networks --optimizer sgd --threads 2");
    let names: Vec<_> = objects.iter().map(|object| &object["network"]).collect();
    assert_eq!(names, ["A", "B", "C", "D", "E", "F", "G", "H"]);
    assert_eq!(common::objects("cases gemm --suite squares").len(), 24);
    let machine = &common::objects("machine")[0];
    assert!(machine["revision"].is_string() && machine["rustc"].is_string());
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
        "exponent",
        "low",
        "high",
        "documented",
        "verdict",
        "sweep",
        "points",
        "threads",
        "isa",
    ];
    // One round: the exponents of times mean nothing, that of memory does.
    let mut objects = objects("complexity --rounds 1 --json");
    // Which caches the operands fit in depends on the machine.
    objects.retain(|object| {
        !object["sweep"]
            .as_str()
            .is_some_and(|s| s.starts_with("in "))
    });
    assert_eq!(objects.len(), 19);
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
    assert_eq!(of("update", "batch"), 1);
    assert_eq!(of("update", "stream"), 3);
    assert_eq!(of("memory", "sum_d"), 4);
    for object in objects.iter().filter(|object| object["pass"] == "memory") {
        let exponent = object["exponent"].as_f64().expect("a number");
        assert!((0.85..1.02).contains(&exponent), "{object:?}");
        let is_near = (exponent - 1.0).abs() < 0.01;
        assert!(!is_near || object["verdict"] == "agrees", "{object:?}");
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
    // One that cannot be made leaves the one that was there.
    let before = std::fs::read(format!("{directory}/tiny.jsonl")).expect("a record");
    let failed = run(&format!(
        "run --save tiny --records {directory} -- gemm --m 0 --n 1 --k 1"
    ));
    assert!(!failed.status.success());
    let after = std::fs::read(format!("{directory}/tiny.jsonl")).expect("a record");
    assert_eq!(before, after);
    // Lines of another program keep what they say of it.
    let kept = run(&format!(
        "run --save kept --records {directory} --lines {directory}/tiny.jsonl"
    ));
    assert!(kept.status.success(), "{kept:?}");
    let kept = std::fs::read(format!("{directory}/kept.jsonl")).expect("a record");
    assert_eq!(before, kept);
    let tables = run(&format!("tables tiny --records {directory}"));
    let text = String::from_utf8(tables.stdout).expect("text");
    assert!(text.contains("| 5,4,3 x2, 1 T |"), "{text}");
}

#[test]
fn a_slower_case_of_a_record_is_found_beside_a_wild_one() {
    let directory = format!("{}/made-up", env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let write = |name: &str, fraction: f64| {
        let mut text = "{\"schema_version\":1,\"suite\":\"machine\",\"cpu\":\"Fast\",\"cores\":2,\
                        \"revision\":\"r\",\"rustc\":\"c\",\"unix_seconds\":9}"
            .to_owned();
        for (pass, wild) in [(1, 0.40), (2, 0.83)] {
            for (case, fraction) in [("calm", fraction), ("wild", wild)] {
                let (low, high) = (fraction - 0.01, fraction + 0.01);
                text += &format!(
                    "\n{{\"schema_version\":1,\"pass\":{pass},\"suite\":\"train\",\"case\":\"{case}\",\"isa\":\"avx2\",\
                     \"threads\":1,\"median_ns\":1.0,\"gflop_per_s\":1.0,\
                     \"fraction_of_peak\":{fraction},\"fraction_low\":{low},\
                     \"fraction_high\":{high}}}"
                );
            }
        }
        std::fs::write(format!("{directory}/{name}.jsonl"), text).expect("a record");
    };
    write("old", 0.80);
    write("new", 0.72);
    for (order, code) in [("old new", 3), ("new old", 0), ("old old", 0)] {
        let output = run(&format!("compare {order} --records {directory}"));
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(code), "{order}: {text}");
        let wild = text.lines().find(|line| line.starts_with("wild"));
        let is_quiet = wild.is_some_and(|line| line.contains("no difference"));
        assert!(is_quiet, "{order}: {text}");
    }
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
    // What an earlier report had and this one has not, and what it has.
    std::fs::create_dir_all(format!("{directory}/out")).expect("a directory");
    for name in ["latency.svg", "latency.png", "notes.svg"] {
        std::fs::write(format!("{directory}/out/{name}"), "old").expect("a file");
    }
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
    let is_there = |name: &str| std::path::Path::new(&format!("{directory}/out/{name}")).exists();
    assert!(!is_there("latency.svg") && !is_there("latency.png") && is_there("notes.svg"));
    let machine = String::from_utf8(run("machine").stdout).expect("text");
    std::fs::write(format!("{directory}/bare.jsonl"), machine).expect("a file");
    let bare = run(&format!(
        "report --from bare --records {directory} --out {directory}/bare"
    ));
    let errors = String::from_utf8_lossy(&bare.stderr);
    assert!(
        !bare.status.success() && errors.contains("nothing to draw"),
        "{errors}"
    );
}

#[test]
fn the_calls_of_a_step_have_times_with_a_spread() {
    let line = "explain --layers 5,4,3 --batch 2 --budget-ms 1 --json";
    let objects = objects(line);
    let (steps, calls): (Vec<_>, Vec<_>) = objects.iter().partition(|o| o["call"].is_null());
    assert_eq!(steps.len(), 1);
    // Two layers forward, the loss, two gradients of weights and biases, one of data, an update.
    assert!(calls.len() >= 7, "{objects:?}");
    for object in &objects {
        let number = |field: &str| object[field].as_f64().expect("a number");
        assert!(number("min") <= number("median_ns") && number("median_ns") <= number("max"));
        assert!(number("predicted_ns") > 0.0 && number("peak_gflop_per_s") > 0.0);
        assert_eq!(object["repeats"], 3);
    }
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
        let ulp = |field: &str| object[field].as_f64().expect("a number");
        assert!(ulp("max_ulp") >= ulp("max_ulp_of_operands"), "{object:?}");
        assert!(ulp("max_ulp_of_operands") < 32.0, "{object:?}");
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
        "peak_gflop_per_s",
        "clock_ghz",
    ];
    // Three activations of each shape, and eight epilogues.
    check("fused --budget-ms 1 --json", 15 + 8, &fields);
    let line = "threads --threads 2 --up-to 262144 --budget-ms 1 --json";
    let objects = objects(line);
    let (ensembles, sweep): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|object| object["suite"] == "ensemble");
    // Small networks, and small products in three orientations; of the ensembles A.
    assert_eq!(sweep.len(), 11 + 15, "{line}");
    for field in fields {
        assert!(sweep.iter().all(|object| object.contains_key(field)));
    }
    assert_eq!(ensembles.len(), 1, "{line}");
    assert!(ensembles.iter().all(|object| object["members"] == 2));
    assert!(objects.iter().all(|object| object["threads"] == 2));
}
