//! The endpoints that are passed on to backends, and what is peculiar to each.
//!
//! Law: one table. What an endpoint's path, body, streams and errors are like is read here and nowhere else.

/// An endpoint that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// `/responses`
    Responses,
    /// `/messages`, Anthropic's
    Messages,
    /// `/messages/count_tokens`, Anthropic's
    CountTokens,
    /// `/rerank`
    Rerank,
    /// `/score`
    Score,
    /// `/tokenize`
    Tokenize,
    /// `/detokenize`
    Detokenize,
    /// `/moderations`
    Moderations,
    /// `/images/generations`
    Images,
    /// `/images/edits`
    ImageEdits,
    /// `/audio/transcriptions`
    Transcriptions,
    /// `/audio/translations`
    Translations,
    /// `/audio/speech`
    Speech,
}

/// How a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/json`
    Json,
    /// `multipart/form-data`
    Multipart,
}

/// Whose language the streams and the errors speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Chunks with `choices`, and `[DONE]`.
    #[default]
    Chunks,
    /// Typed events: of Responses, of audio, of images.
    Typed,
    /// Anthropic's typed events, and Anthropic's errors.
    Anthropic,
}

/// What is peculiar to one endpoint.
struct Row {
    endpoint: Endpoint,
    path: &'static str,
    name: &'static str,
    form: Form,
    dialect: Dialect,
}

const fn row(
    endpoint: Endpoint,
    path: &'static str,
    name: &'static str,
    form: Form,
    dialect: Dialect,
) -> Row {
    Row { endpoint, path, name, form, dialect }
}

/// In the order of the enum, which `rows_stand_in_order` holds.
const ROWS: [Row; 16] = {
    use Dialect::{Anthropic, Chunks, Typed};
    use Endpoint as E;
    use Form::{Json, Multipart};
    [
        row(E::Chat, "/chat/completions", "chat.completions", Json, Chunks),
        row(E::Completions, "/completions", "completions", Json, Chunks),
        row(E::Embeddings, "/embeddings", "embeddings", Json, Typed),
        row(E::Responses, "/responses", "responses", Json, Typed),
        row(E::Messages, "/messages", "messages", Json, Anthropic),
        row(E::CountTokens, "/messages/count_tokens", "messages.count_tokens", Json, Anthropic),
        row(E::Rerank, "/rerank", "rerank", Json, Typed),
        row(E::Score, "/score", "score", Json, Typed),
        row(E::Tokenize, "/tokenize", "tokenize", Json, Typed),
        row(E::Detokenize, "/detokenize", "detokenize", Json, Typed),
        row(E::Moderations, "/moderations", "moderations", Json, Typed),
        row(E::Images, "/images/generations", "images.generations", Json, Typed),
        row(E::ImageEdits, "/images/edits", "images.edits", Multipart, Typed),
        row(E::Transcriptions, "/audio/transcriptions", "audio.transcriptions", Multipart, Typed),
        row(E::Translations, "/audio/translations", "audio.translations", Multipart, Typed),
        row(E::Speech, "/audio/speech", "audio.speech", Json, Typed),
    ]
};

impl Endpoint {
    /// How many there are.
    pub const COUNT: usize = ROWS.len();

    /// All of them, in the order of the metrics.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.endpoint)
    }

    fn row(self) -> &'static Row {
        // The enum's numbers are the table's places.
        ROWS.get(self as usize).unwrap_or(&ROWS[0])
    }

    /// The path after `/v1`.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.row().path
    }

    /// The name in metrics, records and profiles.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// How its bodies come.
    #[must_use]
    pub fn form(self) -> Form {
        self.row().form
    }

    /// What its streams and errors speak.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        self.row().dialect
    }

    /// The one with this path after `/v1`.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.path == path).map(|row| row.endpoint)
    }

    /// Whether engines serve it at their root, not under `/v1`.
    #[must_use]
    pub fn is_at_root(self) -> bool {
        matches!(self, Self::Tokenize | Self::Detokenize)
    }

    /// Whether a backend tells a stream's usage only when it is asked to.
    #[must_use]
    pub fn asks_usage(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// What its bodies call the bound of an answer's tokens; nothing where answers have none.
    #[must_use]
    pub fn bound(self) -> Option<&'static str> {
        match self {
            Self::Chat | Self::Completions | Self::Messages => Some("max_tokens"),
            Self::Responses => Some("max_output_tokens"),
            _ => None,
        }
    }

    /// Whether an answer may be something else than JSON and events: sound, subtitles, plain text.
    #[must_use]
    pub fn answers_media(self) -> bool {
        matches!(self, Self::Speech | Self::Transcriptions | Self::Translations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_order() {
        for (at, endpoint) in Endpoint::all().enumerate() {
            assert_eq!((endpoint as usize, Endpoint::at(endpoint.path())), (at, Some(endpoint)));
        }
    }
}
