//! What the mock backend and the load generator share: the clock, the stamp on every chunk, the
//! transfer coding, and the rule that both stay on loopback.

pub mod chunked;
pub mod clock;
pub mod loopback;
pub mod stamp;
