//! What this CPU is: its name, its cores, the sizes of its caches. Facts, no policy.
//!
//! Caches are read from Linux's sysfs, elsewhere on x86-64 from CPUID (leaf 4 of Intel, leaf
//! 0x8000_001D of AMD, which have the same fields), else taken as [`Caches::default`].

use std::fs;
use std::sync::OnceLock;

/// One level of data cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Size of one such cache, in bytes.
    pub bytes: usize,
    /// Hardware threads that share it.
    pub shared_by: usize,
}

/// The data caches as one core sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// First-level data cache.
    pub l1d: Cache,
    /// Second level, of data and instructions on most CPUs.
    pub l2: Cache,
    /// Third level; `None` where there is none.
    pub l3: Option<Cache>,
}

/// What is known of the CPU that the program runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuInfo {
    /// The maker's name for the model, or the name of the architecture.
    pub model: String,
    /// Hardware threads this process may run on.
    pub cores: usize,
    /// Sizes of the data caches.
    pub caches: Caches,
}

impl CpuInfo {
    /// The facts, looked up at the first call.
    pub fn get() -> &'static Self {
        static INFO: OnceLock<CpuInfo> = OnceLock::new();
        INFO.get_or_init(|| Self {
            model: model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            caches: sysfs_caches(|file| {
                fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/{file}")).ok()
            })
            .or_else(cpuid::caches)
            .unwrap_or_default(),
        })
    }
}

impl Default for Caches {
    /// The smallest caches among the CPUs of the last ten years that are worth tuning for: blocks
    /// made for them fit everywhere.
    fn default() -> Self {
        let own = |kib: usize| Cache {
            bytes: kib << 10,
            shared_by: 1,
        };
        Self {
            l1d: own(32),
            l2: own(256),
            l3: None,
        }
    }
}

impl Caches {
    /// Picks the data caches out of `(level, cache)` pairs; the first two levels have to be there.
    fn from_levels(levels: impl Iterator<Item = (u32, Cache)> + Clone) -> Option<Self> {
        let level = |wanted| levels.clone().find(|(l, _)| *l == wanted).map(|(_, c)| c);
        Some(Self {
            l1d: level(1)?,
            l2: level(2)?,
            l3: level(3),
        })
    }
}

/// The caches as Linux lists them: `index0/level`, `index0/type`, and so on, one index per cache.
fn sysfs_caches(read: impl Fn(&str) -> Option<String>) -> Option<Caches> {
    let read = &read;
    let levels: Vec<_> = (0..)
        .map_while(|index| {
            let field = move |name: &str| read(&format!("index{index}/{name}"));
            Some((field("type")?, field("level")?, field))
        })
        .filter(|(kind, _, _)| kind.trim() != "Instruction")
        .filter_map(|(_, level, field)| {
            let cache = Cache {
                bytes: parse_size(&field("size")?)?,
                shared_by: field("shared_cpu_list")
                    .and_then(|list| count_listed(&list))
                    .unwrap_or(1),
            };
            Some((level.trim().parse().ok()?, cache))
        })
        .collect();
    Caches::from_levels(levels.into_iter())
}

/// `48K`, `2M` or plain bytes.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits
        .parse::<usize>()
        .ok()?
        .checked_mul(unit)
        .filter(|&bytes| bytes > 0)
}

/// How many numbers a list such as `0-3,8` has.
fn count_listed(list: &str) -> Option<usize> {
    list.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

/// The maker's name for the model.
fn model() -> String {
    cpuid::brand()
        .or_else(|| {
            let text = fs::read_to_string("/proc/cpuinfo").ok()?;
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(target_arch = "x86_64")]
mod cpuid {
    //! The same facts from the instruction itself.

    use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

    use super::{Cache, Caches};

    const HIGHEST_LEAF: u32 = 0;
    const HIGHEST_EXTENDED_LEAF: u32 = 0x8000_0000;
    const BRAND_LEAVES: [u32; 3] = [0x8000_0002, 0x8000_0003, 0x8000_0004];
    const INTEL_CACHES: u32 = 4;
    const AMD_CACHES: u32 = 0x8000_001D;
    const AMD_VENDOR: [&[u8; 4]; 3] = [b"Auth", b"enti", b"cAMD"];
    /// More caches than any CPU lists; a faulty hypervisor may not end its list.
    const MAX_CACHES: u32 = 16;

    /// 48 bytes of text, padded with spaces or zeros.
    pub(super) fn brand() -> Option<String> {
        if __cpuid(HIGHEST_EXTENDED_LEAF).eax < BRAND_LEAVES[2] {
            return None;
        }
        let bytes: Vec<u8> = BRAND_LEAVES
            .into_iter()
            .map(__cpuid)
            .flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx])
            .flat_map(u32::to_le_bytes)
            .take_while(|&byte| byte != 0)
            .collect();
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub(super) fn caches() -> Option<Caches> {
        let vendor = __cpuid(HIGHEST_LEAF);
        let (leaf, highest) =
            if [vendor.ebx, vendor.edx, vendor.ecx] == AMD_VENDOR.map(|s| u32::from_le_bytes(*s)) {
                (AMD_CACHES, __cpuid(HIGHEST_EXTENDED_LEAF).eax)
            } else {
                (INTEL_CACHES, vendor.eax)
            };
        if highest < leaf {
            return None;
        }
        let listed = (0..MAX_CACHES).map(|index| __cpuid_count(leaf, index));
        Caches::from_levels(listed.map_while(listed_cache).flatten())
    }

    /// One entry of the list: `None` at its end, `Some(None)` for an instruction cache.
    fn listed_cache(entry: CpuidResult) -> Option<Option<(u32, Cache)>> {
        const NO_CACHE: u32 = 0;
        const INSTRUCTIONS: u32 = 2;
        let bits = |word: u32, from: u32, count: u32| (word >> from) & ((1 << count) - 1);
        match bits(entry.eax, 0, 5) {
            NO_CACHE => return None,
            INSTRUCTIONS => return Some(None),
            _ => {}
        }
        // Each field holds its number minus one.
        let line = bits(entry.ebx, 0, 12) as usize + 1;
        let partitions = bits(entry.ebx, 12, 10) as usize + 1;
        let ways = bits(entry.ebx, 22, 10) as usize + 1;
        let sets = entry.ecx as usize + 1;
        let cache = Cache {
            bytes: line * partitions * ways * sets,
            shared_by: bits(entry.eax, 14, 12) as usize + 1,
        };
        Some(Some((bits(entry.eax, 5, 3), cache)))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod cpuid {
    //! Other architectures have no such instruction.

    pub(super) fn brand() -> Option<String> {
        None
    }

    pub(super) fn caches() -> Option<super::Caches> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_sysfs_listing() {
        let listing = |file: &str| {
            let (index, field) = file.split_once('/')?;
            let column = ["type", "level", "size", "shared_cpu_list"]
                .iter()
                .position(|name| *name == field)?;
            let row = match index {
                "index0" => ["Data\n", "1\n", "48K\n", "0,64\n"],
                "index1" => ["Instruction\n", "1\n", "32K\n", "0,64\n"],
                "index2" => ["Unified\n", "2\n", "2M\n", "0,64\n"],
                "index3" => ["Unified\n", "3\n", "107520K\n", "0-31,64-95\n"],
                _ => return None,
            };
            Some(row[column].to_owned())
        };
        let cache = |bytes, shared_by| Cache { bytes, shared_by };
        let expected = Caches {
            l1d: cache(48 << 10, 2),
            l2: cache(2 << 20, 2),
            l3: Some(cache(105 << 20, 64)),
        };
        assert_eq!(sysfs_caches(listing), Some(expected));
        assert_eq!(sysfs_caches(|_| None), None);
    }

    #[test]
    fn odd_sizes_and_lists_are_refused() {
        for text in ["", "K", "0K", "12G", "-1", "99999999999999999999M"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
        for text in ["", "a", "3-1", "1,,2"] {
            assert_eq!(count_listed(text), None, "{text:?}");
        }
        assert_eq!(parse_size("4096\n"), Some(4096));
        assert_eq!(count_listed("0-3,8\n"), Some(5));
    }

    #[test]
    fn this_cpu_has_a_name_a_core_and_growing_caches() {
        let info = CpuInfo::get();
        assert!(!info.model.is_empty() && info.cores > 0);
        let Caches { l1d, l2, l3 } = info.caches;
        assert!((4 << 10..1 << 20).contains(&l1d.bytes), "{l1d:?}");
        assert!(l2.bytes > l1d.bytes, "{l2:?}");
        assert!(l3.is_none_or(|l3| l3.bytes > l2.bytes), "{l3:?}");
    }

    /// Two ways to ask the same question. A hypervisor may hide one, so only answers are compared.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn cpuid_agrees_with_the_system() {
        let Some(cpuid) = cpuid::caches() else { return };
        assert_eq!(cpuid.l1d.bytes, CpuInfo::get().caches.l1d.bytes);
        assert_eq!(cpuid.l2.bytes, CpuInfo::get().caches.l2.bytes);
    }
}
