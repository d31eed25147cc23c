//! Every limit of the engine that no operator sets: name, value, and why it is that value.
//!
//! Law: a number that bounds something stands here or comes from the configuration; nowhere else.

/// How deep a request's JSON may nest. serde_json stops at 128; no chat request needs 20.
pub const JSON_DEPTH: usize = 64;

/// The longest model name a client may send; longer ones are not looked up.
pub const MODEL_NAME_BYTES: usize = 256;

/// The largest request body where neither the operator nor the profile says another: 20 MiB.
pub const BODY_BYTES: u64 = 20 * 1024 * 1024;

/// The most parts of a form. OpenAI's edits take 16 images and some ten fields.
pub const FORM_PARTS: usize = 64;

/// The longest name of a form's part.
pub const FORM_NAME_BYTES: usize = 128;

/// The longest text in a form's part that is no file: a prompt of an image has 32,000 characters.
pub const FORM_TEXT_BYTES: usize = 256 * 1024;

/// The longest key a client may present: a JWT fits (8 KiB).
pub const KEY_BYTES: usize = 8 * 1024;

/// The longest request id taken over from a client.
pub const REQUEST_ID_BYTES: usize = 64;

/// The largest head accepted from a backend; nginx's default proxy buffer is 4 to 8 KiB.
pub const UPSTREAM_HEAD_BYTES: usize = 64 * 1024;

/// The most header lines accepted from a backend.
pub const UPSTREAM_HEADERS: usize = 64;

/// The largest error body read from a backend; what is longer is not passed on.
pub const UPSTREAM_ERROR_BYTES: usize = 64 * 1024;

/// The longest error message of a backend that is shown to a client.
pub const UPSTREAM_MESSAGE_BYTES: usize = 2 * 1024;

/// The first size of a read buffer. A token's event is some 300 bytes, a small answer 2 KiB.
pub const READ_BYTES: usize = 8 * 1024;

/// The size a read buffer grows to while reads fill it: large bodies in few system calls.
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// The same for a stream: what lies in it waits for the client, so it counts against every reader who stops.
pub const READ_EVENTS_MAX: usize = 16 * 1024;

/// The most bytes of ready events that are joined into one write.
pub const JOIN_BYTES: usize = 16 * 1024;

/// How much of a long answer's beginning and end is searched for its `usage`.
pub const USAGE_WINDOW: usize = 4 * 1024;

/// An answer up to this size is read whole before it is passed on, so its `usage` is read exactly.
pub const WHOLE_BYTES: usize = 64 * 1024;

/// Idle connections kept for one backend. Above the 2,000 parallel streams one gateway is measured with.
pub const POOL_IDLE: usize = 4096;

/// How long an idle backend connection is kept: below the 5 s after which vLLM's server closes it.
pub const POOL_IDLE_SECONDS: u64 = 4;

/// The choices of one stream whose counts are told apart: as many as OpenAI's `n` allows.
pub const CHOICES: usize = 128;

/// The largest count of tokens that is believed: 128 choices of half a million.
pub const MOST_TOKENS: u64 = 64 * 1024 * 1024;

/// Calls under way at once, each with a slot in the journal: four times what one gateway is measured with.
pub const OPEN_CALLS: usize = 8 * 1024;

/// What of the journal lies in memory: some 10,000 records, seconds of a slow disk.
pub const HOT_BYTES: usize = 8 * 1024 * 1024;

/// A call's slot: a record is some 600 bytes, and its names are bounded.
pub const SLOT_BYTES: usize = 4 * 1024;

/// How much longer a record may be at its end than at its beginning: eight numbers, a name of a backend, an end.
pub const RECORD_GROWTH: usize = 768;

/// One file of the journal: some 25,000 records.
pub const SEGMENT_BYTES: usize = 16 * 1024 * 1024;

/// How much of the disk the journal may take while the ledger does not keep up: some 13 million records.
pub const JOURNAL_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// The most attempts one call may make: the first and one more.
pub const ATTEMPTS: usize = 2;

/// The most choices that are made by asking a backend once for each. Each takes a connection, a place and a pass over
/// the prompt there; a small engine has 4 to 8 places in all.
pub const FAN_OUT: u64 = 8;

/// The longest Retry-After given to a client; the SDKs obey at most 60 to 120 s.
pub const RETRY_AFTER_SECONDS: u32 = 120;

/// An answer up to this size is held to put the public model name in, wherever in it the name stands.
pub const CHANGED_BYTES: usize = 8 * 1024 * 1024;

/// How much a response may hold that is made of a stream of chat: its end repeats all of it. A million tokens are some 4 MiB.
pub const RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// An answer up to this size is held to turn its vectors into base64: a thousand of 1,536 numbers, which is what
/// LangChain asks for at once, are some 30 MB of text.
pub const VECTORS_BYTES: usize = 48 * 1024 * 1024;

/// The kernel's receive buffer of a socket that carries a stream: one whose client has stopped reading stays small.
pub const UPSTREAM_RECEIVE_BYTES: usize = 16 * 1024;

/// How far the clocks of an issuer and of this machine may be apart.
pub const TOKEN_LEEWAY_SECONDS: f64 = 30.0;

/// The most keys of a JWK set that are used; issuers publish two or three.
pub const JWKS_KEYS: usize = 100;

/// The longest id of a caller that a token names.
pub const KEY_ID_BYTES: usize = 128;

/// Verified tokens that are remembered, so that a signature is checked once: some 300 bytes each.
pub const TOKENS_HELD: usize = 16 * 1024;

/// How long an unknown id of a signing key is not asked for again.
pub const UNKNOWN_KEY_SECONDS: f64 = 30.0;

/// The most unknown ids of signing keys that are remembered.
pub const UNKNOWN_KEYS_HELD: usize = 1024;

/// The most that a window counts, and the highest price: 2^53, which every JSON reader has exactly.
pub const COUNTED: u64 = 1 << 53;

/// The most rules of one account: of each thing one by the minute and one by the day, calls at once, two budgets.
pub const ACCOUNT_RULES: usize = 11;

/// The most windows of a profile; providers have one or two.
pub const PROFILE_WINDOWS: usize = 4;

/// The most rules that hold for one call: those of four levels, and the profile's.
pub const CALL_RULES: usize = 4 * ACCOUNT_RULES + PROFILE_WINDOWS;

/// How many rules of accounts are counted at once, in all: 39 MB on the disk, of which only what is used is in memory.
pub const CELLS: usize = 64 * 1024;

/// How many rules wait at once for what other hosts have of them: what Redis answers in a few milliseconds.
pub const WISHES: usize = 1024;

/// How many processes share the counts at once: the old worker and the new one, and some more.
pub const SEATS: usize = 16;

/// The length of an answer that neither the client nor the model bounds, where a limit counts it.
pub const ANSWER_TOKENS: u64 = 4096;

/// How many bytes of a body are taken for one token before it is known.
pub const TOKEN_BYTES: u64 = 4;

/// How many tokens a picture or a sound in a body is taken for: what a large picture costs with common models.
pub const MEDIA_TOKENS: u64 = 1500;

/// How much text of an answer is counted at once: a millisecond or two of a counting thread.
pub const PIECE_BYTES: usize = 4 * 1024;

/// How much text of one answer waits to be counted, where it has no place to be cut.
pub const WORDS_BYTES: usize = 256 * 1024;

/// How many texts of one answer may run side by side: choices, thoughts, calls of tools.
pub const VOICES: usize = 256;

/// The largest request whose prompt is counted: half a second of a counting thread.
pub const COUNTED_PROMPT_BYTES: usize = 1024 * 1024;

/// How much text and how many pieces of all answers wait to be counted by one thread.
pub const COUNTING_BYTES: usize = 32 * 1024 * 1024;
/// See [`COUNTING_BYTES`].
pub const COUNTING_PIECES: usize = 4096;

/// How many threads count.
pub const COUNTING_THREADS: usize = 2;

/// How long the end of an answer waits for its count.
pub const COUNTING_MILLIS: u64 = 50;

/// The largest file of a tokenizer; Gemma's has 33 MB.
pub const TOKENIZER_BYTES: u64 = 128 * 1024 * 1024;

/// How many tokenizers are kept that nobody uses just now.
pub const TOKENIZERS_KEPT: usize = 8;

/// What a message costs beside its text, and what the beginning of an answer does: the frames of OpenAI's chats. Other
/// templates differ by a few.
pub const MESSAGE_TOKENS: u64 = 4;
/// See [`MESSAGE_TOKENS`].
pub const REPLY_TOKENS: u64 = 3;
