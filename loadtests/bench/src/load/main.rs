//! A load generator: one thread, one request sent over and over, every answer checked.
//!
//! Ends by itself after a number of requests or a time, whichever is first, and prints one JSON
//! object. See `options.rs` for what can be asked of it.

mod answer;
mod connection;
mod driver;
mod events;
mod options;
mod tally;

use std::io::Write;

fn main() -> Result<(), String> {
    let Some(options) = options::Options::from_arguments()? else {
        let _ = write!(std::io::stdout(), "{}", options::USAGE);
        return Ok(());
    };
    levada_bench::clock::wake_exactly();
    let quiet = options.quiet;
    let tally = driver::Driver::new(options).and_then(driver::Driver::run);
    let tally = tally.map_err(|e| e.to_string())?;
    if !quiet {
        for example in tally.examples() {
            let _ = writeln!(std::io::stderr(), "error: {example}");
        }
    }
    let _ = writeln!(std::io::stdout(), "{}", tally.report());
    Ok(())
}
