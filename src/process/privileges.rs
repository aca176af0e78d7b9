//! The rights of this process. In the sidecar's container it starts as root with SETUID, SETGID and CHOWN only, mends the rights
//! of the directories it works in, and becomes user [`USER`] for good. On a host nothing is changed.
//!
//! Root without `DAC_OVERRIDE` and `FOWNER` can change the mode of its own files only, and can list a directory only
//! where the mode lets it. So: the group of the user is taken first (it may list what was given away at an earlier start), modes come before
//! owners, and a directory is given away after its files.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, Gid, Uid};
use rust_i18n::t;

use crate::domain::text::escape;
use crate::error::{Exit, Explain};
use crate::process::status::Status;

/// The user and the group that the sidecar works as.
pub const USER: u32 = 10001;
/// What the owner and the group must be able to do with BACKUP_DIR.
const DIRECTORY_BITS: u32 = 0o750;
/// What the owner must be able to do with a file.
const FILE_BITS: u32 = 0o600;
/// The lane: others pass through, nobody lists; never sticky (`fs.protected_fifos`).
const LANE_MODE: u32 = 0o711;
/// Directories of ours in BACKUP_DIR begin like this; others are left alone.
const OWN_DIRECTORIES: &str = ".amarre";

/// What the kernel says of the rights of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities in force; 0: none.
    pub cap_eff: u64,
    /// Capabilities that could be put in force.
    pub cap_prm: u64,
    /// Capabilities that a program could gain.
    pub cap_bnd: u64,
    /// Whether no program that is started can gain rights.
    pub no_new_privs: bool,
}

impl Facts {
    /// Those of this process.
    #[must_use]
    pub fn of_self() -> Self {
        Self::from_status(&Status::of_self())
    }

    fn from_status(status: &Status) -> Self {
        let uids = status.numbers("Uid");
        Self {
            uid: uids.first().copied().unwrap_or_default(),
            euid: uids.get(1).copied().unwrap_or_default(),
            gid: status.numbers("Gid").first().copied().unwrap_or_default(),
            groups: status.numbers("Groups"),
            cap_eff: status.bits("CapEff").unwrap_or_default(),
            cap_prm: status.bits("CapPrm").unwrap_or_default(),
            cap_bnd: status.bits("CapBnd").unwrap_or_default(),
            no_new_privs: status.get("NoNewPrivs") == Some("1"),
        }
    }
}

/// What the sidecar works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workplace {
    /// `BACKUP_DIR`.
    pub backup_dir: PathBuf,
    /// `BACKUP_LANE_DIR`; it need not exist.
    pub lane_dir: PathBuf,
    /// The engine's socket, where the engine has one.
    pub socket: Option<PathBuf>,
}

/// A change to a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its permission bits.
    Mode(PathBuf, u32),
    /// Its owner and group.
    Owner(PathBuf, u32, u32),
}

/// A file or directory as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a directory; else a plain file. Nothing else is described.
    pub directory: bool,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits, with sticky, setuid and setgid.
    pub mode: u32,
}

impl Item {
    fn mode_for_us(&self) -> u32 {
        let wanted = if self.directory { DIRECTORY_BITS } else { FILE_BITS };
        (self.mode | wanted) & !0o002
    }

    fn is_ours(&self) -> bool {
        (self.uid, self.gid) == (USER, USER)
    }
}

/// Makes `item` have `mode` while it is root's: what is another's is taken first. What is ours already is left alone
/// when its mode is right.
#[must_use]
pub fn plan_mode(item: &Item, mode: u32) -> Vec<Step> {
    if item.mode == mode {
        return Vec::new();
    }
    let take = (item.uid != 0).then(|| Step::Owner(item.path.clone(), 0, item.gid));
    take.into_iter().chain([Step::Mode(item.path.clone(), mode)]).collect()
}

/// Makes a directory one that root can list: before its files can be described.
#[must_use]
pub fn plan_open(directory: &Item) -> Vec<Step> {
    // A running supervisor works in it: while its rights are good enough it is not taken away, not even for a moment.
    if directory.is_ours() && directory.mode & DIRECTORY_BITS == DIRECTORY_BITS {
        return Vec::new();
    }
    let steps = plan_mode(directory, directory.mode_for_us());
    if steps.is_empty() && !root_can_list(directory) {
        return vec![Step::Owner(directory.path.clone(), 0, directory.gid)];
    }
    steps
}

/// Root without `DAC_OVERRIDE`, in the group of [`USER`].
fn root_can_list(directory: &Item) -> bool {
    const GROUP: u32 = 0o050;
    const OTHERS: u32 = 0o005;
    let by_group = directory.gid == USER && directory.mode & GROUP == GROUP;
    directory.uid == 0 || by_group || directory.mode & OTHERS == OTHERS
}

/// Gives a directory and its `children` to [`USER`]: modes first, then owners, the directory last.
/// `directory` is described as it was before [`plan_open`].
#[must_use]
pub fn plan_give(directory: &Item, children: &[Item]) -> Vec<Step> {
    let strangers = || children.iter().filter(|child| !child.is_ours());
    let modes = strangers().flat_map(|child| plan_mode(child, child.mode_for_us()));
    let owners = strangers().map(|child| Step::Owner(child.path.clone(), USER, USER));
    let opened = !plan_open(directory).is_empty();
    let last = (opened || !directory.is_ours()).then(|| Step::Owner(directory.path.clone(), USER, USER));
    modes.chain(owners).chain(last).collect()
}

/// Gives the lane to [`USER`].
#[must_use]
pub fn plan_lane(lane: &Item) -> Vec<Step> {
    let mut steps = plan_mode(lane, LANE_MODE);
    if !steps.is_empty() || !lane.is_ours() {
        steps.push(Step::Owner(lane.path.clone(), USER, USER));
    }
    steps
}

/// The supplementary groups of the working process: the one that may use the socket, where that takes one.
#[must_use]
pub fn plan_groups(socket: Option<(u32, u32)>) -> Vec<u32> {
    const GROUP_MAY_USE: u32 = 0o060;
    const ALL_MAY_USE: u32 = 0o006;
    match socket {
        Some((gid, mode))
            if mode & GROUP_MAY_USE == GROUP_MAY_USE && mode & ALL_MAY_USE != ALL_MAY_USE && gid != USER =>
        {
            vec![gid]
        }
        _ => Vec::new(),
    }
}

/// Becomes [`USER`] for good: never returns when it was root in the container, since the program starts anew as the user.
/// Returns at once when it is not root, or not in the container. What could not be mended is told to `warn`: it may
/// not matter, and where it does, whoever needs it says so.
///
/// # Errors
/// When the rights cannot be given up: the sidecar does not work as root.
pub fn drop_root(in_container: bool, place: &Workplace, warn: &mut dyn FnMut(&Error)) -> Result<(), Error> {
    if !in_container || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    mend(place, warn);
    become_user(place)?;
    start_anew()
}

/// Mends the rights of the directories, as far as that is possible.
pub fn mend(place: &Workplace, warn: &mut dyn FnMut(&Error)) {
    // Without it a directory given away earlier cannot be listed. Refused: the rights cannot be dropped either, which is told then.
    let _ = nix::unistd::setgroups(&[Gid::from_raw(USER)]);
    if is_place(&place.backup_dir) {
        mend_backup_dir(&place.backup_dir, warn);
    }
    // Without the volume this is the image's own empty directory, on a root that is read-only: no lane, and nobody's mistake.
    let writable = |lane: &Item| lane.directory && is_place(&lane.path) && !is_read_only(&lane.path);
    if let Some(lane) = describe(&place.lane_dir).filter(writable) {
        apply(&plan_lane(&lane), warn);
    }
}

/// Nothing is checked yet when rights are mended: the root directory and relative paths stay as they are, and the settings
/// refuse them afterwards.
fn is_place(path: &Path) -> bool {
    let plain = path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    path.is_absolute() && path.parent().is_some() && plain
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
}

fn mend_backup_dir(path: &Path, warn: &mut dyn FnMut(&Error)) {
    // It exists wherever it is mounted; elsewhere the commands say what is wrong with it.
    let _ = fs::create_dir_all(path);
    mend_directory(path, warn);
}

fn mend_directory(path: &Path, warn: &mut dyn FnMut(&Error)) {
    let Some(directory) = describe(path).filter(|item| item.directory) else { return };
    apply(&plan_open(&directory), warn);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(cause) => {
            warn(&Error::Mend { path: path.to_path_buf(), cause });
            return apply(&plan_give(&directory, &[]), warn);
        }
    };
    let items: Vec<_> = entries.flatten().filter_map(|entry| describe(&entry.path())).collect();
    let (directories, files): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.directory);
    for own in directories.iter().filter(|item| is_own_directory(&item.path)) {
        mend_directory(&own.path, warn);
    }
    apply(&plan_give(&directory, &files), warn);
}

fn is_own_directory(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OWN_DIRECTORIES))
}

/// A plain file or directory; links and all else are nobody's business here.
fn describe(path: &Path) -> Option<Item> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let known = metadata.is_file() || metadata.is_dir();
    known.then(|| Item {
        path: path.to_path_buf(),
        directory: metadata.is_dir(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.permissions().mode() & 0o7777,
    })
}

fn apply(steps: &[Step], warn: &mut dyn FnMut(&Error)) {
    for step in steps {
        let (Step::Mode(path, _) | Step::Owner(path, ..)) = step;
        if let Err(cause) = apply_one(path, step) {
            warn(&Error::Mend { path: path.clone(), cause });
        }
    }
}

/// Works on an open handle, so that a name that becomes a link meanwhile leads nowhere.
fn apply_one(path: &Path, step: &Step) -> io::Result<()> {
    let handle = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let kind = handle.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    match step {
        Step::Mode(_, mode) => fs::set_permissions(name, fs::Permissions::from_mode(*mode)),
        Step::Owner(_, uid, gid) => std::os::unix::fs::chown(name, Some(*uid), Some(*gid)),
    }
}

fn become_user(place: &Workplace) -> Result<(), Error> {
    let refused = |cause: nix::Error| Error::Keep { cause: cause.into() };
    let socket = place.socket.as_ref().and_then(|path| fs::metadata(path).ok());
    let groups = plan_groups(socket.map(|socket| (socket.gid(), socket.permissions().mode() & 0o777)));
    let groups: Vec<_> = groups.into_iter().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups).map_err(refused)?;
    nix::unistd::setgid(Gid::from_raw(USER)).map_err(refused)?;
    nix::unistd::setuid(Uid::from_raw(USER)).map_err(refused)?;
    let facts = Facts::of_self();
    let is_back = nix::unistd::setuid(Uid::from_raw(0)).is_ok() || nix::unistd::setgid(Gid::from_raw(0)).is_ok();
    if is_back || facts.cap_eff != 0 || facts.cap_prm != 0 {
        return Err(Error::Keep { cause: io::Error::from_raw_os_error(libc::EPERM) });
    }
    Ok(())
}

/// Runs this program again, with the same arguments, so that nothing of root is left in its memory or handles.
fn start_anew() -> Result<(), Error> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "amarre".into());
    let cause = std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).exec();
    Err(Error::Keep { cause })
}

/// What this user lacks to work at `place`; empty is good. For `doctor`, and for a start with `user:` set.
#[must_use]
pub fn missing(place: &Workplace) -> Vec<Missing> {
    let mut missing = Vec::new();
    let may_write = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    if let Err(cause) = nix::unistd::access(&place.backup_dir, may_write) {
        let uid = nix::unistd::geteuid().as_raw();
        missing.push(Missing::Directory { path: place.backup_dir.clone(), uid, cause: cause.into() });
    }
    if let Some(path) = &place.socket
        && let Err(cause) = nix::unistd::access(path, AccessFlags::R_OK | AccessFlags::W_OK)
    {
        let gid = fs::metadata(path).ok().map(|metadata| metadata.gid());
        missing.push(Missing::Socket { path: path.clone(), gid, cause: cause.into() });
    }
    missing
}

/// Something that this user lacks.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// BACKUP_DIR cannot be listed or written.
    #[error("{}", t!("process.missing_directory", path = escape(&path.to_string_lossy()), uid = uid, cause = cause))]
    Directory {
        /// BACKUP_DIR.
        path: PathBuf,
        /// This user.
        uid: u32,
        /// What the system says.
        cause: io::Error,
    },
    /// The engine's socket cannot be used.
    #[error("{}", t!("process.missing_socket", path = escape(&path.to_string_lossy()), cause = cause))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Its group, where the socket exists.
        gid: Option<u32>,
        /// What the system says.
        cause: io::Error,
    },
}

impl Explain for Missing {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Directory { path, uid, .. } => {
                t!("process.missing_directory_hint", path = escape(&path.to_string_lossy()), uid = uid)
            }
            Self::Socket { gid: Some(gid), .. } => t!("process.missing_socket_hint", gid = gid),
            Self::Socket { gid: None, path, .. } => {
                t!("process.missing_socket_hint_absent", path = escape(&path.to_string_lossy()))
            }
        };
        Some(hint.into_owned())
    }
}

/// How giving up rights fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rights of a path cannot be mended.
    #[error("{}", t!("process.mend", path = escape(&path.to_string_lossy()), cause = cause))]
    Mend {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It would stay root.
    #[error("{}", t!("process.keep_root", user = USER, cause = cause))]
    Keep {
        /// What the system says.
        cause: io::Error,
    },
}

/// `error` for the operator, who is told while it goes on.
#[must_use]
pub fn explain(error: &Error) -> crate::error::Failure {
    crate::error::Failure { message: error.to_string(), hint: error.hint(), exit: error.exit() }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Mend { .. } => t!("process.mend_hint", user = USER),
            Self::Keep { .. } => t!("process.keep_root_hint", user = USER),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::status::EXAMPLE;

    fn item(path: &str, directory: bool, owner: u32, mode: u32) -> Item {
        Item { path: path.into(), directory, uid: owner, gid: owner, mode }
    }

    fn owner(path: &str, id: u32) -> Step {
        Step::Owner(path.into(), id, id)
    }

    #[test]
    fn facts_are_what_the_kernel_says() {
        let facts = Facts::from_status(&Status::parse(EXAMPLE));
        let expected = Facts {
            uid: 10001,
            euid: 10001,
            gid: 10001,
            groups: vec![998, 10001],
            cap_eff: 0,
            cap_prm: 0,
            cap_bnd: 0xc1,
            no_new_privs: true,
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn modes_come_first_then_children_and_the_directory_last() {
        let directory = item("/b", true, 0, 0o700);
        let children = [item("/b/old.sql.gz", false, 0, 0o600), item("/b/odd", false, 0, 0o400)];
        assert_eq!(plan_open(&directory), [Step::Mode("/b".into(), 0o750)]);
        let expected = [
            Step::Mode("/b/odd".into(), 0o600),
            owner("/b/old.sql.gz", USER),
            owner("/b/odd", USER),
            owner("/b", USER),
        ];
        assert_eq!(plan_give(&directory, &children), expected);
    }

    #[test]
    fn a_directory_in_use_is_not_taken_away_to_mend_a_file_in_it() {
        let directory = item("/b", true, USER, 0o750);
        assert_eq!(plan_open(&directory), []);
        let children = [item("/b/ours", false, USER, 0o600), item("/b/of-crontab", false, 0, 0o600)];
        assert_eq!(plan_give(&directory, &children), [owner("/b/of-crontab", USER)]);
        assert_eq!(plan_give(&directory, &children[..1]), [], "nothing to do, nothing done");
    }

    #[test]
    fn what_another_user_owns_is_taken_before_its_mode_is_changed() {
        let directory = item("/b", true, 1000, 0o500);
        assert_eq!(plan_open(&directory), [Step::Owner("/b".into(), 0, 1000), Step::Mode("/b".into(), 0o750)]);
        assert_eq!(plan_give(&directory, &[]), [owner("/b", USER)]);
        let readable = item("/b", true, 1000, 0o755);
        assert_eq!(plan_open(&readable), [], "good enough as it is, given away later");
        assert_eq!(plan_give(&readable, &[]), [owner("/b", USER)]);
        let closed = item("/b", true, 1000, 0o750);
        assert_eq!(plan_open(&closed), [Step::Owner("/b".into(), 0, 1000)]);
        assert_eq!(plan_give(&closed, &[]), [owner("/b", USER)]);
    }

    #[test]
    fn nobody_else_may_write() {
        assert_eq!(plan_open(&item("/b", true, 0, 0o777)), [Step::Mode("/b".into(), 0o775)]);
    }

    #[test]
    fn the_lane_is_0711_and_never_sticky() {
        assert_eq!(
            plan_lane(&item("/lane", true, 0, 0o1777)),
            [Step::Mode("/lane".into(), 0o711), owner("/lane", USER)]
        );
        assert_eq!(plan_lane(&item("/lane", true, USER, 0o711)), []);
        let taken = [Step::Owner("/lane".into(), 0, USER), Step::Mode("/lane".into(), 0o711), owner("/lane", USER)];
        assert_eq!(plan_lane(&item("/lane", true, USER, 0o755)), taken);
    }

    #[test]
    fn fault_8_the_group_of_the_socket_is_taken_where_it_helps() {
        assert_eq!(plan_groups(Some((998, 0o660))), [998]);
        assert_eq!(plan_groups(Some((0, 0o660))), [0]);
        assert_eq!(plan_groups(Some((998, 0o666))), [0; 0]);
        assert_eq!(plan_groups(Some((998, 0o600))), [0; 0]);
        assert_eq!(plan_groups(None), [0; 0]);
    }

    #[test]
    fn the_root_directory_is_never_given_away() {
        for path in ["/", "/var/..", "backups", "", "/a/../.."] {
            assert!(!is_place(Path::new(path)), "{path}");
        }
        assert!(is_place(Path::new("/var/backups/hub-chantier/")));
    }

    #[test]
    fn nothing_happens_outside_the_container() {
        let place = Workplace { backup_dir: "/nonexistent/b".into(), lane_dir: "/nonexistent/l".into(), socket: None };
        drop_root(false, &place, &mut |_| panic!("nothing was to be mended")).expect("nothing to do");
        assert_eq!(Facts::of_self().euid, nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn fault_8_what_is_missing_is_named_with_its_fix() {
        let place = Workplace {
            backup_dir: "/nonexistent/b".into(),
            lane_dir: "/lane".into(),
            socket: Some("/nonexistent/docker.sock".into()),
        };
        let missing = missing(&place);
        assert_eq!(missing.len(), 2);
        assert!(missing[0].to_string().contains("/nonexistent/b"), "{}", missing[0]);
        assert!(missing[1].hint().is_some_and(|hint| hint.contains("/nonexistent/docker.sock")));
    }
}
