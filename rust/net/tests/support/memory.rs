//! A disk in memory, which can be cut off from power, run out of room and break.
#![allow(dead_code)] // each of its users needs some of it

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, File, Owned, Region};

#[derive(Debug)]
struct Mapped(Vec<AtomicU64>);

impl Region for Mapped {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[derive(Debug)]
struct Written {
    bytes: Mutex<Vec<u8>>,
    durable: Mutex<Vec<u8>>,
    broken: Arc<Mutex<bool>>,
}

impl File for Written {
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, at: usize, count: usize) -> io::Result<Vec<u8>> {
        let bytes = self.bytes.lock().unwrap();
        Ok(bytes[at.min(bytes.len())..(at + count).min(bytes.len())].to_vec())
    }

    fn sync(&self) -> io::Result<()> {
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("the disk is broken"));
        }
        self.durable.lock().unwrap().clone_from(&self.bytes.lock().unwrap());
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Held {
    mapped: BTreeMap<String, Arc<Mapped>>,
    written: BTreeMap<String, Arc<Written>>,
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
    /// How often a file was opened.
    pub opens: Arc<AtomicUsize>,
}

impl Memory {
    /// What was not flushed is gone.
    pub fn lose_power(&self) {
        let mut held = self.held.lock().unwrap();
        held.owners.values_mut().for_each(|owner| *owner = Arc::default());
        for file in held.mapped.values() {
            file.0.iter().for_each(|word| word.store(0, Relaxed));
        }
        for file in held.written.values() {
            let (mut bytes, durable) = (file.bytes.lock().unwrap(), file.durable.lock().unwrap());
            let length = bytes.len();
            bytes.clone_from(&durable);
            bytes.resize(length, 0);
        }
    }

    /// The names in a folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        self.list(folder).unwrap()
    }

    /// Changes a bit of a file.
    pub fn flip(&self, path: &str, bit: usize) {
        let held = self.held.lock().unwrap();
        if let Some(file) = held.mapped.get(path) {
            file.0[bit / 64].fetch_xor(1 << (bit % 64), Relaxed);
            return;
        }
        held.written[path].bytes.lock().unwrap()[bit / 8] ^= 1 << (bit % 8);
    }

    fn take_room(&self) -> io::Result<()> {
        let mut room = self.room.lock().unwrap();
        if *room == Some(0) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        *room = room.map(|room| room - 1);
        Ok(())
    }
}

impl Disk for Memory {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let held = self.held.lock().unwrap();
        if folder.is_empty() {
            return Ok(held.owners.keys().cloned().collect());
        }
        let all = held.mapped.keys().chain(held.written.keys());
        let inside = all.filter_map(|path| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned()));
        let mut names: Vec<_> = inside.collect();
        names.sort();
        Ok(names)
    }

    fn map(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn Region>> {
        let file = Arc::new(Mapped((0..bytes / 8).map(|_| AtomicU64::new(0)).collect()));
        assert!(self.held.lock().unwrap().mapped.insert(path.to_owned(), Arc::clone(&file)).is_none());
        Ok(file)
    }

    fn mapped(&self, path: &str) -> io::Result<Arc<dyn Region>> {
        let held = self.held.lock().unwrap();
        let file = held.mapped.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn Region>)
    }

    fn make(&self, path: &str, bytes: usize) -> io::Result<Arc<dyn File>> {
        self.take_room()?;
        let bytes = Mutex::new(vec![0; bytes]);
        let file = Arc::new(Written { bytes, durable: Mutex::default(), broken: Arc::clone(&self.broken) });
        let before = self.held.lock().unwrap().written.insert(path.to_owned(), Arc::clone(&file));
        assert!(before.is_none(), "{path} is there already");
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.opens.fetch_add(1, Relaxed);
        let held = self.held.lock().unwrap();
        let file = held.written.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn File>)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut held = self.held.lock().unwrap();
        let written = held.written.remove(path).is_some();
        if let Some(room) = self.room.lock().unwrap().as_mut().filter(|_| written) {
            *room += 1;
        }
        let gone = written || held.mapped.remove(path).is_some();
        gone.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn release(&self, path: &str, from: usize) -> io::Result<()> {
        self.held.lock().unwrap().written[path].bytes.lock().unwrap()[from..].fill(0);
        Ok(())
    }

    fn cut(&self, path: &str, bytes: usize) -> io::Result<()> {
        let mut held = self.held.lock().unwrap();
        let before = &held.mapped[path].0;
        let kept = before.iter().take(bytes / 8).map(|word| AtomicU64::new(word.load(Relaxed)));
        let after = Mapped(kept.collect());
        // Whoever still looks at it finds what makes no sense.
        before.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        held.mapped.insert(path.to_owned(), Arc::new(after));
        Ok(())
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
