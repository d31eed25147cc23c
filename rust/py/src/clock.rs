//! The time since the boot, which no setting of a clock changes.
//!
//! Law: the only file that reads it. It tells which boot it means, for its hands begin anew with each.

use std::fs;
use std::io;
use std::time::Instant;

use levada_net::limits::Clock;

/// The clock as it stands.
pub fn clock() -> io::Result<Clock> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let began = Instant::now();
    let (seconds, rest) = uptime.split_once('.').unwrap_or((&uptime, ""));
    let read = |digits: &str| digits.parse::<u64>().map_err(io::Error::other);
    let since_ms = read(seconds)? * 1000 + read(rest.get(..2).unwrap_or("0"))? * 10;
    let digits: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    Ok(Clock { boot: u64::from_str_radix(&digits, 16).map_err(io::Error::other)?.max(1), since_ms, began })
}
