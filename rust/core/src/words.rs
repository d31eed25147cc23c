//! The text of an answer as it passes, in pieces whose tokens can be counted one by one.
//!
//! Law: bounded, and nothing is held for a call that is not counted or whose backend has told its usage. A piece ends
//! where no tokenizer of words has a token that reaches over: the sum of the pieces is the count of the whole.

pub mod said;

use crate::bounds;
use said::Voice;

/// Which answers' text is gathered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gather {
    /// None.
    #[default]
    Nothing,
    /// In pieces.
    Pieces,
    /// As a whole, for a tokenizer whose tokens may reach over any place.
    Whole,
}

/// What stands before a piece: a tokenizer must know that it does not begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: it is the beginning.
    Nothing,
    /// A letter; the piece begins with a space.
    Letter,
    /// A line's end; the piece begins with a letter.
    Line,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub text: String,
    /// What stands before it.
    pub after: After,
}

/// What one voice has said and is not counted yet.
#[derive(Debug)]
struct Said {
    voice: Voice,
    text: String,
    after: After,
    /// At how many bytes a place to cut is looked for.
    ripe: usize,
}

/// The text of one answer that is not counted yet.
#[derive(Debug, Default)]
pub struct Words {
    gather: Gather,
    lost: bool,
    voices: Vec<Said>,
}

impl Words {
    /// Nothing said yet.
    #[must_use]
    pub fn new(gather: Gather) -> Self {
        Self { gather, lost: false, voices: Vec::new() }
    }

    /// Takes the data of one event with a piece of the answer. A usage that the backend has told ends all of this.
    #[inline]
    pub fn take(&mut self, data: &[u8], content: bool, told: bool) {
        if self.gather == Gather::Nothing {
            return;
        }
        if told {
            self.stop();
        } else if content {
            self.hear(data);
        }
    }

    fn hear(&mut self, data: &[u8]) {
        let heard = said::of_answer(data, &mut |voice, text| {
            let place = self.voices.iter().position(|said| said.voice == voice).unwrap_or(self.voices.len());
            if place == self.voices.len() {
                let (text, ripe) = (String::new(), bounds::PIECE_BYTES);
                self.voices.push(Said { voice, text, after: After::Nothing, ripe });
            }
            if let Some(said) = self.voices.get_mut(place) {
                said.text.push_str(text);
            }
        });
        let held = self.voices.iter().map(|said| said.text.len()).sum::<usize>();
        if heard.is_err() || held > bounds::WORDS_BYTES || self.voices.len() > bounds::VOICES {
            *self = Self { lost: true, ..Self::default() };
        }
    }

    /// Whether text was lost because it was too much, or not understood.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Gathers nothing any more.
    pub fn stop(&mut self) {
        if self.gather != Gather::Nothing {
            *self = Self::default();
        }
    }

    /// The pieces that are large enough to be counted.
    pub fn pieces(&mut self) -> impl Iterator<Item = Piece> {
        let whole = self.gather == Gather::Whole;
        self.voices
            .iter_mut()
            .filter(move |said| !whole && said.text.len() >= said.ripe)
            .filter_map(Said::piece)
    }

    /// Everything else; nothing is gathered any more.
    pub fn rest(&mut self) -> impl Iterator<Item = Piece> + use<> {
        let voices = std::mem::take(&mut self.voices);
        self.gather = Gather::Nothing;
        voices.into_iter().map(|Said { text, after, .. }| Piece { text, after })
    }
}

impl Said {
    fn piece(&mut self) -> Option<Piece> {
        let Some((at, after)) = cut(&self.text) else {
            self.ripe = self.text.len() + bounds::PIECE_BYTES;
            return None;
        };
        let rest = self.text.split_off(at);
        let piece = Piece { text: std::mem::replace(&mut self.text, rest), after: self.after };
        (self.after, self.ripe) = (after, bounds::PIECE_BYTES);
        Some(piece)
    }
}

/// The last place where a text can be cut: between two words, before the space; or at the beginning of a line.
#[must_use]
pub fn cut(text: &str) -> Option<(usize, After)> {
    let mut next: Option<(usize, char)> = None;
    let mut middle: Option<(usize, char)> = None;
    for (at, before) in text.char_indices().rev() {
        match (before, middle, next) {
            (before, Some((at, ' ')), Some((_, after)))
                if before.is_alphabetic() && after.is_alphabetic() =>
            {
                return Some((at, After::Letter));
            }
            (before, Some((_, '\n')), Some((at, after)))
                if !before.is_whitespace() && after.is_alphabetic() =>
            {
                return Some((at, After::Line));
            }
            _ => {}
        }
        (next, middle) = (middle, Some((at, before)));
    }
    None
}

#[cfg(test)]
mod tests;
