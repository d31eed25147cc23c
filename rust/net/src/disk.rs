//! What the journal needs of a disk: files of a fixed size that lie in memory, and folders that have one owner.
//!
//! Law: nothing else touches the journal's files. The true disk is made at the boundary, where memory may be mapped;
//! tests have one that dies where they say. Paths are relative to the disk's own folder.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// A file of a fixed size. What is stored in its words outlives the process at once, and the machine after `sync`.
pub trait Region: Send + Sync + Debug {
    /// All of it, eight bytes a word, little-endian.
    fn words(&self) -> &[AtomicU64];

    /// Waits until all that was stored would survive a loss of power.
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

    /// A new file of zeros, all of whose room is there.
    ///
    /// # Errors
    /// There is no room, or one of this name.
    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>>;

    /// A file that is there.
    ///
    /// # Errors
    /// It is not.
    fn open(&self, path: &str) -> io::Result<Arc<dyn Region>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It stays.
    fn remove(&self, path: &str) -> io::Result<()>;

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
    let mut pairs = words.iter().skip(at).zip(bytes.chunks(8));
    let first = pairs.next();
    for (word, chunk) in pairs {
        word.store(packed(chunk), Relaxed);
    }
    if let Some((word, chunk)) = first {
        word.store(packed(chunk), Release);
    }
}

/// The bytes of `count` words from `at` on, or of as many as there are.
#[must_use]
pub fn load(words: &[AtomicU64], at: usize, count: usize) -> Vec<u8> {
    let some = words.iter().skip(at).take(count);
    some.flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
}

fn packed(chunk: &[u8]) -> u64 {
    let mut eight = [0; 8];
    for (to, from) in eight.iter_mut().zip(chunk) {
        *to = *from;
    }
    u64::from_le_bytes(eight)
}
