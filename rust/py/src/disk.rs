//! The true disk: files mapped into memory.
//!
//! Law: the only file that maps memory. A file is made whole before it is mapped, all of its room allocated, so a store
//! into it never meets a full disk; nobody but its folder's owner has it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use levada_net::disk::{Disk, Owned, Region};
use memmap2::MmapRaw;

/// The file in a folder that its owner has locked.
const OWNER: &str = "owner";

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

#[derive(Debug)]
struct Mapped {
    file: File,
    map: MmapRaw,
    words: usize,
}

impl Mapped {
    fn region(file: File) -> io::Result<Arc<dyn Region>> {
        let map = MmapRaw::map_raw(&file)?;
        let words = map.len() / 8;
        Ok(Arc::new(Self { file, map, words }))
    }
}

impl Region for Mapped {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: a mapping begins at a page, so it is aligned; it lives as long as `self`; it was made readable and
        // writable, and the file is as long, for only its owner changes it. All access is through atomics.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }

    fn sync(&self) -> io::Result<()> {
        // The pages of a shared mapping are the file's own.
        self.file.sync_data()
    }
}

impl Disk for Folder {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.0.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string();
            names.extend(name.into_iter().filter(|name| name != OWNER));
        }
        names.sort();
        Ok(names)
    }

    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>> {
        let path = self.0.join(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let made = allocate(&file, bytes).and_then(|()| Mapped::region(file));
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn Region>> {
        Mapped::region(OpenOptions::new().read(true).write(true).open(self.0.join(path))?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(path))
    }

    fn own(&self, folder: &str) -> io::Result<Option<Owned>> {
        let folder = self.0.join(folder);
        fs::create_dir_all(&folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(OWNER))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Box::new(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn disown(&self, folder: &str, owned: Owned) -> io::Result<()> {
        let folder = self.0.join(folder);
        fs::remove_file(folder.join(OWNER))?;
        drop(owned);
        fs::remove_dir(folder)
    }
}

/// Gives a new file all of its room.
fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
