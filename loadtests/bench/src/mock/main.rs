//! A mock backend: OpenAI-shaped, one thread, cheap enough that a proxy in front of it is the limit.
//!
//! What it answers is chosen by a marker in the text of the request (see `request.rs`), because
//! message text is the one thing that every gateway passes on unchanged.

mod connection;
mod reply;
mod request;
mod server;
mod stream;
mod timers;

use std::io::Write;

const USAGE: &str = "usage: mock [--port 0] [--address 127.0.0.1]
Prints `listening: http://ADDRESS:PORT` and serves until it is ended.";

fn main() -> Result<(), String> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        let _ = writeln!(std::io::stdout(), "{USAGE}");
        return Ok(());
    }
    let word = |e: pico_args::Error| format!("{e}\n{USAGE}");
    let port = args.opt_value_from_str("--port").map_err(word)?.unwrap_or(0);
    let host: Option<String> = args.opt_value_from_str("--address").map_err(word)?;
    let left = args.finish();
    if !left.is_empty() {
        return Err(format!("not understood: {left:?}\n{USAGE}"));
    }
    let address = levada_bench::loopback::address(host.as_deref().unwrap_or("127.0.0.1"), port)?;
    levada_bench::clock::wake_exactly();
    let mut server = server::Server::bind(address).map_err(|e| format!("{address}: {e}"))?;
    let _ = writeln!(std::io::stdout(), "listening: http://{}", server.address());
    server.serve().map_err(|e| e.to_string())
}
