//! The only file that reads the command line: what to send, how much of it, and what to expect.

use levada_bench::loopback;
use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::Duration;

pub const USAGE: &str = "usage: load --port PORT [options]
what to send
  --address 127.0.0.1   an address in 127.0.0.0/8, no other
  --path PATH           default /v1/chat/completions
  --body FILE           sent by POST; without it the request is a GET
  --header 'NAME: VALUE'  may be repeated
how much, whichever ends first
  --requests 1          in all
  --seconds 5           no request starts after that
  --grace 15            seconds that answers under way have then to end
  --connections 1       at once; closed loop: each sends again when it is answered
  --rate R              open loop: R requests a second, whether or not others are answered
  --ramp-ms 0           time over which the connections of a closed loop start
  --once                a new connection for each request
what to expect
  --stream              server-sent events with numbered chunks and [DONE]
  --chunks N            exactly so many of them
  --min-bytes 0         of a whole answer
  --contains TEXT       in a whole answer
  --quiet               no examples of errors on stderr
";

/// Limits of what may be asked for, so that a slip of the hand ends by itself.
const MAX_SECONDS: f64 = 3600.0;
const MAX_CONNECTIONS: usize = 50_000;

/// What each answer has to be.
pub struct Expected {
    pub stream: bool,
    pub chunks: Option<u64>,
    pub min_bytes: u64,
    pub contains: Vec<u8>,
}

/// All that the command line says.
pub struct Options {
    pub target: SocketAddrV4,
    pub request: Vec<u8>,
    pub expected: Expected,
    pub connections: usize,
    pub requests: u64,
    pub time: Duration,
    pub grace: Duration,
    pub rate: Option<f64>,
    pub ramp: Duration,
    pub once: bool,
    pub quiet: bool,
}

impl Options {
    /// Reads the arguments of the process; `None` when they ask for help.
    pub fn from_arguments() -> Result<Option<Self>, String> {
        let mut args = pico_args::Arguments::from_env();
        if args.contains(["-h", "--help"]) {
            return Ok(None);
        }
        let options = Self::read(&mut args)?;
        let left = args.finish();
        if left.is_empty() { Ok(Some(options)) } else { Err(format!("not understood: {left:?}\n{USAGE}")) }
    }

    fn read(args: &mut pico_args::Arguments) -> Result<Self, String> {
        let port = value(args, "--port")?.ok_or_else(|| format!("--port is missing\n{USAGE}"))?;
        let host = value(args, "--address")?.unwrap_or_else(|| String::from("127.0.0.1"));
        let target = loopback::address(&host, port)?;
        let stream = args.contains("--stream");
        let seconds: f64 = value(args, "--seconds")?.unwrap_or(5.0);
        let grace: f64 = value(args, "--grace")?.unwrap_or(15.0);
        let ramp: u64 = value(args, "--ramp-ms")?.unwrap_or(0);
        Ok(Options {
            target,
            request: request(args, target, stream)?,
            expected: Expected {
                stream,
                chunks: value(args, "--chunks")?,
                min_bytes: value(args, "--min-bytes")?.unwrap_or(0),
                contains: value(args, "--contains")?.unwrap_or_else(String::new).into_bytes(),
            },
            connections: value(args, "--connections")?.unwrap_or(1).clamp(1, MAX_CONNECTIONS),
            requests: value(args, "--requests")?.unwrap_or(1),
            time: Duration::from_secs_f64(seconds.clamp(0.0, MAX_SECONDS)),
            grace: Duration::from_secs_f64(grace.clamp(0.0, MAX_SECONDS)),
            rate: value(args, "--rate")?.filter(|rate| *rate > 0.0),
            ramp: Duration::from_millis(ramp),
            once: args.contains("--once"),
            quiet: args.contains("--quiet"),
        })
    }
}

fn value<T: FromStr>(args: &mut pico_args::Arguments, name: &'static str) -> Result<Option<T>, String>
where
    T::Err: std::fmt::Display,
{
    args.opt_value_from_str(name).map_err(|e| format!("{name}: {e}\n{USAGE}"))
}

/// The bytes of the request, the same every time.
fn request(args: &mut pico_args::Arguments, target: SocketAddrV4, stream: bool) -> Result<Vec<u8>, String> {
    let path = value(args, "--path")?.unwrap_or_else(|| String::from("/v1/chat/completions"));
    let body: Option<String> = value(args, "--body")?;
    let body = body.map(|file| std::fs::read(&file).map_err(|e| format!("{file}: {e}")));
    let body = body.transpose()?;
    let verb = if body.is_some() { "POST" } else { "GET" };
    let accept = if stream { "text/event-stream" } else { "application/json" };
    let mut head = format!("{verb} {path} HTTP/1.1\r\nHost: {target}\r\nAccept: {accept}\r\n");
    while let Some(header) = value::<String>(args, "--header")? {
        head.push_str(header.trim());
        head.push_str("\r\n");
    }
    if let Some(body) = &body {
        head.push_str("Content-Type: application/json\r\n");
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(&body.unwrap_or_default());
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn read(line: &str) -> Result<Options, String> {
        let words = line.split(' ').map(std::ffi::OsString::from).collect();
        Options::read(&mut pico_args::Arguments::from_vec(words))
    }

    #[test]
    fn the_request_is_what_the_line_says() {
        let text = read("--port 9 --path /x --header A:1 --header B:2").map(|o| o.request);
        let text = text.unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "GET /x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nAccept: application/json\r\nA:1\r\nB:2\r\n\r\n"
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in ["--path /", "--port x", "--port 9 --address 10.1.1.1", "--port 9 --body /none/x"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
