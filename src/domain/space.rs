//! Room on a disk.

/// Room in a store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For us.
    pub free: u64,
    /// Altogether.
    pub total: u64,
}

impl Space {
    /// So many percent of all.
    #[must_use]
    pub fn share(self, percent: u32) -> u64 {
        u64::try_from(u128::from(self.total) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    }

    /// Whether less than so many percent are free.
    #[must_use]
    pub fn is_under(self, percent: u32) -> bool {
        self.free < self.share(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_a_share_of_all_however_large_that_is() {
        let space = Space { free: 10, total: 100 };
        assert!(!space.is_under(10) && space.is_under(11) && !space.is_under(0));
        assert_eq!(Space { free: 0, total: u64::MAX }.share(100), u64::MAX);
        assert!(!Space { free: 0, total: 0 }.is_under(50), "a place that has no size has no floor");
    }
}
