//! What the journal needs of a disk: memory that outlives its process, files that outlive a loss of power, and folders
//! that have one owner.
//!
//! Law: nothing else touches the journal's files. The true disk is made at the boundary, where memory may be mapped;
//! tests have one that dies where they say. Paths are relative to the disk's own folder.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Memory that is a file of a fixed size: what is stored in it outlives the process at once.
///
/// It is never flushed on purpose: a store into a page that is on its way to the disk would wait for the disk.
pub trait Region: Send + Sync + Debug {
    /// All of it, eight bytes a word, little-endian.
    fn words(&self) -> &[AtomicU64];
}

/// A file of a fixed size that is written and flushed.
pub trait File: Send + Sync + Debug {
    /// Writes `bytes` from the byte `at` on.
    ///
    /// # Errors
    /// Nobody knows how much of it is written.
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()>;

    /// Reads `count` bytes from the byte `at` on, or as many as there are.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, at: usize, count: usize) -> io::Result<Vec<u8>>;

    /// Waits until all that was written would survive a loss of power.
    ///
    /// # Errors
    /// It cannot be known whether it would; asking again tells nothing.
    fn sync(&self) -> io::Result<()>;
}

/// Whoever holds it owns a folder; it is free again when it is dropped, or when its process is gone.
pub type Owned = Box<dyn Any + Send + Sync>;

/// A folder of such files.
pub trait Disk: Send + Sync + Debug {
    /// The names in a folder, sorted; none where there is no such folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// New memory of zeros, all of whose room is there.
    ///
    /// # Errors
    /// There is no room, or a file of this name.
    fn map(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>>;

    /// Memory that is there.
    ///
    /// # Errors
    /// It is not.
    fn mapped(&self, path: &str) -> io::Result<Arc<dyn Region>>;

    /// A new file of zeros, all of whose room is there.
    ///
    /// # Errors
    /// There is no room, or a file of this name.
    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn File>>;

    /// A file that is there.
    ///
    /// # Errors
    /// It is not.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It stays.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Gives back the room of a file that nobody has mapped, from the byte `from` on: it reads as zeros there, and is as
    /// long as before.
    ///
    /// # Errors
    /// The room stays taken.
    fn release(&self, path: &str, from: usize) -> io::Result<()>;

    /// Shortens memory that is there to its first `bytes`. What was mapped of it before must not be touched again: even
    /// to look at what is no longer there ends the process.
    ///
    /// # Errors
    /// It stays as it is.
    fn cut(&self, path: &str, bytes: usize) -> io::Result<()>;

    /// Makes a folder one's own, where nobody who lives owns it.
    ///
    /// # Errors
    /// It cannot be made.
    fn own(&self, folder: &str) -> io::Result<Option<Owned>>;

    /// Removes a folder that one owns and that is otherwise empty.
    ///
    /// # Errors
    /// It stays.
    fn disown(&self, folder: &str, owned: Owned) -> io::Result<()>;
}

/// Stores `bytes`, filled up with zeros, from a word on; the first word last, so that it tells that all are there.
///
/// Whoever is killed in between has stored all but the first word, or nothing that counts.
pub fn store(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    let Some((first, rest)) = words.get(at..).and_then(<[_]>::split_first) else { return };
    let (whole, tail) = bytes.as_chunks::<8>();
    for (word, eight) in rest.iter().zip(whole.iter().skip(1)) {
        word.store(u64::from_le_bytes(*eight), Relaxed);
    }
    let mut last = [0; 8];
    last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    match whole.split_first() {
        Some((head, others)) => {
            if !tail.is_empty()
                && let Some(word) = rest.get(others.len())
            {
                word.store(u64::from_le_bytes(last), Relaxed);
            }
            first.store(u64::from_le_bytes(*head), Release);
        }
        None => first.store(u64::from_le_bytes(last), Release),
    }
}

/// The bytes of `count` words from `at` on, or of as many as there are.
#[must_use]
pub fn load(words: &[AtomicU64], at: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * 8);
    for word in words.iter().skip(at).take(count) {
        bytes.extend_from_slice(&word.load(Acquire).to_le_bytes());
    }
    bytes
}
