//! How backups are compressed: what people write in `BACKUP_COMPRESSION`, what manifests say, how files end.

use std::fmt;
use std::str::FromStr;

/// A format with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip, levels 1 to 12: `.sql.gz`.
    Gzip {
        /// 1 is the fastest.
        level: u8,
    },
    /// Zstandard, levels 1 to 19: `.sql.zst`.
    Zstd {
        /// 1 is the fastest.
        level: u8,
    },
    /// The SQL as it is: `.sql`.
    None,
}

/// The level of gzip unless told; see `docs/BENCHMARKS.md`.
pub const GZIP_LEVEL: u8 = 2;
/// The level of zstd unless told.
pub const ZSTD_LEVEL: u8 = 1;

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: GZIP_LEVEL }
    }
}

impl Compression {
    /// The format, as manifests say it: `gzip`, `zstd`, `none`.
    #[must_use]
    pub fn format(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Zstd { .. } => "zstd",
            Self::None => "none",
        }
    }

    /// How names of such files end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip { .. } => ".sql.gz",
            Self::Zstd { .. } => ".sql.zst",
            Self::None => ".sql",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip { level } | Self::Zstd { level } => write!(f, "{}:{level}", self.format()),
            Self::None => f.write_str(self.format()),
        }
    }
}

/// Not `gzip`, `zstd` or `none`, with a level that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

impl FromStr for Compression {
    type Err = Unknown;

    /// `gzip`, `gzip:6`, `zstd`, `zstd:3`, `none`.
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let (format, level) = text.split_once(':').map_or((text, None), |(format, level)| (format, Some(level)));
        let level = |default: u8, most: u8| match level {
            None => Ok(default),
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(level) if (1..=most).contains(&level) => Ok(level),
                _ => Err(Unknown),
            },
            Some(_) => Err(Unknown),
        };
        match format {
            "gzip" => Ok(Self::Gzip { level: level(GZIP_LEVEL, 12)? }),
            "zstd" => Ok(Self::Zstd { level: level(ZSTD_LEVEL, 19)? }),
            "none" if text == format => Ok(Self::None),
            _ => Err(Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_again() {
        for (text, shown) in
            [("gzip", "gzip:2"), ("gzip:12", "gzip:12"), ("zstd", "zstd:1"), ("zstd:19", "zstd:19"), ("none", "none")]
        {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for text in [
            "", "gz", "GZIP", "gzip:", "gzip:0", "gzip:13", "gzip:+6", "gzip:6:1", "zstd:20", "none:1", "lz4",
            "gzip:256",
        ] {
            assert_eq!(text.parse::<Compression>(), Err(Unknown), "{text}");
        }
    }
}
