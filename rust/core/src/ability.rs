//! What a model can do: its category, which decides what endpoints take it, and what it can do there.
//!
//! Law: what nobody has said is not refused; the backend knows better.

use crate::endpoint::Endpoint;
use crate::refusal::{Kind, Refusal};
use crate::request;

/// What kind of model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Writes text.
    Text,
    /// Writes code.
    Code,
    /// Thinks before it writes.
    Reasoning,
    /// Reads more than text.
    Multimodal,
    /// Gives vectors.
    Embedding,
    /// Orders documents.
    Rerank,
    /// Judges texts.
    Moderation,
    /// Makes images.
    Image,
    /// Hears or speaks.
    Audio,
    /// Makes films.
    Video,
}

/// In the order of the enum.
const NAMES: [(&str, Category); 10] = [
    ("text", Category::Text),
    ("code", Category::Code),
    ("reasoning", Category::Reasoning),
    ("multimodal", Category::Multimodal),
    ("embedding", Category::Embedding),
    ("rerank", Category::Rerank),
    ("moderation", Category::Moderation),
    ("image", Category::Image),
    ("audio", Category::Audio),
    ("video", Category::Video),
];

impl Category {
    /// The category of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, category)| *category)
    }

    /// Its name in lists of models.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, category)| *category == self).map_or("text", |(name, _)| name)
    }

    /// Whether an endpoint takes such a model.
    #[must_use]
    pub fn serves(self, endpoint: Endpoint) -> bool {
        use Endpoint as E;
        match self {
            Self::Text | Self::Code | Self::Reasoning | Self::Multimodal => matches!(
                endpoint,
                E::Chat
                    | E::Completions
                    | E::Responses
                    | E::Messages
                    | E::CountTokens
                    | E::Tokenize
                    | E::Detokenize
            ),
            Self::Embedding => {
                matches!(endpoint, E::Embeddings | E::Score | E::Tokenize | E::Detokenize)
            }
            Self::Rerank => matches!(endpoint, E::Rerank | E::Score | E::Tokenize | E::Detokenize),
            Self::Moderation => endpoint == E::Moderations,
            Self::Image => matches!(endpoint, E::Images | E::ImageEdits),
            Self::Audio => matches!(endpoint, E::Transcriptions | E::Translations | E::Speech),
            Self::Video => false,
        }
    }
}

/// What is known of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Its category.
    pub category: Option<Category>,
    /// It calls tools.
    pub tools: Option<bool>,
    /// It sees images.
    pub vision: Option<bool>,
    /// It keeps to a JSON Schema.
    pub json_schema: Option<bool>,
    /// Its vectors can be shortened.
    pub dimensions: Option<bool>,
    /// How many tokens it knows: their ids are below.
    pub vocabulary: Option<u64>,
}

/// What a request needs of its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// It offers tools.
    pub tools: bool,
    /// It asks for shorter vectors.
    pub dimensions: bool,
    /// The largest token id that it names in `logit_bias`.
    pub token: Option<u64>,
}

/// Whether a model of these abilities can do it.
///
/// # Errors
/// The refusal that names what it cannot.
pub fn check(abilities: &Abilities, endpoint: Endpoint, model: &str, needs: &Needs) -> Result<(), Refusal> {
    if let Some(category) = abilities.category.filter(|category| !category.serves(endpoint)) {
        let words = format!(
            "The model `{model}` does not support this endpoint (/v1{}): its category is '{}'.",
            endpoint.path(),
            category.name()
        );
        return Err(Refusal::of(Kind::ModelUnsupported).message(words).param("model"));
    }
    let unsupported = |name: &'static str| {
        let words = format!("Unsupported parameter: '{name}' is not supported with this model.");
        Refusal::of(Kind::UnsupportedParameter).message(words).param(name)
    };
    if needs.tools && abilities.tools == Some(false) {
        return Err(unsupported("tools"));
    }
    if needs.dimensions && abilities.dimensions == Some(false) {
        return Err(unsupported("dimensions"));
    }
    match (needs.token, abilities.vocabulary) {
        (Some(token), Some(size)) if token >= size => {
            let most = size.saturating_sub(1);
            let words = format!("Invalid key in 'logit_bias': {token}. Maximum value is {most}.");
            Err(Refusal::of(Kind::InvalidValue).message(words).param("logit_bias"))
        }
        _ => Ok(()),
    }
}

/// Whether a model of these abilities can read a body: an image is nothing for one that sees none.
///
/// # Errors
/// The refusal that names the first image.
pub fn check_images(abilities: &Abilities, model: &str, body: &[u8]) -> Result<(), Refusal> {
    let Some(path) = (abilities.vision == Some(false)).then(|| request::first_image(body)).flatten() else {
        return Ok(());
    };
    let words = format!("Invalid value for '{path}': `{model}` is not a multimodal model.");
    Err(Refusal::of(Kind::InvalidValue).message(words).param(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_categories() {
        for (name, category) in NAMES {
            assert_eq!((Category::named(name), category.name()), (Some(category), name));
        }
        assert_eq!(Category::named("nonsense"), None);
    }

    #[test]
    fn images_are_for_those_who_see() {
        let body = br#"{"messages":[{"content":[{"type":"image_url"}]}]}"#;
        for (vision, refused) in [(None, false), (Some(true), false), (Some(false), true)] {
            let abilities = Abilities { vision, ..Abilities::default() };
            assert_eq!(check_images(&abilities, "m", body).is_err(), refused);
        }
    }

    #[test]
    fn what_is_not_said_is_not_refused() {
        let all = Needs { tools: true, dimensions: true, token: Some(9) };
        let unknown = Abilities::default();
        assert!(Endpoint::all().all(|endpoint| check(&unknown, endpoint, "m", &all).is_ok()));
        let text = |change: fn(&mut Abilities)| {
            let mut abilities = Abilities { category: Some(Category::Text), ..Abilities::default() };
            change(&mut abilities);
            check(&abilities, Endpoint::Chat, "m", &all).map_err(|refusal| refusal.status())
        };
        assert_eq!(text(|_| {}), Ok(()));
        assert_eq!(text(|a| a.category = Some(Category::Embedding)), Err(400));
        assert_eq!(text(|a| a.tools = Some(false)), Err(400));
        assert_eq!(text(|a| a.dimensions = Some(false)), Err(400));
        assert_eq!(text(|a| a.vocabulary = Some(9)), Err(400));
        assert_eq!(text(|a| a.vocabulary = Some(10)), Ok(()));
    }
}
