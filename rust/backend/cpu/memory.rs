//! How much memory this process may use: what the machine has, or what its control groups allow.

use std::fs::read_to_string;
use std::path::Path;

use super::KvCache;
use crate::backend::{DeviceError, KvShape, PAGE};

/// Refuses more weights and a larger cache than there is memory for. The cache is taken as it fills, but whoever fills it should
/// not learn then that it never fitted.
pub(super) fn check(weights: usize, cache: &KvShape) -> Result<(), DeviceError> {
    let (bytes, positions, format) = (KvCache::bytes(cache), cache.pages * PAGE, cache.format);
    let total = total();
    match total {
        Some(most) if bytes.saturating_add(weights) > most => {
            Err(DeviceError::Memory { bytes, positions, format, weights, total })
        }
        _ => Ok(()),
    }
}

/// Bytes; `None` where the system does not say it the way Linux does.
fn total() -> Option<usize> {
    let machine = machine(&read_to_string("/proc/meminfo").ok()?)?;
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_limit(&groups, Path::new("/sys/fs/cgroup")).map_or(machine, |limit| limit.min(machine)))
}

/// The line `MemTotal:  24000000 kB`.
fn machine(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The least limit of the group of version 2 (the line `0::/path`) and those above it.
fn group_limit(groups: &str, root: &Path) -> Option<usize> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
    let within = group.ancestors().take_while(|group| group.starts_with(root));
    // A group without a limit says "max", and the root says nothing.
    within.filter_map(|group| read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::KvFormat;

    #[test]
    fn the_machine_says_kilobytes() {
        assert_eq!(machine("MemFree: 1 kB\nMemTotal:       24622508 kB\n"), Some(24_622_508 * 1024));
        assert_eq!(machine("MemTotal: much\n"), None);
    }

    #[test]
    fn weights_and_cache_must_fit_together() {
        let format = KvFormat::Bf16;
        let cache = KvShape { layers: 1, pages: 1, heads: 1, query_heads: 1, head_dim: 64, format };
        assert!(check(1 << 20, &cache).is_ok());
        let error = check(1 << 60, &cache).unwrap_err().to_string();
        let numbers = "a KV cache of 64 positions needs 16384 bytes, the weights 1152921504606846976, and this machine has ";
        assert!(error.starts_with(numbers), "{error}");
        let advice = "choose a smaller context_length or kv_cache=\"fp8\", or convert the model: packed weights are used in place";
        assert!(error.ends_with(advice), "{error}");
        let error = check(1 << 60, &KvShape { format: KvFormat::Fp8, ..cache }).unwrap_err().to_string();
        assert!(error.contains("choose a smaller context_length, or convert"), "{error}");
    }

    #[test]
    fn the_least_limit_of_the_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("outer/inner")).unwrap();
        let limit = || group_limit("1:cpu:/x\n0::/outer/inner\n", root.path());
        assert_eq!(limit(), None);
        std::fs::write(root.path().join("outer/memory.max"), "1000\n").unwrap();
        std::fs::write(root.path().join("outer/inner/memory.max"), "max\n").unwrap();
        assert_eq!(limit(), Some(1000));
        std::fs::write(root.path().join("outer/inner/memory.max"), "900\n").unwrap();
        assert_eq!(limit(), Some(900));
        assert_eq!(group_limit("", root.path()), None);
    }
}
