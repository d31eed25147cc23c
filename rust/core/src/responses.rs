//! Responses on a backend that has only chat completions: the request made a chat, its answer made a response.
//!
//! Law: nothing is kept from one call for another. What a chat cannot say is refused with its path, never left out in
//! silence; numbers and strings go through as the JSON text that they came in.

mod chat;
mod echo;
mod format;
mod made;
mod messages;
mod request;
mod stream;
mod tools;
mod value;

pub use self::made::{Heading, Made};
pub use self::request::{Chat, to_chat};
pub use self::stream::Stream;
