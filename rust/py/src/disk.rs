//! The true disk: files, some of them mapped into memory.
//!
//! Law: the only file that maps memory. A file is made whole, all of its room allocated, so a store into it never meets a
//! full disk; nobody but its folder's owner has it.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use levada_net::disk::{Disk, File, Owned, Region};
use levada_net::journal::{self, Terms};
use memmap2::MmapRaw;
use pyo3::prelude::*;

/// The file in a folder that its owner has locked.
const OWNER: &str = "owner";

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

#[derive(Debug)]
struct Mapped {
    map: MmapRaw,
    words: usize,
}

impl Mapped {
    fn region(file: &fs::File) -> io::Result<Arc<dyn Region>> {
        let map = MmapRaw::map_raw(file)?;
        let words = map.len() / 8;
        Ok(Arc::new(Self { map, words }))
    }
}

impl Region for Mapped {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: a mapping begins at a page, so it is aligned; it lives as long as `self`; it was made readable and
        // writable, and the file is as long, for only its owner changes it. All access is through atomics.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

#[derive(Debug)]
struct Written(fs::File);

impl File for Written {
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at as u64)
    }

    fn read(&self, at: usize, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, (at + read) as u64) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Reads the journals in a folder through: how many entries there are, and what is not as it was written.
#[pyfunction]
pub fn verify_journals(py: Python<'_>, folder: &str) -> PyResult<(u64, Vec<String>)> {
    let found = py.detach(|| journal::verify(&Folder(folder.into()), Terms::default()))?;
    Ok((found.entries, found.damages))
}

impl Folder {
    /// A new file with all of its room.
    fn allocated(&self, path: &str, bytes: usize) -> io::Result<fs::File> {
        let path = self.0.join(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        match allocate(&file, bytes) {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn there(&self, path: &str) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(true).open(self.0.join(path))
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

    fn map(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>> {
        Mapped::region(&self.allocated(path, bytes)?)
    }

    fn mapped(&self, path: &str) -> io::Result<Arc<dyn Region>> {
        Mapped::region(&self.there(path)?)
    }

    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Written(self.allocated(path, bytes)?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Written(self.there(path)?)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(path))
    }

    fn release(&self, path: &str, from: usize) -> io::Result<()> {
        punch(&self.there(path)?, from)
    }

    fn cut(&self, path: &str, bytes: usize) -> io::Result<()> {
        self.there(path)?.set_len(bytes as u64)
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

/// Makes a hole of the rest of a file. Never of one that is mapped: where the disk is memory, looking into a hole takes
/// room, and kills where there is none.
fn punch(file: &fs::File, from: usize) -> io::Result<()> {
    let length = file.metadata()?.len().saturating_sub(from as u64);
    let offset = libc::off_t::try_from(from).map_err(io::Error::other)?;
    let length = libc::off_t::try_from(length).map_err(io::Error::other)?;
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    match unsafe { libc::fallocate(file.as_raw_fd(), how, offset, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives a new file all of its room.
fn allocate(file: &fs::File, bytes: usize) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
