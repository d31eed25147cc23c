//! A disk in memory, which can be cut off from power and can run out of room.
#![allow(dead_code)] // each of its users needs some of it

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::disk::{Disk, Owned, Region};

#[derive(Debug)]
struct File {
    words: Vec<AtomicU64>,
    durable: Mutex<Vec<u64>>,
    broken: Arc<Mutex<bool>>,
}

impl Region for File {
    fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    fn sync(&self) -> io::Result<()> {
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("the disk is broken"));
        }
        *self.durable.lock().unwrap() = self.words.iter().map(|word| word.load(Relaxed)).collect();
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<String, Arc<File>>,
    owners: BTreeMap<String, Arc<()>>,
}

/// The disk; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    held: Arc<Mutex<Held>>,
    /// How many more files may be made; nothing: any number.
    pub room: Arc<Mutex<Option<usize>>>,
    /// Whether flushing fails.
    pub broken: Arc<Mutex<bool>>,
}

impl Memory {
    /// What was not flushed is gone.
    pub fn lose_power(&self) {
        let mut held = self.held.lock().unwrap();
        held.owners.values_mut().for_each(|owner| *owner = Arc::default());
        for file in held.files.values() {
            let durable = file.durable.lock().unwrap();
            for (at, word) in file.words.iter().enumerate() {
                word.store(durable.get(at).copied().unwrap_or_default(), Relaxed);
            }
        }
    }

    /// The names in a folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        self.list(folder).unwrap()
    }

    /// Changes a bit of a file.
    pub fn flip(&self, path: &str, bit: usize) {
        let held = self.held.lock().unwrap();
        held.files[path].words[bit / 64].fetch_xor(1 << (bit % 64), Relaxed);
    }
}

impl Disk for Memory {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let held = self.held.lock().unwrap();
        if folder.is_empty() {
            return Ok(held.owners.keys().cloned().collect());
        }
        let inside = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(held.files.keys().filter_map(inside).collect())
    }

    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>> {
        let mut room = self.room.lock().unwrap();
        if *room == Some(0) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        *room = room.map(|room| room - 1);
        let words = (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        let file = Arc::new(File { words, durable: Mutex::default(), broken: Arc::clone(&self.broken) });
        let before = self.held.lock().unwrap().files.insert(path.to_owned(), Arc::clone(&file));
        assert!(before.is_none(), "{path} is there already");
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn Region>> {
        let held = self.held.lock().unwrap();
        let file = held.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn Region>)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let removed = self.held.lock().unwrap().files.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn own(&self, folder: &str) -> io::Result<Option<Owned>> {
        let mut held = self.held.lock().unwrap();
        let owner = held.owners.entry(folder.to_owned()).or_default();
        Ok((Arc::strong_count(owner) == 1).then(|| Box::new(Arc::clone(owner)) as Owned))
    }

    fn disown(&self, folder: &str, owned: Owned) -> io::Result<()> {
        drop(owned);
        self.held.lock().unwrap().owners.remove(folder);
        Ok(())
    }
}
