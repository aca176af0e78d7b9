//! A directory of this machine as a store.
//!
//! Files are made exclusively, 0600, as `<name>.partial`, synced, and renamed without replacing; the directory is
//! synced after that. Links are never followed, and every name is resolved in the directory as it is at that moment, so that a volume
//! mounted over it meanwhile is seen. What backups are, and which of them may go, is not known here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};
use rust_i18n::t;

use crate::domain::name::{Role, role};
use crate::domain::text::escape;
use crate::store::growing::{Growing, ReadAt};
use crate::store::{
    Action, Draft, Error, Ignored, Listing, Object, PARTIAL, Pin, Reader, Rights, Space, Store, Trail, Upload,
    Workshop, check_name,
};

mod copy;
mod facts;
mod system;

pub use facts::Facts;
use system::System;

/// Backups in a directory.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    /// Replaced by tests that make a disk fail.
    system: System,
}

impl LocalStore {
    /// A store in `dir`, which must be there.
    ///
    /// # Errors
    /// [`Error::NoDirectory`], [`Error::Denied`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::with_system(dir.into(), System::real())
    }

    fn with_system(dir: PathBuf, system: System) -> Result<Self, Error> {
        let store = Self { inner: Arc::new(Inner { dir, system }) };
        store.inner.handle()?;
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What an operator should know about the directory: mount, owner, mode, room.
    ///
    /// # Errors
    /// [`Error::NoDirectory`], [`Error::Denied`], [`Error::Io`].
    pub fn facts(&self) -> Result<Facts, Error> {
        let inner = &self.inner;
        let meta = inner.handle()?.metadata().map_err(|e| inner.error(Action::Open, "", &e))?;
        Ok(Facts::new(&inner.dir, &meta, inner.space()?))
    }

    /// Drafts that an earlier run left, sorted by name (theirs, with [`PARTIAL`]). Only whoever holds the lock of the
    /// directory knows that they are not another run's.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn leftovers(&self) -> Result<Vec<Object>, Error> {
        self.blocking(|inner| Ok(inner.scan()?.drafts)).await
    }

    /// Removes what [`LocalStore::leftovers`] finds, and says what that was. Under the lock of the directory only.
    ///
    /// # Errors
    /// As [`Store::list`] and [`Store::delete`].
    pub async fn remove_leftovers(&self) -> Result<Vec<Object>, Error> {
        self.blocking(|inner| {
            let drafts = inner.scan()?.drafts;
            let dir = inner.handle()?;
            for draft in &drafts {
                inner.unlink(&dir, &draft.name)?;
            }
            if !drafts.is_empty() {
                inner.sync_dir(&dir, PARTIAL)?;
            }
            Ok(drafts)
        })
        .await
    }

    /// Does `work` on a thread that may wait for a disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let place = inner.place();
        tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or_else(|e| {
            Err(Error::Io { action: Action::Open, name: String::new(), place, cause: escape(&e.to_string()) })
        })
    }
}

#[async_trait]
impl Store for LocalStore {
    fn place(&self) -> String {
        self.inner.place()
    }

    async fn list(&self) -> Result<Listing, Error> {
        self.blocking(|inner| Ok(inner.scan()?.listing)).await
    }

    async fn open(&self, name: &str) -> Result<Reader, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let file = inner.open_file(&name)?;
            Ok(Box::new(LocalReader { inner: Arc::clone(inner), name, file }) as Reader)
        })
        .await
    }

    async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let mut bytes = Vec::new();
            let file = inner.open_file(&name)?;
            // One more than allowed tells too large a file from one that fits.
            file.take(limit.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|e| inner.error(Action::Read, &name, &e))?;
            if bytes.len() as u64 > limit {
                return Err(Error::TooLarge { name: escape(&name), place: inner.place(), limit });
            }
            Ok(bytes)
        })
        .await
    }

    async fn head(&self, name: &str) -> Result<Object, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let meta = inner.open_file(&name)?.metadata().map_err(|e| inner.error(Action::Open, &name, &e))?;
            Ok(object(&name, &meta))
        })
        .await
    }

    async fn get(&self, name: &str, from: u64, length: u64) -> Result<Bytes, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let failed = |e: io::Error| inner.error(Action::Read, &name, &e);
            let too_long = |_| failed(io::Error::from(io::ErrorKind::UnexpectedEof));
            let mut bytes = vec![0; usize::try_from(length).map_err(too_long)?];
            inner.open_file(&name)?.read_exact_at(&mut bytes, from).map_err(failed)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    async fn upload(&self, name: &str, source: Growing, _: u64) -> Result<Box<dyn Upload>, Error> {
        let draft = self.draft(name).await?;
        Ok(Box::new(copy::Copying::start(self, name, draft, source)))
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (name, bytes) = (name.to_owned(), bytes.to_vec());
        self.blocking(move |inner| {
            let mut draft = LocalDraft::create(inner, &name)?;
            draft.file.write_all(&bytes).map_err(|e| inner.error(Action::Write, &name, &e))?;
            Box::new(draft).publish()
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            check_name(&name)?;
            let dir = inner.handle()?;
            let existed = inner.unlink(&dir, &name)?;
            if existed {
                inner.sync_dir(&dir, &name)?;
            }
            Ok(existed)
        })
        .await
    }

    async fn sweep_drafts(&self, _: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync)) -> Result<Vec<String>, Error> {
        Ok(self.remove_leftovers().await?.into_iter().map(|o| o.name).collect())
    }

    async fn space(&self) -> Result<Option<Space>, Error> {
        self.blocking(|inner| inner.space().map(Some)).await
    }
}

#[async_trait]
impl Workshop for LocalStore {
    async fn draft(&self, name: &str) -> Result<Box<dyn Draft>, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| Ok(Box::new(LocalDraft::create(inner, &name)?) as Box<dyn Draft>)).await
    }

    async fn draft_over(&self, name: &str) -> Result<Box<dyn Draft>, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| Ok(Box::new(LocalDraft::create_over(inner, &name)?) as Box<dyn Draft>)).await
    }

    async fn pin(&self, name: &str) -> Result<Pin, Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let file = inner.open_file(&name)?;
            // Whoever looks whether it is in use holds it for that moment only. A file system without locks pins nothing.
            if let Err(error) = file.lock_shared() {
                tracing::debug!(name, %error, "pin");
            }
            Ok(Pin::new(file))
        })
        .await
    }

    async fn is_pinned(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        // For writing: network file systems lock nothing else for one alone.
        self.blocking(move |inner| match inner.open_as(&name, OFlag::O_RDWR) {
            Ok(file) => Ok(matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))),
            Err(Error::Missing { .. } | Error::Link { .. } | Error::NotAFile { .. }) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    async fn source(&self, name: &str) -> Result<(Arc<dyn ReadAt>, u64), Error> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let file = inner.open_file(&name)?;
            let length = file.metadata().map_err(|e| inner.error(Action::Open, &name, &e))?.len();
            Ok((Arc::new(file) as Arc<dyn ReadAt>, length))
        })
        .await
    }
}

fn object(name: &str, meta: &std::fs::Metadata) -> Object {
    let modified = meta.modified().map_or(chrono::DateTime::UNIX_EPOCH, Into::into);
    Object { name: name.to_owned(), bytes: meta.len(), modified, etag: None, frozen: None, owner: None }
}

/// What lies in the directory.
struct Scan {
    listing: Listing,
    drafts: Vec<Object>,
}

impl Inner {
    fn place(&self) -> String {
        escape(&self.dir.display().to_string())
    }

    /// The directory as it is now.
    fn handle(&self) -> Result<File, Error> {
        let flags = (OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits();
        std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.dir).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoDirectory { place: self.place() },
            _ => self.error(Action::Open, "", &e),
        })
    }

    fn scan(&self) -> Result<Scan, Error> {
        let failed = |e: io::Error| self.error(Action::List, "", &e);
        self.handle()?;
        let mut scan = Scan { listing: Listing::default(), drafts: Vec::new() };
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Deleted between the two looks.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(self.error(Action::List, &entry.file_name().to_string_lossy(), &e)),
            };
            let name = entry.file_name();
            scan.add(&name.to_string_lossy(), name.to_str().is_some(), &meta);
        }
        scan.listing.objects.sort_by(|a, b| a.name.cmp(&b.name));
        scan.listing.ignored.sort_by(|a, b| a.name.cmp(&b.name));
        scan.drafts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scan)
    }

    fn open_file(&self, name: &str) -> Result<File, Error> {
        self.open_as(name, OFlag::O_RDONLY)
    }

    fn open_as(&self, name: &str, how: OFlag) -> Result<File, Error> {
        check_name(name)?;
        let dir = self.handle()?;
        // NONBLOCK: opening a FIFO that somebody put here must not wait for its writer.
        let flags = how | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&dir, name, flags, Mode::empty()).map_err(|e| self.errno(Action::Open, name, e))?;
        let file = File::from(fd);
        let meta = file.metadata().map_err(|e| self.error(Action::Open, name, &e))?;
        if meta.is_file() { Ok(file) } else { Err(Error::NotAFile { name: escape(name), place: self.place() }) }
    }

    /// `false`: there was nothing.
    fn unlink(&self, dir: &File, name: &str) -> Result<bool, Error> {
        match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(Errno::EISDIR) => Err(Error::NotAFile { name: escape(name), place: self.place() }),
            Err(e) => Err(self.errno(Action::Delete, name, e)),
        }
    }

    /// Makes a change of the directory durable. Some network file systems cannot, and say so: that is tolerated;
    /// a failing disk is not (fault 40).
    fn sync_dir(&self, dir: &File, name: &str) -> Result<(), Error> {
        match (self.system.sync_dir)(dir) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOTSUP) => Ok(()),
            Err(e) => Err(self.sync_error(name, e)),
        }
    }

    fn sync_error(&self, name: &str, errno: Errno) -> Error {
        match errno {
            Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS => self.errno(Action::Write, name, errno),
            _ => Error::Sync { name: escape(name), place: self.place(), cause: errno.desc().to_owned() },
        }
    }

    fn space(&self) -> Result<Space, Error> {
        let stat = nix::sys::statvfs::statvfs(&self.dir).map_err(|e| self.errno(Action::Space, "", e))?;
        let size = stat.fragment_size();
        Ok(Space { free: stat.blocks_available() * size, total: stat.blocks() * size })
    }

    fn error(&self, action: Action, name: &str, error: &io::Error) -> Error {
        match error.raw_os_error() {
            Some(code) => self.errno(action, name, Errno::from_raw(code)),
            None => Error::Io { action, name: escape(name), place: self.place(), cause: escape(&error.to_string()) },
        }
    }

    fn errno(&self, action: Action, name: &str, errno: Errno) -> Error {
        let (name, place) = (escape(name), self.place());
        match errno {
            Errno::ENOENT => Error::Missing { name, place },
            Errno::EEXIST => Error::Exists { name, place },
            Errno::ELOOP => Error::Link { name, place },
            Errno::ENXIO => Error::NotAFile { name, place },
            Errno::ENOSPC | Errno::EDQUOT => {
                Error::NoSpace { name, place, space: self.space().unwrap_or(Space { free: 0, total: 0 }) }
            }
            Errno::EROFS => Error::ReadOnly { name, place },
            Errno::EACCES | Errno::EPERM => Error::Denied { name, place, rights: self.rights() },
            _ => Error::Io { action, name, place, cause: errno.desc().to_owned() },
        }
    }

    fn rights(&self) -> Rights {
        let uid = geteuid().as_raw();
        std::fs::metadata(&self.dir).map_or(Rights { uid, ..Rights::default() }, |m| Rights {
            owner: m.uid(),
            mode: m.mode() & 0o7777,
            uid,
        })
    }

    /// What root makes here belongs to whom the directory belongs: a host's crontab that runs as root must not
    /// lock out the sidecar, which is not root. Root without CAP_CHOWN may not, and need not.
    fn give_to_owner(&self, dir: &File, file: &File, name: &str) -> Result<(), Error> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let meta = dir.metadata().map_err(|e| self.error(Action::Create, name, &e))?;
        if meta.uid() == 0 {
            return Ok(());
        }
        match fchown(file, Some(Uid::from_raw(meta.uid())), Some(Gid::from_raw(meta.gid()))) {
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::ENOTSUP) => Ok(()),
            Err(e) => Err(self.errno(Action::Create, name, e)),
        }
    }
}

impl Scan {
    fn add(&mut self, name: &str, is_utf8: bool, meta: &std::fs::Metadata) {
        let reason = if meta.is_symlink() {
            Some("store.ignored.link")
        } else if meta.is_dir() {
            Some("store.ignored.directory")
        } else if !meta.is_file() {
            Some("store.ignored.special")
        } else {
            None
        };
        // Names with the end of a draft: a draft if the rest is a good name.
        let draft = name.strip_suffix(PARTIAL).filter(|_| reason.is_none() && is_utf8);
        // Other programs call what they have not finished the same; theirs have more between.
        let is_draft = draft.is_some_and(|rest| check_name(rest).is_ok() && role(rest) != Role::Other);
        let bad_name = || (!is_draft && (!is_utf8 || check_name(name).is_err())).then_some("store.ignored.name");
        if let Some(reason) = reason.or_else(bad_name) {
            self.listing.ignored.push(Ignored { name: escape(name), reason: t!(reason).into_owned() });
            return;
        }
        let object = object(name, meta);
        if is_draft { self.drafts.push(object) } else { self.listing.objects.push(object) }
    }
}

/// Reads a file; its failures carry the store's [`Error`].
struct LocalReader {
    inner: Arc<Inner>,
    name: String,
    file: File,
}

impl Read for LocalReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|e| wrap(&self.inner, Action::Read, &self.name, e))
    }
}

/// Keeps the kind of `error`, so that an interrupted call is repeated, and puts the store's words into it.
fn wrap(inner: &Inner, action: Action, name: &str, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::new(error.kind(), inner.error(action, name, &error))
}

/// A file in the making: `<name>.partial`.
struct LocalDraft {
    inner: Arc<Inner>,
    dir: File,
    file: File,
    name: String,
    partial: String,
    published: bool,
    /// Whether it takes the place of what has its name.
    over: bool,
}

impl LocalDraft {
    fn create(inner: &Arc<Inner>, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let dir = inner.handle()?;
        if nix::sys::stat::fstatat(&dir, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            return Err(Error::Exists { name: escape(name), place: inner.place() });
        }
        Self::begin(inner, dir, name, false)
    }

    fn create_over(inner: &Arc<Inner>, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        Self::begin(inner, inner.handle()?, name, true)
    }

    fn begin(inner: &Arc<Inner>, dir: File, name: &str, over: bool) -> Result<Self, Error> {
        let partial = format!("{name}{PARTIAL}");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&dir, partial.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| inner.errno(Action::Create, &partial, e))?;
        let draft = Self {
            inner: Arc::clone(inner),
            dir,
            file: File::from(fd),
            name: name.to_owned(),
            partial,
            published: false,
            over,
        };
        inner.give_to_owner(&draft.dir, &draft.file, name)?;
        Ok(draft)
    }

    /// The file once more, with a place of its own in it.
    fn reopen(&self) -> Result<File, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let failed = |e| self.inner.errno(Action::Read, &self.partial, e);
        Ok(File::from(openat(&self.dir, self.partial.as_str(), flags, Mode::empty()).map_err(failed)?))
    }

    /// Renames without replacing: in one call where the file system can, else by a second name and the removal of
    /// the first, which never replaces either.
    fn rename(&self) -> Result<(), Errno> {
        let system = &self.inner.system;
        match (system.rename_new)(&self.dir, &self.partial, &self.name) {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => {
                (system.link)(&self.dir, &self.partial, &self.name)?;
                // It has its name; a draft's name that cannot be removed is a leftover.
                let _ = unlinkat(&self.dir, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
                Ok(())
            }
            done => done,
        }
    }
}

impl Write for LocalDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|e| wrap(&self.inner, Action::Write, &self.name, e))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft for LocalDraft {
    fn sync(&mut self) -> Result<(), Error> {
        (self.inner.system.sync_file)(&self.file).map_err(|e| self.inner.sync_error(&self.name, e))
    }

    fn trail(&self) -> Result<Trail, Error> {
        let file = self.reopen()?;
        let cached = file.try_clone().map_err(|e| self.inner.error(Action::Read, &self.partial, &e))?;
        // The writer's own description of the file: an error that the system tells only once reaches one of us.
        let written = self.file.try_clone().map_err(|e| self.inner.error(Action::Write, &self.partial, &e))?;
        let (inner, name) = (Arc::clone(&self.inner), self.name.clone());
        let sync = move || {
            (inner.system.sync_file)(&written)
                .map_err(|e| io::Error::new(io::Error::from(e).kind(), inner.sync_error(&name, e)))?;
            drop_cache(&cached);
            Ok(())
        };
        let reader = LocalReader { inner: Arc::clone(&self.inner), name: self.name.clone(), file };
        Ok(Trail { reader: Box::new(reader), sync: Box::new(sync) })
    }

    fn read_at(&self) -> Result<Arc<dyn ReadAt>, Error> {
        let file = self.reopen()?;
        Ok(Arc::new(file))
    }

    fn publish(mut self: Box<Self>) -> Result<(), Error> {
        self.sync()?;
        let renamed = match self.over {
            true => nix::fcntl::renameat(&self.dir, self.partial.as_str(), &self.dir, self.name.as_str()),
            false => self.rename(),
        };
        renamed.map_err(|e| self.inner.errno(Action::Publish, &self.name, e))?;
        self.published = true;
        let inner = Arc::clone(&self.inner);
        inner.sync_dir(&self.dir, &self.name).inspect_err(|_| {
            if self.over {
                // Whichever of both is there after a power cut: the next look tells.
                return;
            }
            // Nobody may take for committed what could be gone after a power cut.
            let _ = unlinkat(&self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        })
    }
}

/// Asks the system to forget the file's pages, so that what is read again comes from the disk as far as that can be
/// asked for. Only synced pages are forgotten; a refusal changes nothing.
fn drop_cache(file: &File) {
    let _ = nix::fcntl::posix_fadvise(file.as_fd(), 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

impl Drop for LocalDraft {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed is a leftover: the next run sweeps it.
            let _ = unlinkat(&self.dir, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests;
