//! What the kernel says of this process in `/proc/self/status`.

use std::collections::BTreeMap;

/// The fields of a status file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status(BTreeMap<String, String>);

impl Status {
    /// That of this process; empty where there is no `/proc`.
    #[must_use]
    pub fn of_self() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Reads the text of a status file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// The text of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A set of bits: `CapEff`, `SigIgn`.
    #[must_use]
    pub fn bits(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(name)?, 16).ok()
    }

    /// The numbers of a field: `Uid` has four, `Groups` any.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Vec<u32> {
        self.get(name).into_iter().flat_map(str::split_whitespace).filter_map(|word| word.parse().ok()).collect()
    }

    /// A size in bytes, of a field in kB.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let number: u64 = self.get(name)?.strip_suffix("kB")?.trim().parse().ok()?;
        number.checked_mul(1024)
    }
}

/// The highest resident memory of this process so far, in bytes; 0 where the kernel does not tell.
#[must_use]
pub fn peak_rss_bytes() -> u64 {
    Status::of_self().bytes("VmHWM").unwrap_or(0)
}

#[cfg(test)]
pub(super) const EXAMPLE: &str = "Name:\tamarre\nUid:\t10001\t10001\t10001\t10001\nGid:\t10001\t10001\t10001\t10001\n\
    Groups:\t998 10001 \nVmHWM:\t    5120 kB\nSigIgn:\t0000000000001001\nCapPrm:\t0000000000000000\n\
    CapEff:\t0000000000000000\nCapBnd:\t00000000000000c1\nNoNewPrivs:\t1\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let status = Status::parse(EXAMPLE);
        assert_eq!(status.bytes("VmHWM"), Some(5_242_880));
        assert_eq!(status.numbers("Groups"), [998, 10001]);
        assert_eq!(status.bits("CapBnd"), Some(0xc1));
        assert_eq!(status.get("Nothing"), None);
    }

    #[test]
    fn the_peak_of_this_process_is_more_than_nothing() {
        assert!(peak_rss_bytes() > 1024 * 1024);
    }
}
