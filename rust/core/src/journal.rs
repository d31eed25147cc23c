//! The journal's form: entries behind each other in segments, each with its number, its checksum and its link.
//!
//! Law: pure. Whatever was read is an entry as it was written, or damage with its place; nothing is passed over in
//! silence. Numbers are little-endian; all is aligned to eight bytes.

use ring::digest::{Context, SHA256};

/// What a segment begins with; the digit is the version of this form.
const MAGIC: [u8; 8] = *b"LEVADAJ1";
/// A segment's head: magic, the first entry's number, the link before it, its checksum.
pub const HEAD_BYTES: usize = SUM_AT + 8;
const SUM_AT: usize = 32;
/// An entry's head: length, checksum, number, link.
pub const ENTRY_BYTES: usize = 32;
/// The longest text of an entry. A record has some 600 bytes; names are bounded to 256 each.
pub const TEXT_BYTES: usize = 8 * 1024;

/// Ties an entry to all before it: the beginning of a SHA-256.
pub type Link = [u8; 16];

/// Where a journal stands: what its next entry is numbered and tied to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// The number of the next entry.
    pub next: u64,
    /// The link of the one before.
    pub link: Link,
    /// The one before was damaged: the next is taken as it says.
    pub loose: bool,
}

impl Chain {
    fn tied(&self, text: &[u8]) -> Link {
        let mut context = Context::new(&SHA256);
        context.update(&self.link);
        context.update(&self.next.to_le_bytes());
        context.update(text);
        let mut link = Link::default();
        link.copy_from_slice(context.finish().as_ref().split_at(16).0);
        link
    }
}

/// The head of a segment that goes on from `chain`.
#[must_use]
pub fn head(chain: &Chain) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&chain.next.to_le_bytes());
    head.extend_from_slice(&chain.link);
    let sum = u64::from(crc32c::crc32c(&head));
    head.extend_from_slice(&sum.to_le_bytes());
    head
}

/// How many bytes an entry with a text of `length` bytes takes.
#[must_use]
pub fn size(length: usize) -> usize {
    ENTRY_BYTES + length.next_multiple_of(8)
}

/// Writes the next entry into `out`, which is emptied first, and goes on in `chain`.
pub fn write(chain: &mut Chain, text: &[u8], out: &mut Vec<u8>) {
    let link = chain.tied(text);
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.clear();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&chain.next.to_le_bytes());
    out.extend_from_slice(&link);
    out.extend_from_slice(text);
    let sum = checksum(out);
    if let Some(place) = out.get_mut(4..8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    out.resize(size(text.len()), 0);
    *chain = Chain { next: chain.next + 1, link, loose: false };
}

/// Of the length and of all behind the checksum.
fn checksum(entry: &[u8]) -> u32 {
    let length = entry.get(..4).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(length), entry.get(8..).unwrap_or_default())
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub number: u64,
    /// What was written.
    pub text: &'a [u8],
}

/// A place that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The byte of the segment that it begins at.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// What a segment's head says: where the journal stood when it began.
///
/// # Errors
/// It is not the head of a segment.
pub fn begun(bytes: &[u8]) -> Result<Chain, Damage> {
    let wrong = |what| Damage { at: 0, what };
    let head = bytes.get(..HEAD_BYTES).ok_or_else(|| wrong("the file is too short for a segment"))?;
    if !head.starts_with(&MAGIC) {
        return Err(wrong("this is no segment of a journal"));
    }
    let (told, sum) = head.split_at(SUM_AT);
    if number(sum, 0) != Some(u64::from(crc32c::crc32c(told))) {
        return Err(wrong("the head's checksum is wrong"));
    }
    let mut chain = Chain { next: number(head, 8).unwrap_or_default(), ..Chain::default() };
    chain.link.copy_from_slice(told.split_at(16).1);
    Ok(chain)
}

/// Reads the entries of a segment, from any place where one begins.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    chain: Chain,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from `at` on, where the journal stands at `chain`.
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize, chain: Chain) -> Self {
        Self { bytes, at, chain }
    }

    /// Where the journal stands behind what has been read.
    #[must_use]
    pub fn stands(&self) -> Chain {
        self.chain
    }

    /// Where what has been read ends.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on where whole entries begin again, or at the end.
    fn skip(&mut self, what: &'static str) -> Damage {
        let damage = Damage { at: self.at, what };
        self.chain.loose = true;
        while self.at < self.bytes.len() {
            self.at = (self.at + 8).min(self.bytes.len());
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            if let Ok(Some(entry)) = whole(rest)
                && entry.number >= self.chain.next
            {
                self.chain.next = entry.number;
                break;
            }
        }
        damage
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let entry = match whole(rest) {
            Ok(Some(entry)) => entry,
            // Nothing was written from here on; what stands here nevertheless was put there by another.
            Ok(None) if rest.iter().all(|byte| *byte == 0) => return None,
            Ok(None) => return Some(Err(self.skip("an entry has no length"))),
            Err(what) => return Some(Err(self.skip(what))),
        };
        if entry.number > self.chain.next {
            self.chain = Chain { next: entry.number, loose: true, ..self.chain };
            return Some(Err(Damage { at: self.at, what: "an entry is missing" }));
        }
        if entry.number < self.chain.next {
            return Some(Err(self.skip("an entry stands here again")));
        }
        if !self.chain.loose && entry.link != self.chain.tied(entry.text) {
            return Some(Err(self.skip("an entry is not tied to the one before")));
        }
        self.at += entry.size;
        self.chain = Chain { next: entry.number + 1, link: entry.link, loose: false };
        Some(Ok(Entry { number: entry.number, text: entry.text }))
    }
}

/// An entry whose checksum is right.
struct Whole<'a> {
    number: u64,
    link: Link,
    text: &'a [u8],
    size: usize,
}

/// The entry that `bytes` begin with; nothing where none was written.
fn whole(bytes: &[u8]) -> Result<Option<Whole<'_>>, &'static str> {
    let Some(first) = number(bytes, 0) else { return Err("an entry is cut off") };
    let length = usize::try_from(first & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(None);
    }
    if length > TEXT_BYTES {
        return Err("an entry's length is wrong");
    }
    let size = size(length);
    let Some(padded) = bytes.get(..size) else { return Err("an entry is cut off") };
    let (entry, padding) = padded.split_at(ENTRY_BYTES + length);
    if padding.iter().any(|byte| *byte != 0) {
        return Err("there is something between two entries");
    }
    if first >> 32 != u64::from(checksum(entry)) {
        return Err("an entry's checksum is wrong");
    }
    let (head, text) = entry.split_at(ENTRY_BYTES);
    let mut link = Link::default();
    link.copy_from_slice(head.split_at(16).1);
    Ok(Some(Whole { number: number(head, 8).unwrap_or_default(), link, text, size }))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A segment with these texts and room behind them.
    fn segment(texts: &[Vec<u8>], room: usize) -> Vec<u8> {
        let mut chain = Chain { next: 7, link: [3; 16], loose: false };
        let (mut bytes, mut entry) = (head(&chain), Vec::new());
        for text in texts {
            write(&mut chain, text, &mut entry);
            bytes.extend_from_slice(&entry);
        }
        bytes.resize(bytes.len() + room, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Damage>) {
        let chain = match begun(bytes) {
            Ok(chain) => chain,
            Err(damage) => return (Vec::new(), vec![damage]),
        };
        let (mut texts, mut damages) = (Vec::new(), Vec::new());
        for found in Reader::new(bytes, HEAD_BYTES, chain) {
            match found {
                Ok(entry) => texts.push(entry.text.to_vec()),
                Err(damage) => damages.push(damage),
            }
        }
        (texts, damages)
    }

    fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..20)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in texts(), room in 0usize..5) {
            let bytes = segment(&texts, room * 8);
            prop_assert_eq!(read(&bytes), (texts, Vec::new()));
        }

        #[test]
        fn a_flipped_bit_is_found_and_the_rest_is_read(
            texts in texts(), bit in any::<prop::sample::Index>(), room in 0usize..3
        ) {
            let mut bytes = segment(&texts, room * 8);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (found, damages) = read(&bytes);
            prop_assert!(!damages.is_empty());
            if bit / 8 >= HEAD_BYTES {
                prop_assert!(found.len() + 1 >= texts.len());
                prop_assert!(found.iter().all(|text| texts.contains(text)));
            }
        }

        #[test]
        fn a_cut_is_found(texts in texts(), cut in any::<prop::sample::Index>()) {
            let bytes = segment(&texts, 0);
            let cut = cut.index(bytes.len());
            let (found, damages) = read(&bytes[..cut]);
            // Between two entries only the next segment's number tells.
            let between = places(&texts).iter().any(|(start, _)| cut == *start);
            prop_assert_eq!(damages.is_empty(), between);
            prop_assert!(texts.starts_with(&found));
        }
    }

    /// Where each entry starts, and where the next one does.
    fn places(texts: &[Vec<u8>]) -> Vec<(usize, usize)> {
        let mut at = HEAD_BYTES;
        let place = |text: &Vec<u8>| {
            let start = at;
            at += size(text.len());
            (start, at)
        };
        texts.iter().map(place).collect()
    }

    #[test]
    fn an_entry_taken_out_or_forged_is_found() {
        let texts: Vec<_> = (0..3u8).map(|one| vec![one + 1; 20]).collect();
        let bytes = segment(&texts, 0);
        let (start, next) = places(&texts)[1];
        let without: Vec<u8> = [&bytes[..start], &bytes[next..]].concat();
        let (found, damages) = read(&without);
        assert_eq!(damages, [Damage { at: start, what: "an entry is missing" }]);
        assert_eq!(found, [texts[0].clone(), texts[2].clone()]);
        let twice: Vec<u8> = [&bytes[..next], &bytes[start..next]].concat();
        assert_eq!(read(&twice).1, [Damage { at: next, what: "an entry stands here again" }]);
        // With the right number and checksum, but made without the one before.
        let mut forged = Vec::new();
        write(&mut Chain { next: 8, ..Chain::default() }, &[9; 20], &mut forged);
        let forged: Vec<u8> = [&bytes[..start], &forged, &bytes[next..]].concat();
        let (found, damages) = read(&forged);
        assert_eq!(damages[0], Damage { at: start, what: "an entry is not tied to the one before" });
        assert_eq!(found, [texts[0].clone(), texts[2].clone()]);
    }
}
