//! Reads journals through, as they lie on the disk, and says what in them is not as it was written.
//!
//! Law: it owns nothing and changes nothing. A living worker may write meanwhile: what is damage only in passing is read
//! again before it is told.

use std::io;
use std::thread;
use std::time::Duration;

use super::backlog::Walk;
use super::{Terms, path, segments};
use crate::disk::Disk;

/// A batch of a living worker is whole after so long.
const AGAIN: Duration = Duration::from_millis(250);
const TRIES: usize = 4;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that are as they were written.
    pub entries: u64,
    /// What is not.
    pub damages: Vec<String>,
}

/// Reads all journals of a disk through.
///
/// # Errors
/// The folder cannot be read.
pub fn verify(disk: &dyn Disk, terms: Terms) -> io::Result<Verified> {
    let mut all = Verified::default();
    for name in disk.list("")? {
        let mut found = of(disk, &name, terms)?;
        for _ in 1..TRIES {
            if found.damages.is_empty() {
                break;
            }
            thread::sleep(AGAIN);
            let again = of(disk, &name, terms)?;
            // Damage stays where it is; a batch that was being written is whole by now.
            found.damages.retain(|damage| again.damages.contains(damage));
            found.entries = again.entries;
        }
        all.entries += found.entries;
        all.damages.extend(found.damages);
    }
    Ok(all)
}

fn of(disk: &dyn Disk, name: &str, terms: Terms) -> io::Result<Verified> {
    let mut found = Verified::default();
    let numbers = segments(disk, name)?;
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        if before + 1 != *after {
            found.damages.push(format!("{}: the segment is missing", path(name, before + 1)));
        }
    }
    for number in &numbers {
        // One that was acknowledged in the meantime is gone.
        let Ok(file) = disk.open(&path(name, *number)) else { continue };
        if file.read(terms.segment - 1, 1)?.is_empty() {
            found.damages.push(format!("{}: the file is cut off", path(name, *number)));
        }
    }
    for entry in Walk::whole(disk, name) {
        match entry {
            Ok(_) => found.entries += 1,
            Err(damage) => found.damages.push(damage),
        }
    }
    Ok(found)
}
