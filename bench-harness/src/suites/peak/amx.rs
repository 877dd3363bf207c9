//! The matrix unit of x86-64 (Intel AMX): whether the machine has one.

use std::fs;

use serde::Serialize;

/// Flags of Linux for tiles, and for products of bf16 numbers in them.
const FLAGS: [&str; 2] = ["amx_tile", "amx_bf16"];

/// What the sheet says of the unit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Amx {
    /// `absent`, or `not measured`.
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
}

/// That of this machine.
pub(super) fn amx() -> Amx {
    of(fs::read_to_string("/proc/cpuinfo").ok().as_deref())
}

/// What a `/proc/cpuinfo` says.
fn of(cpuinfo: Option<&str>) -> Amx {
    let flags = cpuinfo.and_then(|text| text.lines().find(|line| line.starts_with("flags")));
    let (state, reason) = match flags {
        None => ("absent", "the system lists no flags of an x86-64 CPU"),
        Some(flags) => {
            let has = |flag: &&str| flags.split_whitespace().any(|word| word == *flag);
            if FLAGS.iter().all(has) {
                ("not measured", "no kernel of this build uses it")
            } else {
                ("absent", "the CPU does not list both amx_tile and amx_bf16")
            }
        }
    };
    Amx { state, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_there_if_tiles_and_their_products_are() {
        let state = |cpuinfo| of(cpuinfo).state;
        assert_eq!(state(None), "absent");
        assert_eq!(state(Some("processor: 0\nflags\t: fma avx2\n")), "absent");
        assert_eq!(state(Some("flags\t: amx_tile avx2\n")), "absent");
        assert_eq!(
            state(Some("flags\t: amx_bf16 avx2 amx_tile\n")),
            "not measured"
        );
    }
}
