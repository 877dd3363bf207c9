//! Models in files: what is written is read again, and what is not a model is refused by name.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use safetensors::{Dtype, SafeTensors};

use super::{config, small, spiral};
use crate::{
    Adam, AdamW, Init, Loss, Mlp, MlpError, ModelFileError, Optimizer, Precision, ReduceOnPlateau,
    Rmsprop, Sgd,
};

/// A folder of its own for each test, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mlp-save-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).unwrap();
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is no reason to hide why a test failed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn message(error: MlpError) -> String {
    assert!(matches!(error, MlpError::ModelFile(_)), "{error:?}");
    error.to_string()
}

/// A file of safetensors with this header.
fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A file with this text as the description, and no tensors.
fn described(text: &str) -> Vec<u8> {
    let header = serde_json::json!({ "__metadata__": { "mlp": text } });
    file_of(&header.to_string(), &[])
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = Folder::new();
    let builders = [
        small(),
        Mlp::builder(3)
            .dense(5)
            .leaky_relu(0.1)
            .dense(1)
            .sigmoid()
            .loss(Loss::MeanSquaredError),
        Mlp::builder(6)
            .rows(2)
            .dense(4)
            .residual(|block| block.relu().dense(4))
            .concat(|block| block.dense(2))
            .rows(1)
            .dense(3)
            .skip_projected(1),
        Mlp::builder(2)
            .dense(7)
            .relu()
            .dense(4)
            .init(Init::Constant(0.1))
            .seed(u64::MAX),
    ];
    for builder in builders {
        let net = builder.build().unwrap();
        net.save(folder.file()).unwrap();
        let bytes = fs::read(folder.file()).unwrap();
        let again = Mlp::load(folder.file()).unwrap();
        assert_eq!(again.spec(), net.spec());
        assert_eq!(again.parameters(), net.parameters());
        again.save(folder.file()).unwrap();
        assert_eq!(
            fs::read(folder.file()).unwrap(),
            bytes,
            "the same bytes each time"
        );
    }
    assert_eq!(
        folder.names(),
        ["model.safetensors"],
        "nothing else is left"
    );
}

#[test]
fn tensors_have_the_names_and_shapes_of_torch_sequential() {
    let folder = Folder::new();
    let net = small().build().unwrap();
    net.save(folder.file()).unwrap();
    let bytes = fs::read(folder.file()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), Dtype::F32);
            (name.to_owned(), tensor.shape().to_vec())
        })
        .collect();
    shapes.sort();
    let expected = [
        ("0.bias", vec![16]),
        ("0.weight", vec![16, 2]),
        ("2.bias", vec![2]),
        ("2.weight", vec![2, 16]),
    ];
    assert_eq!(
        shapes,
        expected.map(|(name, shape)| (name.to_owned(), shape))
    );
    let weight = tensors.tensor("2.weight").unwrap();
    let first = f32::from_le_bytes(weight.data()[..4].try_into().unwrap());
    assert_eq!(first, *net.weights(1).unwrap().at(0, 0));
}

#[test]
fn weights_of_attention_have_the_names_of_torch() {
    let net = Mlp::builder(6).rows(3).attention(2).rows(1).dense(2);
    let net = net.build().unwrap();
    let layout = net.network.graph.parameters();
    let shapes = layout.iter().map(|p| (p.name.as_str(), p.rows, p.cols));
    // As `state_dict` of a module whose layer 1 is `MultiheadAttention(2, 2)`, before the last layer.
    assert_eq!(
        shapes.take(4).collect::<Vec<_>>(),
        [
            ("1.in_proj_weight", 6, 2),
            ("1.in_proj_bias", 1, 6),
            ("1.out_proj.weight", 2, 2),
            ("1.out_proj.bias", 1, 2),
        ]
    );
}

#[test]
fn a_training_resumed_from_a_file_ends_in_the_same_bits() {
    let data = spiral(120);
    let optimizers: [Optimizer; 5] = [
        Adam::new(0.02).into(),
        Sgd::new(0.1).into(),
        AdamW::new(0.02).into(),
        Rmsprop::new(0.01).into(),
        Sgd::new(0.05).momentum(0.9).nesterov().into(),
    ];
    let folder = Folder::new();
    for optimizer in optimizers {
        // A threshold that large lowers the rate at almost every epoch.
        let plateau = ReduceOnPlateau::new(0.5).patience(1).threshold(0.5);
        let config = || config().optimizer(optimizer).reduce_on_plateau(plateau);
        let epochs = |n| config().max_epochs(n);
        let mut whole = small().build().unwrap();
        whole.fit(&data, &epochs(5)).unwrap();
        let mut first = small().build().unwrap();
        first.fit(&data, &epochs(2)).unwrap();
        first.save_checkpoint(folder.file()).unwrap();
        let mut second = Mlp::load(folder.file()).unwrap();
        second.resume(&data, &epochs(3)).unwrap();
        assert_eq!(second.parameters(), whole.parameters(), "{optimizer:?}");
        // Without the state of the training it ends elsewhere.
        first.save(folder.file()).unwrap();
        let mut fresh = Mlp::load(folder.file()).unwrap();
        fresh.resume(&data, &epochs(3)).unwrap();
        assert_ne!(fresh.parameters(), whole.parameters(), "{optimizer:?}");
    }
}

#[test]
fn parameters_come_from_files_without_a_description() {
    let folder = Folder::new();
    let net = Mlp::builder(1).dense(2).seed(7).build().unwrap();
    let header = r#"{"0.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"0.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}}"#;
    let data: Vec<u8> = [1f32, 2., 3., 4.]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    fs::write(folder.file(), file_of(header, &data)).unwrap();
    let mut filled = net.clone();
    filled.load_parameters(folder.file()).unwrap();
    assert_eq!(filled.parameters(), [3., 4., 1., 2.]);
    let error = message(Mlp::load(folder.file()).unwrap_err());
    assert!(
        error.contains("tensors alone, which Mlp::load_parameters reads"),
        "{error}"
    );

    // What does not fit is named, and changes nothing.
    let cases = [
        (
            "0.bias",
            "1.bias",
            "tensor 1.bias: expected the names of the parameters of the network alone, got one that it does not have",
        ),
        (
            "\"shape\":[2,1]",
            "\"shape\":[1,2]",
            "tensor 0.weight: expected 2 x 1 of F32, got 1 x 2 of F32",
        ),
        (
            "\"F32\",\"shape\":[2]",
            "\"F64\",\"shape\":[1]",
            "tensor 0.bias: expected 2 of F32, got 1 of F64",
        ),
    ];
    for (from, to, expected) in cases {
        fs::write(folder.file(), file_of(&header.replace(from, to), &data)).unwrap();
        let mut unchanged = net.clone();
        let error = message(unchanged.load_parameters(folder.file()).unwrap_err());
        assert!(error.ends_with(expected), "{error}");
        assert!(error.contains("model.safetensors"), "{error}");
        assert_eq!(unchanged.parameters(), net.parameters());
    }
    let missing = r#"{"0.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    fs::write(folder.file(), file_of(missing, &data[..8])).unwrap();
    let error = message(net.clone().load_parameters(folder.file()).unwrap_err());
    assert!(
        error.ends_with("tensor 0.weight: expected 2 x 1 of F32, got no such tensor"),
        "{error}"
    );
    let nan: Vec<u8> = [1., 2., f32::NAN, 4.]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    fs::write(folder.file(), file_of(header, &nan)).unwrap();
    let error = message(net.clone().load_parameters(folder.file()).unwrap_err());
    assert!(
        error.ends_with("tensor 0.weight: expected finite values, got NaN at index 0"),
        "{error}"
    );
}

/// What a checkpoint says of an epoch that was cut short has to be such that the epoch can go on.
#[test]
fn an_epoch_that_cannot_go_on_is_refused() {
    let folder = Folder::new();
    let mut net = small().build().unwrap();
    let settings = config().time_budget(std::time::Duration::ZERO);
    net.fit(&spiral(64), &settings).unwrap();
    net.save_checkpoint(folder.file()).unwrap();
    assert!(Mlp::load(folder.file()).is_ok());
    let good = fs::read(folder.file()).unwrap();
    let end = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&good[8..end]).unwrap().trim_end();
    for count in ["0", "18446744073709551615"] {
        let changed = text.replace(r#"\"batches\":1"#, &format!(r#"\"batches\":{count}"#));
        assert_ne!(changed, text);
        fs::write(folder.file(), file_of(&changed, &good[end..])).unwrap();
        let error = message(Mlp::load(folder.file()).unwrap_err());
        assert!(error.contains("at most 2^53 steps and epochs"), "{error}");
    }
}

#[test]
fn a_hostile_file_is_refused() {
    let folder = Folder::new();
    small()
        .build()
        .unwrap()
        .save_checkpoint(folder.file())
        .unwrap();
    let good = fs::read(folder.file()).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(folder.file(), bytes).unwrap();
        let result = Mlp::load(folder.file());
        assert!(
            matches!(result, Err(MlpError::ModelFile(_))),
            "{what}: {result:?}"
        );
        message(result.unwrap_err())
    };
    for len in 0..good.len() {
        refused(&good[..len], &format!("the first {len} bytes"));
    }
    // One wrong byte in the header is refused or leaves a network; it never panics.
    let counted = r#""epochs":0"#;
    let far = counted.replace('0', "9223372036854775808");
    let header = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(good[8..8 + header(&good)].to_vec()).unwrap();
    let far = text.replace(&counted.replace('"', "\\\""), &far.replace('"', "\\\""));
    assert_ne!(far, text);
    let error = refused(
        &file_of(&far, &good[8 + header(&good)..]),
        "epochs without end",
    );
    assert!(error.contains("at most 2^53 steps and epochs"), "{error}");
    let header = 8 + header(&good);
    for place in 0..header {
        for value in [b'9', 0xff] {
            let mut bytes = good.clone();
            bytes[place] = value;
            fs::write(folder.file(), &bytes).unwrap();
            let _ = Mlp::load(folder.file());
        }
    }
    refused(&u64::MAX.to_le_bytes(), "a header without end");
    let far = u64::MAX - 3;
    let entry = |name: &str, start: u64, end: u64| {
        let elements = (end - start) / 4;
        format!(r#""{name}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{start},{end}]}}"#)
    };
    let header = format!("{{{}}}", entry("0.weight", 0, far));
    refused(&file_of(&header, &[]), "a tensor behind the end");
    let halves: Vec<String> = (0..16)
        .map(|i| entry(&i.to_string(), i << 60, ((i + 1) << 60).wrapping_sub(4)))
        .collect();
    refused(
        &file_of(&format!("{{{}}}", halves.join(",")), &[]),
        "tensors behind the end",
    );
    refused(&file_of(&"[".repeat(100_000), &[]), "brackets without end");

    let spec = |layers: &str| {
        described(&format!(
            r#"{{"version":1,"spec":{{"inputs":2,"layers":{layers},"loss":"SoftmaxCrossEntropy","init":null,"seed":0}}}}"#
        ))
    };
    let cases = [
        (described("{}"), "a description that is none".to_owned()),
        (described(r#"{"version":2}"#), "another version".to_owned()),
        (spec("[]"), "no layers".to_owned()),
        (spec(r#"[{"Dense":{"width":0}}]"#), "no width".to_owned()),
        (
            spec(r#"[{"Dense":{"width":4000000000}}]"#),
            "more than the file holds".to_owned(),
        ),
        (
            spec(r#"[{"Dense":{"width":18446744073709551615}}]"#),
            "more than can be counted".to_owned(),
        ),
        (
            spec(r#"[{"Unknown":{}}]"#),
            "a layer of another program".to_owned(),
        ),
        (spec(&"[".repeat(1000)), "layers without end".to_owned()),
    ];
    for (bytes, what) in cases {
        let error = refused(&bytes, &what);
        assert!(error.contains("model.safetensors"), "{error}");
    }
    let nested = |depth| {
        (0..depth).fold(r#"{"Dense":{"width":2}}"#.to_owned(), |inner, _| {
            format!(r#"{{"Residual":{{"block":[{inner}],"shortcut":"Identity"}}}}"#)
        })
    };
    let error = refused(&spec(&format!("[{}]", nested(33))), "blocks too deep");
    assert!(
        error.contains("blocks inside blocks at most 32 deep, got 33"),
        "{error}"
    );
    refused(&spec(&format!("[{}]", nested(1000))), "blocks without end");
    let error = refused(&described(r#"{"version":2}"#), "another version");
    assert!(
        error.ends_with("expected a description of version 1, got version 2"),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_leaves_nothing() {
    let folder = Folder::new();
    let net = small().build().unwrap();
    let nowhere = folder.0.join("missing").join("model.safetensors");
    let error = net.save(&nowhere).unwrap_err();
    assert!(
        matches!(error, MlpError::ModelFile(ModelFileError::Io { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("missing"), "{error}");
    // A folder of that name cannot be replaced by a file.
    fs::create_dir(folder.file()).unwrap();
    assert!(net.save(folder.file()).is_err());
    assert_eq!(folder.names(), ["model.safetensors"]);
    assert!(Mlp::load(folder.file()).is_err());
    assert!(Mlp::load(&nowhere).is_err());
    assert!(net.save("").is_err());
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_what_is_no_file_stays_what_it_is() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let at = |name: &str| folder.0.join(name);
    let net = small().build().unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/model"), "old").unwrap();
    // Absolute, relative, two in a row, and one to a file that does not exist yet.
    symlink(at("elsewhere/model"), at("absolute")).unwrap();
    symlink("elsewhere/model", at("relative")).unwrap();
    symlink("relative", at("second")).unwrap();
    symlink("elsewhere/new", at("early")).unwrap();
    for (link, target) in [
        ("absolute", "elsewhere/model"),
        ("relative", "elsewhere/model"),
        ("second", "elsewhere/model"),
        ("early", "elsewhere/new"),
    ] {
        let _ = fs::remove_file(at("elsewhere/new"));
        fs::write(at("elsewhere/model"), "old").unwrap();
        net.save(at(link)).unwrap();
        assert!(
            fs::symlink_metadata(at(link)).unwrap().is_symlink(),
            "{link}"
        );
        assert!(
            fs::symlink_metadata(at(target)).unwrap().is_file(),
            "{target}"
        );
        assert_eq!(
            Mlp::load(at(target)).unwrap().parameters(),
            net.parameters()
        );
    }
    symlink("circle", at("circle")).unwrap();
    assert!(message(net.save(at("circle")).unwrap_err()).contains("too many symbolic links"));
    // A socket is as little a file as a device.
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("socket", at("to-socket")).unwrap();
    symlink("elsewhere", at("to-folder")).unwrap();
    let names = folder.names().len();
    for name in ["socket", "to-socket", "elsewhere", "to-folder"] {
        let words = message(net.save(at(name)).unwrap_err());
        assert!(words.contains("expected a regular file"), "{name}: {words}");
    }
    assert!(!fs::symlink_metadata(at("socket")).unwrap().is_file());
    assert_eq!(folder.names().len(), names);
    drop(socket);
}

#[test]
fn a_negative_variance_is_refused() {
    let folder = Folder::new();
    let net = Mlp::builder(3).dense(4).batch_norm().relu().dense(2);
    let mut net = net.build().unwrap();
    net.save(folder.file()).unwrap();
    let var = net.network.graph.parameters().buffers().last().unwrap();
    assert_eq!(var.name, "1.running_var");
    net.network.parameters[var.range()][2] = -1.0;
    net.save(folder.file()).unwrap();
    let expected = "tensor 1.running_var: expected values of at least 0, got -1 at index 2";
    let words = message(Mlp::load(folder.file()).unwrap_err());
    assert!(words.ends_with(expected), "{words}");
    let words = message(net.load_parameters(folder.file()).unwrap_err());
    assert!(words.ends_with(expected), "{words}");
}

#[test]
fn the_precision_is_saved_and_is_a_lower_bound() {
    let folder = Folder::new();
    for asked in Precision::ALL {
        let net = small().precision(asked).build().unwrap();
        net.save(folder.file()).unwrap();
        let loaded = Mlp::load(folder.file()).unwrap();
        assert_eq!(loaded.spec().precision, Some(asked));
        assert!(loaded.effective_precision(64).unwrap() >= asked);
    }
    let plain = small().build().unwrap();
    assert_eq!(plain.spec().precision, None);
    assert!(plain.effective_precision(0).is_err());
}
