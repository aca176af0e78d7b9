//! Names of backups, as the replaced scripts have them, so that both can read each other's files.

use serde::{Deserialize, Serialize};

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By schedule or by hand: `<database>_backup_…`.
    Backup,
    /// Before a restore: `pre_restore_safety_…`.
    Safety,
    /// Before a replaced database is dropped: `pre_drop_final_…`.
    Final,
}
