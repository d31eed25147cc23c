//! Tokens of text: the tokenizers that models are counted with, each loaded once.
//!
//! Law: local files and built-in encodings, nothing is downloaded. Counting is a matter of milliseconds: it happens on
//! threads of its own (`counters`), never where sockets are served. A tokenizer that fails counts nothing.

pub mod counters;
pub mod counting;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;
use std::{fmt, fs};

use levada_core::bounds;
use levada_core::words::said::{self, Asked};
use levada_core::words::{After, Gather, Piece};
use tiktoken_rs::CoreBPE;

/// The encodings that are built in, by OpenAI's names.
const O200K: &str = "o200k_base";
const CL100K: &str = "cl100k_base";

const NO_LETTER: &str = "it cannot count a single letter";

/// What stands before a piece, for its tokenizer; as in [`levada_core::words::cut`], a letter or a line's end.
const WORD: &str = "a";
const LINE: &str = "a\n";

/// One tokenizer.
pub struct Tokenizer {
    model: Model,
    gather: Gather,
    /// The tokens of [`WORD`] and of [`LINE`].
    before: (u64, u64),
}

enum Model {
    File(Box<tokenizers::Tokenizer>),
    Encoding(Box<CoreBPE>),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tokenizer({:?})", self.gather)
    }
}

impl Tokenizer {
    fn new(model: Model) -> Option<Self> {
        let gather = if model.reaches_over() { Gather::Whole } else { Gather::Pieces };
        let mut tokenizer = Self { model, gather, before: (0, 0) };
        tokenizer.before = (tokenizer.count(WORD)?, tokenizer.count(LINE)?);
        Some(tokenizer)
    }

    /// The tokenizer of a `tokenizer.json`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let read = || {
            let mut file = tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
            // Files made for embeddings cut and fill every text.
            file.with_truncation(None).map_err(|error| error.to_string())?;
            file.with_padding(None);
            Self::new(Model::File(Box::new(file))).ok_or_else(|| NO_LETTER.to_owned())
        };
        catch_unwind(read).unwrap_or_else(|_| Err("it cannot be loaded".to_owned()))
    }

    /// One of the encodings that are built in.
    fn encoding(name: &str) -> Result<Self, String> {
        let made = if name == O200K { tiktoken_rs::o200k_base() } else { tiktoken_rs::cl100k_base() };
        let made = made.map_err(|error| error.to_string())?;
        Self::new(Model::Encoding(Box::new(made))).ok_or_else(|| NO_LETTER.to_owned())
    }

    /// How the text of an answer is gathered for it.
    #[must_use]
    pub fn gather(&self) -> Gather {
        self.gather
    }

    /// How many tokens a text has; nothing if it cannot be said.
    #[must_use]
    pub fn count(&self, text: &str) -> Option<u64> {
        if text.is_empty() {
            return Some(0);
        }
        // What a library makes of a text must not end the thread that counts.
        let count = catch_unwind(AssertUnwindSafe(|| match &self.model {
            Model::File(file) => file.encode_fast(text, false).ok().map(|encoding| encoding.len()),
            Model::Encoding(encoding) => Some(encoding.count_ordinary(text)),
        }));
        count.ok().flatten().map(|count| count as u64)
    }

    /// How many tokens a piece adds to those before it.
    #[must_use]
    pub fn count_piece(&self, piece: &Piece) -> Option<u64> {
        let (before, known) = match piece.after {
            After::Nothing => return self.count(&piece.text),
            After::Letter => (WORD, self.before.0),
            After::Line => (LINE, self.before.1),
        };
        Some(self.count(&[before, &piece.text].concat())?.saturating_sub(known))
    }

    /// How many tokens a request's body gives the model to read, as far as its text tells: templates differ.
    #[must_use]
    pub fn count_request(&self, body: &[u8]) -> Option<u64> {
        self.sum(|hear| said::of_request(body, hear).ok())
    }

    /// The same for messages alone.
    #[must_use]
    pub fn count_messages(&self, messages: &[u8]) -> Option<u64> {
        self.sum(|hear| said::of_messages(messages, hear).ok())
    }

    fn sum(&self, read: impl FnOnce(&mut dyn FnMut(&str)) -> Option<Asked>) -> Option<u64> {
        let mut sum = Some(0u64);
        let asked = read(&mut |text| sum = sum.and_then(|sum| Some(sum + self.count(text)?)))?;
        let frames = asked.messages * bounds::MESSAGE_TOKENS;
        let answer = if asked.messages > 0 { bounds::REPLY_TOKENS } else { 0 };
        Some(sum? + asked.tokens + frames + answer)
    }

    /// How many tokens a whole answer has.
    #[must_use]
    pub fn count_answer(&self, body: &[u8]) -> Option<u64> {
        let mut sum = Some(0u64);
        let mut hear = |_, text: &str| sum = sum.and_then(|sum| Some(sum + self.count(text)?));
        said::of_answer(body, &mut hear).ok()?;
        sum
    }
}

impl Model {
    /// Whether some token of the vocabulary reaches over a place where texts are cut.
    fn reaches_over(&self) -> bool {
        match self {
            Self::Encoding(_) => false,
            Self::File(file) => file.get_vocab(false).keys().any(|token| reaches_over(token)),
        }
    }
}

/// Whether a letter and a space, or a line's end and a letter, stand side by side in a token of a vocabulary: as they
/// are, or as those write them that know bytes only.
fn reaches_over(token: &str) -> bool {
    // 'Ā' to 'ń' stand for bytes that are no letters.
    let letter = |one: char| one.is_alphabetic() && !('\u{100}'..='\u{143}').contains(&one);
    let space = |one: char| matches!(one, ' ' | '\u{2581}' | '\u{120}');
    let line = |one: char| matches!(one, '\n' | '\u{10a}');
    token
        .chars()
        .zip(token.chars().skip(1))
        .any(|(one, two)| letter(one) && space(two) || line(one) && letter(two))
}

/// What a file was when it was read.
type Stamp = Option<(u64, SystemTime)>;

/// What is loaded: by name, for as long as somebody holds it; and the latest, for those who ask now and then.
#[derive(Default)]
struct Loaded {
    known: HashMap<Box<str>, (Stamp, Weak<Tokenizer>)>,
    latest: VecDeque<Arc<Tokenizer>>,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// The tokenizer of this name, `o200k_base` or `cl100k_base`, or of this file; loaded anew when the file has changed.
///
/// # Errors
/// Why there is none.
pub fn load(name: &str) -> Result<Arc<Tokenizer>, String> {
    let stamp = match name {
        O200K | CL100K => None,
        _ => Some(stamp(name)?),
    };
    if let Some(known) = with(|loaded| loaded.get(name, stamp)) {
        return Ok(known);
    }
    // Not under the lock: it takes up to a second.
    let made = Arc::new(match stamp {
        None => Tokenizer::encoding(name)?,
        Some(_) => {
            let json = fs::read(name).map_err(|error| unreadable(name, &error))?;
            Tokenizer::read(&json).map_err(|error| format!("'{name}' is not a tokenizer.json: {error}"))?
        }
    });
    with(|loaded| loaded.put(name, stamp, &made));
    Ok(made)
}

fn stamp(name: &str) -> Result<(u64, SystemTime), String> {
    let about = fs::metadata(name).map_err(|error| unreadable(name, &error))?;
    if !about.is_file() {
        return Err(format!("'{name}' is not a file"));
    }
    if about.len() > bounds::TOKENIZER_BYTES {
        return Err(format!("'{name}' is larger than {} bytes", bounds::TOKENIZER_BYTES));
    }
    Ok((about.len(), about.modified().map_err(|error| unreadable(name, &error))?))
}

fn unreadable(name: &str, error: &std::io::Error) -> String {
    format!("cannot read '{name}': {error}")
}

fn with<T>(work: impl FnOnce(&mut Loaded) -> T) -> T {
    work(LOADED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

impl Loaded {
    fn get(&mut self, name: &str, stamp: Stamp) -> Option<Arc<Tokenizer>> {
        self.known.get(name).filter(|(then, _)| *then == stamp)?.1.upgrade()
    }

    fn put(&mut self, name: &str, stamp: Stamp, made: &Arc<Tokenizer>) {
        self.latest.push_back(Arc::clone(made));
        if self.latest.len() > bounds::TOKENIZERS_KEPT {
            self.latest.pop_front();
        }
        self.known.retain(|_, (_, known)| known.strong_count() > 0);
        self.known.insert(name.into(), (stamp, Arc::downgrade(made)));
    }
}

#[cfg(test)]
mod tests;
