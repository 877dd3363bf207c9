//! The choice of an instruction set: what the CPU has, and what the environment says.

use super::Isa;
use crate::error::KernelError;

/// What becomes of a level on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It cannot run.
    Absent,
    /// It runs, but the one below is as fast: taken only if the environment names it.
    Slow,
    Fast,
}

/// Chooses the level from what is supported and the values of the two environment variables.
///
/// # Errors
/// [`KernelError::UnknownIsa`] for a word that names no level, [`KernelError::MissingIsa`] if the
/// ensured level is not supported or lies above the cap.
pub(crate) fn choose(
    standing: impl Fn(Isa) -> Standing,
    cap: Option<&str>,
    ensure: Option<&str>,
) -> Result<Isa, KernelError> {
    let parse = |variable, word: Option<&str>| match word {
        None | Some("") => Ok(None),
        Some(word) => word.parse().map(Some).map_err(|_| KernelError::UnknownIsa {
            variable,
            value: word.to_owned(),
        }),
    };
    let cap: Option<Isa> = parse("KERNELS_ISA", cap)?;
    let ensure: Option<Isa> = parse("KERNELS_ENSURE_ISA", ensure)?;
    let available = |isa: &Isa| {
        let isa = *isa;
        let is_allowed = cap.is_none_or(|cap| isa <= cap);
        is_allowed
            && match standing(isa) {
                Standing::Absent => false,
                Standing::Slow => cap == Some(isa) || ensure == Some(isa),
                Standing::Fast => true,
            }
    };
    let best = Isa::ALL
        .into_iter()
        .rev()
        .find(available)
        .unwrap_or(Isa::Scalar);
    match ensure {
        Some(wanted) if !available(&wanted) => Err(KernelError::MissingIsa { wanted, best }),
        _ => Ok(best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86_without_amx(isa: Isa) -> Standing {
        match isa {
            Isa::Scalar | Isa::Avx2 | Isa::Avx512 => Standing::Fast,
            _ => Standing::Absent,
        }
    }

    fn slow_dot_products(isa: Isa) -> Standing {
        match isa {
            Isa::Avx512Bf16 => Standing::Slow,
            _ => x86_without_amx(isa),
        }
    }

    #[test]
    fn takes_the_best_supported_level() {
        assert_eq!(choose(x86_without_amx, None, None), Ok(Isa::Avx512));
        assert_eq!(choose(|_| Standing::Absent, None, None), Ok(Isa::Scalar));
    }

    #[test]
    fn what_is_slow_is_taken_by_name_alone() {
        for (cap, ensure, chosen) in [
            (None, None, Isa::Avx512),
            (Some("amx"), None, Isa::Avx512),
            (Some("avx512bf16"), None, Isa::Avx512Bf16),
            (None, Some("avx512bf16"), Isa::Avx512Bf16),
            (Some("avx512"), None, Isa::Avx512),
        ] {
            assert_eq!(choose(slow_dot_products, cap, ensure), Ok(chosen));
        }
    }

    #[test]
    fn cap_lowers_and_never_raises() {
        for (cap, chosen) in [
            ("scalar", Isa::Scalar),
            ("neon", Isa::Scalar),
            ("avx2", Isa::Avx2),
            ("avx512", Isa::Avx512),
            ("amx", Isa::Avx512),
            ("", Isa::Avx512),
        ] {
            assert_eq!(
                choose(x86_without_amx, Some(cap), None),
                Ok(chosen),
                "{cap}"
            );
        }
    }

    #[test]
    fn ensure_fails_when_absent_or_capped_away() {
        assert_eq!(
            choose(x86_without_amx, None, Some("avx512")),
            Ok(Isa::Avx512)
        );
        assert_eq!(choose(x86_without_amx, None, Some("avx2")), Ok(Isa::Avx512));
        for (cap, ensure, wanted, best) in [
            (None, "amx", Isa::Amx, Isa::Avx512),
            (Some("avx2"), "avx512", Isa::Avx512, Isa::Avx2),
            (None, "neon", Isa::Neon, Isa::Avx512),
        ] {
            let got = choose(x86_without_amx, cap, Some(ensure));
            assert_eq!(got, Err(KernelError::MissingIsa { wanted, best }));
        }
    }

    #[test]
    fn unknown_words_are_errors() {
        let got = choose(x86_without_amx, Some("sse9"), None);
        let expected = KernelError::UnknownIsa {
            variable: "KERNELS_ISA",
            value: "sse9".to_owned(),
        };
        assert_eq!(got, Err(expected));
    }
}
