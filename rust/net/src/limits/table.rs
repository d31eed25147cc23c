//! The table of all counts: memory that is a file, shared by the old worker and the new one, forgotten by no restart.
//!
//! Law: one lock, held for the few words of one call and never across an await. A word is noted before it is changed, so
//! that whoever finds the lock with a dead owner undoes half a change and goes on. Its time never goes back and never
//! jumps: it is the time since the boot, and over a boot the wall clock's, if that has gone forward.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use levada_core::bounds;
use levada_core::limit::cell::{self, Cell, Outcome};
use levada_core::limit::{Amounts, Rule};

use super::seat::{self, Seat};
use crate::disk::{Disk, Region};

const NAME: &str = "counts";
/// The folder whose owner makes the table.
const MAKING: &str = "making";
/// The head: what tells that it is whole, a seed, the boot, the time at the boot, the newest time, the wall clock's at
/// that time, and the lock: the holder's seat and one.
const FORM: usize = 0;
const SEED: usize = 1;
const BOOT: usize = 2;
const ORIGIN: usize = 3;
const NEWEST: usize = 4;
const WALL: usize = 5;
const LOCK: usize = 6;
/// What each cell is for, and the cells.
const TAGS: usize = 8;
const CELLS: usize = TAGS + bounds::CELLS;
const BYTES: usize = (CELLS + bounds::CELLS * cell::WORDS) * 8;
/// A table of another form is another's.
const THIS_FORM: u64 = 0x6C65_7661_6461_0002;
/// How far from its own place a cell may lie.
const PROBES: usize = 64;
/// How often the lock is asked for before its holder's life is doubted; with a yield each time, some milliseconds.
const DOUBT: u32 = 2048;
/// A start that meets another waits for it.
const PATIENCE: u32 = 500;

/// The time since the boot, and which boot that was.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What names the boot.
    pub boot: u64,
    /// The time since it at `began`, in milliseconds.
    pub since_ms: u64,
    /// When this was read.
    pub began: Instant,
}

/// The table, and this process's seat at it.
#[derive(Debug)]
pub struct Table {
    disk: Arc<dyn Disk>,
    region: Arc<dyn Region>,
    seat: Seat,
    clock: Clock,
    origin_ms: u64,
    seed: u64,
    /// The rows of the seat that are free. Whoever has them may ask for the lock.
    free: Mutex<Vec<usize>>,
}

/// The table while it is locked.
pub struct Locked<'a> {
    table: &'a Table,
    words: &'a [AtomicU64],
    notes: &'a [AtomicU64],
    noted: usize,
    free: MutexGuard<'a, Vec<usize>>,
}

/// One cell of it.
pub struct At<'l, 'a> {
    locked: &'l mut Locked<'a>,
    base: usize,
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(since).unwrap_or_default()
}

impl Table {
    /// The table on this disk, which is made if there is none.
    ///
    /// # Errors
    /// The disk has no room, or all seats are taken.
    pub fn open(disk: Arc<dyn Disk>, clock: Clock) -> io::Result<Self> {
        // Whoever makes it is alone.
        let mut making = disk.own(MAKING)?;
        for _ in 0..PATIENCE {
            if making.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
            making = disk.own(MAKING)?;
        }
        if making.is_none() {
            return Err(io::Error::other("another process has been opening the limits for too long"));
        }
        let there = disk.mapped(NAME).ok().filter(|region| is_whole(region.words()));
        let region = match there {
            Some(region) => region,
            None => {
                let _ = disk.remove(NAME);
                let region = disk.map(NAME, BYTES)?;
                seat::put(region.words(), SEED, fastrand::u64(..) | 1);
                region
            }
        };
        let seat = Seat::take(&*disk)?;
        let word = |at: usize| region.words().get(at).map_or(0, |word| word.load(Acquire));
        let (seed, free) = (word(SEED), Mutex::default());
        let mut table = Self { disk, region: Arc::clone(&region), seat, clock, origin_ms: 0, seed, free };
        if word(BOOT) != clock.boot || word(FORM) != THIS_FORM {
            table.reboot();
        }
        table.origin_ms = word(ORIGIN);
        seat::put(region.words(), FORM, THIS_FORM);
        table.take_over();
        table.free = Mutex::new(table.seat.free());
        table.tell_time();
        drop(making);
        Ok(table)
    }

    /// The machine was started anew: nobody is under way, and what was on its way to the disk may be torn.
    fn reboot(&self) {
        let words = self.region.words();
        let word = |at: usize| words.get(at).map_or(0, |word| word.load(Acquire));
        let (newest, away) = (word(NEWEST), wall_ms().saturating_sub(word(WALL)));
        for number in 0..bounds::SEATS {
            if let Some(region) = seat::words(&*self.disk, number) {
                seat::clear(region.words());
            }
        }
        seat::put(words, LOCK, 0);
        seat::put(words, ORIGIN, newest.saturating_add(away).saturating_sub(self.clock.since_ms));
        seat::put(words, BOOT, self.clock.boot);
        let mut locked = self.lock();
        for place in 0..bounds::CELLS {
            if word(TAGS + place) != 0 {
                cell::mend(&mut locked.at(place));
                locked.done();
            }
        }
    }

    /// Takes over from whoever had this seat before, and was killed.
    fn take_over(&self) {
        self.unlock_dead(self.seat.number);
        self.lock().void(self.seat.number, self.seat.region.words());
    }

    /// The time, in milliseconds since 1970 by a clock that never jumps.
    fn now_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.clock.began).as_millis();
        self.origin_ms + self.clock.since_ms + u64::try_from(since).unwrap_or_default()
    }

    /// Locks the table.
    pub fn lock(&self) -> Locked<'_> {
        // Threads of this process wait for each other here, without turning in circles.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, notes) = (self.region.words(), self.seat.region.words());
        if let Some(lock) = words.get(LOCK) {
            self.acquire(lock);
        }
        Locked { table: self, words, notes, noted: 0, free }
    }

    fn acquire(&self, lock: &AtomicU64) {
        let mine = self.seat.number as u64 + 1;
        for turn in 1u32.. {
            match lock.compare_exchange(0, mine, Acquire, Relaxed) {
                Ok(_) => return,
                Err(_) if turn < 64 => std::hint::spin_loop(),
                Err(holder) if turn.is_multiple_of(DOUBT) => self.depose(holder),
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// Frees the lock if its holder is dead.
    fn depose(&self, holder: u64) {
        let Some(number) = holder.checked_sub(1).and_then(|number| usize::try_from(number).ok()) else {
            return;
        };
        // Whoever can own its seat knows that nobody lives there, and nobody comes meanwhile.
        if let Ok(Some(_owned)) = self.disk.own(&seat::folder(number)) {
            self.unlock_dead(number);
        }
    }

    /// Frees the lock if the dead one whose seat the caller owns has it.
    fn unlock_dead(&self, number: usize) {
        let Some(lock) = self.region.words().get(LOCK) else { return };
        if lock.load(Acquire) == number as u64 + 1 {
            if let Some(region) = seat::words(&*self.disk, number) {
                self.undo(region.words());
            }
            lock.store(0, Release);
        }
    }

    /// Undoes the change that a dead one has not finished.
    fn undo(&self, notes: &[AtomicU64]) {
        for (address, before) in seat::noted(notes) {
            let at = usize::try_from(address & ADDRESS).unwrap_or(usize::MAX);
            match usize::try_from(address >> SPACE).unwrap_or_default().checked_sub(1) {
                None => seat::put(self.region.words(), at, before),
                Some(number) if number == self.seat.number => seat::put(self.seat.region.words(), at, before),
                Some(number) => {
                    if let Some(region) = seat::words(&*self.disk, number) {
                        seat::put(region.words(), at, before);
                    }
                }
            }
        }
        seat::forget(notes);
    }

    /// Frees what dead processes hold, and notes the wall clock's time; to be called every second.
    pub fn sweep(&self) {
        for number in (0..bounds::SEATS).filter(|number| *number != self.seat.number) {
            let Some(region) = seat::words(&*self.disk, number) else { continue };
            if seat::open(region.words()).next().is_none() {
                continue;
            }
            let Ok(Some(_owned)) = self.disk.own(&seat::folder(number)) else { continue };
            self.unlock_dead(number);
            self.lock().void(number, region.words());
        }
        self.tell_time();
    }

    /// Notes the wall clock's time, from which the next boot goes on.
    fn tell_time(&self) {
        let mut locked = self.lock();
        locked.now_ms(Instant::now());
        seat::put(locked.words, WALL, wall_ms());
    }

    /// What no other table has.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many calls of this process have something reserved.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        bounds::OPEN_CALLS - self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What a cell is for: an account of a level under a rule.
    #[must_use]
    pub fn tag(&self, level: u8, name: &str, salt: u64) -> u64 {
        let (chunks, rest) = name.as_bytes().as_chunks::<8>();
        let mut last = [level; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let words = chunks.iter().copied().chain([last]).map(u64::from_le_bytes);
        let tag = words.fold(mix(self.seed, salt), mix);
        // Names that differ only in how the last piece is filled have different lengths.
        mix(tag, (name.len() as u64) << 8 | u64::from(level)).max(1)
    }
}

/// The bits of a note's address: which words, and where in them.
const SPACE: u32 = 48;
const ADDRESS: u64 = (1 << SPACE) - 1;

fn mix(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ 0x2D35_8DCC_AA6C_78A5) * u128::from(other ^ 0x8BB8_4B93_962E_ACC9);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

fn is_whole(words: &[AtomicU64]) -> bool {
    words.len() * 8 == BYTES && words.get(FORM).is_some_and(|form| form.load(Acquire) == THIS_FORM)
}

impl<'a> Locked<'a> {
    /// The time, which is never before what it was for anybody.
    pub fn now_ms(&mut self, at: Instant) -> u64 {
        let newest = self.word(NEWEST);
        let now = self.table.now_ms(at);
        if now > newest {
            seat::put(self.words, NEWEST, now);
        }
        now.max(newest)
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Relaxed))
    }

    /// A cell.
    pub fn at(&mut self, place: usize) -> At<'_, 'a> {
        At { locked: self, base: CELLS + place * cell::WORDS }
    }

    /// The place of the cell with this tag.
    pub fn find(&self, tag: u64) -> Option<usize> {
        for place in places(tag) {
            match self.word(TAGS + place) {
                found if found == tag => return Some(place),
                0 => return None,
                _ => {}
            }
        }
        None
    }

    /// The same, which is made if there is none; nothing where there is no room for it.
    pub fn make(&mut self, rule: &Rule, tag: u64, now_ms: u64) -> Option<usize> {
        if let Some(place) = self.find(tag) {
            return Some(place);
        }
        let place = places(tag).find(|place| {
            let place = *place;
            self.word(TAGS + place) == 0 || cell::is_idle(&self.at(place), now_ms)
        })?;
        self.put(TAGS + place, tag);
        rule.begin(&mut self.at(place));
        self.done();
        Some(place)
    }

    fn put(&mut self, at: usize, value: u64) {
        seat::note(self.notes, self.noted, at as u64, self.word(at));
        self.noted += 1;
        seat::put(self.words, at, value);
    }

    /// The change is whole: from here on it is not undone.
    pub fn done(&mut self) {
        if self.noted > 0 {
            seat::forget(self.notes);
            self.noted = 0;
        }
    }

    /// Writes down what was taken from some cells; nothing, and nothing was taken, where there is no row.
    pub fn reserve(
        &mut self,
        at_ms: u64,
        amounts: &Amounts,
        cells: impl Iterator<Item = (usize, u64)>,
    ) -> Option<usize> {
        let row = self.free.pop()?;
        let cells = cells.map(|(place, tag)| (place as u64) << 32 | tag & 0xFFFF_FFFF);
        seat::write(self.notes, row, at_ms, amounts, cells);
        self.put_row(self.table.seat.number, self.notes, row, 1);
        Some(row)
    }

    fn put_row(&mut self, number: usize, words: &[AtomicU64], row: usize, value: u64) {
        let at = seat::taken(row);
        seat::note(self.notes, self.noted, (number as u64 + 1) << SPACE | at as u64, 1 - value);
        self.noted += 1;
        seat::put(words, at, value);
    }

    /// Corrects what was reserved in a row of this process, and frees it.
    pub fn settle(&mut self, row: usize, outcome: Outcome, now_ms: u64) {
        self.end(self.table.seat.number, self.notes, row, outcome, now_ms);
        self.free.push(row);
    }

    fn end(&mut self, number: usize, words: &[AtomicU64], row: usize, outcome: Outcome, now_ms: u64) {
        let held = seat::read(words, row);
        for at in 0..held.count {
            let one = seat::cell(words, row, at);
            let place = usize::try_from(one >> 32).unwrap_or(usize::MAX);
            // A cell in which all had passed may be somebody else's by now.
            if self.word(TAGS + place) & 0xFFFF_FFFF == one & 0xFFFF_FFFF {
                cell::settle(&mut self.at(place), &held.amounts, outcome, held.at_ms, now_ms);
            }
        }
        self.put_row(number, words, row, 0);
        self.done();
    }

    /// Frees the rows of a seat whose process is gone: nobody knows what its calls took.
    fn void(&mut self, number: usize, words: &[AtomicU64]) {
        let now_ms = self.now_ms(Instant::now());
        let open: Vec<usize> = seat::open(words).collect();
        for row in open {
            self.end(number, words, row, Outcome::Unknown, now_ms);
        }
    }
}

/// Where a cell may lie.
fn places(tag: u64) -> impl Iterator<Item = usize> {
    let first = usize::try_from(tag >> 20).unwrap_or_default();
    (0..PROBES).map(move |step| first.wrapping_add(step) % bounds::CELLS)
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.done();
        if let Some(lock) = self.words.get(LOCK) {
            lock.store(0, Release);
        }
    }
}

impl Cell for At<'_, '_> {
    fn get(&self, at: usize) -> u64 {
        self.locked.word(self.base + at)
    }

    fn set(&mut self, at: usize, value: u64) {
        self.locked.put(self.base + at, value);
    }
}
