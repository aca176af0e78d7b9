//! Every variable that is known, and which of them may come from a file. What they mean is said by the elements.

use crate::domain::text;

/// How a variable may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its value.
    Plain,
    /// By its value or by `NAME_FILE`, as the database's image takes it too.
    OrFile,
    /// As [`Form::OrFile`], and never shown.
    Secret,
}

/// A known variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// How it may be given.
    pub form: Form,
}

const fn plain(name: &'static str) -> Key {
    Key { name, form: Form::Plain }
}

const fn or_file(name: &'static str) -> Key {
    Key { name, form: Form::OrFile }
}

const fn secret(name: &'static str) -> Key {
    Key { name, form: Form::Secret }
}

/// All of them, in the order `amarre config` prints them.
pub const KEYS: &[Key] = &[
    or_file("POSTGRES_USER"),
    secret("POSTGRES_PASSWORD"),
    or_file("POSTGRES_DB"),
    plain("BACKUP_DIR"),
    plain("BACKUP_NAME"),
    plain("BACKUP_SCHEDULE"),
    plain("TZ"),
    plain("BACKUP_RETENTION_DAYS"),
    plain("RETENTION_DAYS"),
    plain("BACKUP_KEEP"),
    plain("BACKUP_KEEP_VERIFIED"),
    plain("BACKUP_RUNNER"),
    plain("BACKUP_DB_CONTAINER"),
    plain("BACKUP_DB_SERVICE"),
    plain("BACKUP_DB_HOST"),
    plain("PGHOST"),
    plain("BACKUP_DB_PORT"),
    plain("PGPORT"),
    plain("BACKUP_READY_TIMEOUT"),
    plain("BACKUP_LOCK_TIMEOUT"),
    plain("BACKUP_ROLE_PASSWORDS"),
    plain("BACKUP_UNDO_HOURS"),
    plain("BACKUP_SAFETY_DAYS"),
    plain("BACKUP_PROMPT_MINUTES"),
    plain("BACKUP_WORKERS"),
    plain("BACKUP_COMPRESSION"),
    plain("BACKUP_LANE_DIR"),
    plain("BACKUP_BEFORE"),
    plain("BACKUP_AFTER"),
    plain("BACKUP_ON_FAILURE"),
    plain("BACKUP_HOOK_TIMEOUT"),
    plain("BACKUP_DISK_FLOOR"),
    plain("BACKUP_VERIFY_SAMPLE"),
    plain("BACKUP_LOG"),
    plain("BACKUP_LOG_FILE"),
    plain("BACKUP_PRICES"),
    plain("BACKUP_LANG"),
    plain("LC_ALL"),
    plain("LC_MESSAGES"),
    plain("LANG"),
    plain("DOCKER_HOST"),
    plain("COMPOSE_FILE"),
    plain("COMPOSE_PROJECT_NAME"),
    plain("ENV_FILE"),
    plain("BACKUP_SETTINGS_FILE"),
    plain("S3_BACKUP_BUCKET"),
    plain("S3_ENDPOINT_URL"),
    plain("AWS_DEFAULT_REGION"),
    secret("AWS_ACCESS_KEY_ID"),
    secret("AWS_SECRET_ACCESS_KEY"),
    secret("AWS_SESSION_TOKEN"),
    plain("BACKUP_S3_PREFIX"),
    plain("BACKUP_S3_PARALLEL"),
    plain("BACKUP_S3_BANDWIDTH"),
    plain("BACKUP_S3_STORAGE_CLASS"),
    plain("BACKUP_S3_ENCRYPTION"),
    plain("BACKUP_S3_KMS_KEY"),
    secret("BACKUP_S3_CUSTOMER_KEY"),
    plain("BACKUP_S3_TAGS"),
    plain("BACKUP_S3_LOCK_DAYS"),
    plain("BACKUP_S3_LOCK_MODE"),
    plain("BACKUP_S3_PATH_STYLE"),
    plain("BACKUP_S3_CA_FILE"),
    plain("BACKUP_S3_RETENTION_DAYS"),
    plain("BACKUP_S3_KEEP"),
    plain("BACKUP_S3_DEADLINE_MINUTES"),
    plain("BACKUP_S3_2_BUCKET"),
    plain("BACKUP_S3_2_ENDPOINT_URL"),
    plain("BACKUP_S3_2_REGION"),
    secret("BACKUP_S3_2_ACCESS_KEY_ID"),
    secret("BACKUP_S3_2_SECRET_ACCESS_KEY"),
    secret("BACKUP_S3_2_SESSION_TOKEN"),
    plain("BACKUP_S3_2_PREFIX"),
    plain("BACKUP_S3_2_PARALLEL"),
    plain("BACKUP_S3_2_BANDWIDTH"),
    plain("BACKUP_S3_2_STORAGE_CLASS"),
    plain("BACKUP_S3_2_ENCRYPTION"),
    plain("BACKUP_S3_2_KMS_KEY"),
    secret("BACKUP_S3_2_CUSTOMER_KEY"),
    plain("BACKUP_S3_2_TAGS"),
    plain("BACKUP_S3_2_LOCK_DAYS"),
    plain("BACKUP_S3_2_LOCK_MODE"),
    plain("BACKUP_S3_2_PATH_STYLE"),
    plain("BACKUP_S3_2_CA_FILE"),
    plain("BACKUP_S3_2_RETENTION_DAYS"),
    plain("BACKUP_S3_2_KEEP"),
    plain("BACKUP_S3_2_DEADLINE_MINUTES"),
    secret("BACKUP_NOTIFY"),
    plain("BACKUP_NOTIFY_LEVEL"),
    plain("BACKUP_NOTIFY_DIGEST"),
    plain("BACKUP_NOTIFY_CA_FILE"),
    plain("BACKUP_NOTIFY_MAIL_TO"),
    plain("BACKUP_NOTIFY_SMTP_HOST"),
    plain("BACKUP_NOTIFY_SMTP_PORT"),
    plain("BACKUP_NOTIFY_SMTP_TLS"),
    plain("BACKUP_NOTIFY_SMTP_USER"),
    secret("BACKUP_NOTIFY_SMTP_PASSWORD"),
    plain("BACKUP_NOTIFY_SMTP_FROM"),
    secret("BACKUP_NOTIFY_SLACK_URL"),
    secret("BACKUP_NOTIFY_DISCORD_URL"),
    secret("BACKUP_NOTIFY_TEAMS_URL"),
    secret("BACKUP_NOTIFY_TELEGRAM_TOKEN"),
    plain("BACKUP_NOTIFY_TELEGRAM_CHAT"),
    secret("BACKUP_NOTIFY_NTFY_URL"),
    secret("BACKUP_NOTIFY_NTFY_TOKEN"),
    secret("BACKUP_NOTIFY_GOTIFY_URL"),
    secret("BACKUP_NOTIFY_GOTIFY_TOKEN"),
    secret("BACKUP_NOTIFY_WEBHOOK_URL"),
    secret("BACKUP_NOTIFY_WEBHOOK_SECRET"),
    or_file("BACKUP_NOTIFY_WEBHOOK_TEMPLATE"),
    secret("BACKUP_NOTIFY_PING_URL"),
];

/// The prefix of the variables that are ours alone: an unknown one is an error.
pub const PREFIX: &str = "BACKUP_";

/// What a hook finds in its environment: no settings, and no mistakes of whoever calls this program from a hook.
pub const OF_HOOKS: [&str; 9] = [
    "BACKUP_RUN",
    "BACKUP_OUTCOME",
    "BACKUP_DATABASE",
    "BACKUP_EXIT",
    "BACKUP_FILE",
    "BACKUP_BYTES",
    "BACKUP_ROWS",
    "BACKUP_SUSPICIOUS",
    "BACKUP_ERROR",
];

/// The known variable `name`.
#[must_use]
pub fn find(name: &str) -> Option<Key> {
    KEYS.iter().copied().find(|key| key.name == name)
}

/// Whether `name` is a known variable, or the `NAME_FILE` of one.
#[must_use]
pub fn is_known(name: &str) -> bool {
    find(name).is_some()
        || name.strip_suffix("_FILE").and_then(find).is_some_and(|key| matches!(key.form, Form::OrFile | Form::Secret))
}

/// The known variable of ours that `name` was perhaps meant to be. The prefix that all share counts for nothing.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let word = name.strip_prefix(PREFIX).unwrap_or(name);
    let endings = KEYS.iter().filter_map(|key| key.name.strip_prefix(PREFIX));
    let ending = text::nearest(word, endings)?;
    KEYS.iter().map(|key| key.name).find(|known| known.strip_prefix(PREFIX) == Some(ending))
}

/// Names that other programs have for ours, and ours. They are no mistakes by themselves: the application may read them too.
const ELSEWHERE: [(&str, &str); 22] = [
    ("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ("AWS_BUCKET", "S3_BACKUP_BUCKET"),
    ("AWS_ENDPOINT", "S3_ENDPOINT_URL"),
    ("AWS_ENDPOINT_URL", "S3_ENDPOINT_URL"),
    ("AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL"),
    ("AWS_REGION", "AWS_DEFAULT_REGION"),
    ("AWS_S3_BUCKET", "S3_BACKUP_BUCKET"),
    ("AWS_S3_BUCKET_NAME", "S3_BACKUP_BUCKET"),
    ("AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
    ("POSTGRES_DATABASE", "POSTGRES_DB"),
    ("POSTGRES_DBNAME", "POSTGRES_DB"),
    ("POSTGRES_PASS", "POSTGRES_PASSWORD"),
    ("POSTGRES_USERNAME", "POSTGRES_USER"),
    ("S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ("S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    ("S3_BUCKET", "S3_BACKUP_BUCKET"),
    ("S3_BUCKET_NAME", "S3_BACKUP_BUCKET"),
    ("S3_ENDPOINT", "S3_ENDPOINT_URL"),
    ("S3_REGION", "AWS_DEFAULT_REGION"),
    ("S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    ("S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
    ("SCW_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
];

/// Variables of ours without our prefix: a misspelt one may be somebody else's, so that it is doubted and not refused.
const SHARED: [&str; 3] = ["S3_", "AWS_", "POSTGRES_"];

/// The variable that `name`, which is not ours, was perhaps meant to be; names that other programs have for a bucket only `with_buckets`.
#[must_use]
pub fn doubted(name: &str, with_buckets: bool) -> Option<&'static str> {
    if let Some((_, meant)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name) {
        return Some(*meant).filter(|meant| with_buckets || meant.starts_with("POSTGRES_"));
    }
    let prefix = SHARED.into_iter().find(|prefix| name.starts_with(prefix))?;
    let known = KEYS.iter().map(|key| key.name).filter(|known| known.starts_with(prefix));
    // Two letters are swapped, missing or too many; the application has others of this prefix.
    known.filter(|_| !is_known(name)).find(|known| strsim::damerau_levenshtein(name, known) <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_1_names_of_other_programs_and_misspelt_ones_are_doubted() {
        assert_eq!(doubted("S3_BUCKET", true), Some("S3_BACKUP_BUCKET"));
        assert_eq!(doubted("S3_BACKUP_BUKCET", false), Some("S3_BACKUP_BUCKET"));
        assert_eq!(doubted("AWS_SECRET_ACCES_KEY", false), Some("AWS_SECRET_ACCESS_KEY"));
        assert_eq!(doubted("POSTGRES_USR", false), Some("POSTGRES_USER"));
        assert_eq!(doubted("S3_BUCKET", false), None);
        for fine in
            ["S3_BACKUP_BUCKET", "POSTGRES_PASSWORD_FILE", "AWS_PROFILE", "POSTGRES_INITDB_ARGS", "S3_MEDIA", "PATH"]
        {
            assert_eq!(doubted(fine, true), None, "{fine}");
        }
        assert!(ELSEWHERE.iter().all(|(theirs, ours)| !is_known(theirs) && is_known(ours)));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
    }

    #[test]
    fn file_forms_are_known_for_secrets_only() {
        assert!(is_known("POSTGRES_PASSWORD_FILE"));
        assert!(is_known("AWS_SECRET_ACCESS_KEY_FILE"));
        assert!(is_known("BACKUP_LOG_FILE"), "a variable of its own that only ends like one");
        assert!(!is_known("BACKUP_SCHEDULE_FILE"));
    }

    #[test]
    fn fault_1_the_nearest_name_is_found() {
        assert_eq!(nearest("BACKUP_SCHEDUEL"), Some("BACKUP_SCHEDULE"));
        assert_eq!(nearest("BACKUP_RETENTION_DAY"), Some("BACKUP_RETENTION_DAYS"));
        assert_eq!(nearest("BACKUP_QQQQ"), None);
    }
}
