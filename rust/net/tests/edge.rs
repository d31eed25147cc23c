//! The edge over real sockets: what it refuses, what it relays, and how connections end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use levada_core::auth::Pepper;
use levada_net::disk;
use levada_net::edge::Edge;
use levada_net::gateway::Gateway;
use levada_net::journal::{Journal, Terms};
use levada_net::limits::{Clock, Limits};
use memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{sleep, timeout};

#[path = "support/memory.rs"]
mod memory;

const PEPPER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const KEY: &str = "sk-test-0123456789";

/// One edge, its gateway, and the directory of the app's socket.
struct Bed {
    gateway: Arc<Gateway>,
    edge: Edge,
    public: SocketAddr,
    admin: SocketAddr,
    app: PathBuf,
}

/// The profiles, as the control plane compiles them.
static PROFILES: LazyLock<String> = LazyLock::new(|| {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/profiles.json")).unwrap();
    format!(r#"[{},{}]"#, all["openai"], all["flexai"])
});

/// Settings that a test changes.
struct Wish {
    head: f64,
    idle: f64,
    body: f64,
    write: f64,
    connections: usize,
    backend: String,
    tls: String,
}

impl Default for Wish {
    fn default() -> Self {
        let backend = "http://127.0.0.1:1".to_owned();
        Self {
            head: 10.0,
            idle: 75.0,
            body: 120.0,
            write: 30.0,
            connections: 100,
            backend,
            tls: "null".to_owned(),
        }
    }
}

impl Wish {
    fn snapshot(&self) -> String {
        format!(
            r#"{{"version":1,"auth":{{"pepper":"{PEPPER}"}},
            "backends":[{{"name":"b","url":"{}","path":"/v1","key":null,"verify":true,"ca":null}}],
            "models":[{{"name":"m","created":1,"owned_by":"o","pool":[{{"backend":"b","upstream":"M"}}]}}],
            "deadlines":{{"connect":2.0,"first_byte":20.0,"idle":20.0,"total":60.0}},
            "limits":{{"body_bytes":2000000,"event_bytes":1048576}},"retry":{{"ratio":0.1,"per_second":3.0}},
            "breaker":{{"failures":3,"open_seconds":5.0}},"tls":{},"profiles":{},"hosts":{{"api.flex.example":1}}}}"#,
            self.backend, self.tls, *PROFILES
        )
    }
}

fn journal() -> Arc<Journal> {
    let terms = Terms { hot: 64 * 1024, segment: 64 * 1024, ..Terms::default() };
    Arc::new(Journal::new(Arc::new(Memory::default()), "test", terms).unwrap())
}

fn limits() -> Limits {
    Limits::open(Arc::new(Memory::default()), Clock { boot: 1, since_ms: 0, began: Instant::now() }).unwrap()
}

impl Bed {
    fn new(wish: Wish) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("levada-edge-{}-{}.sock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let app = std::env::temp_dir().join(name);
        let gateway = Gateway::new(wish.snapshot().as_bytes(), journal(), limits()).unwrap();
        let digest = Pepper::from_hex(PEPPER).unwrap().digest(KEY.as_bytes());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = format!(
            r#"{{"replace":true,"set":[{{"id":"k","hash":"{hash}","models":null,"expires":null}}],"remove":[]}}"#
        );
        gateway.change_keys(keys.as_bytes()).unwrap();
        let document = format!(
            r#"{{"public":[],"admin":[],"app":"{}","door_token":"secret","trusted_proxies":[],"drain_notice":true,
            "limits":{{"header_bytes":16384,"headers":64,"head_seconds":{},"body_seconds":{},"body_rate":1024,
            "keep_alive_seconds":{},"write_seconds":{},"connections":{},"connections_per_ip":0}}}}"#,
            app.display(),
            wish.head,
            wish.body,
            wish.idle,
            wish.write,
            wish.connections
        );
        let (public, admin) =
            (StdListener::bind("127.0.0.1:0").unwrap(), StdListener::bind("127.0.0.1:0").unwrap());
        let (public_at, admin_at) = (public.local_addr().unwrap(), admin.local_addr().unwrap());
        let edge =
            Edge::listen(Arc::clone(&gateway), document.as_bytes(), vec![public], vec![admin]).unwrap();
        Self { gateway, edge, public: public_at, admin: admin_at, app }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.public).await.unwrap()
    }

    /// An app that answers every request with its own head and body, one request a connection.
    fn echo_app(&self) {
        let listener = UnixListener::bind(&self.app).unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while !ends(&seen) {
                        if socket.read_buf(&mut seen).await.unwrap() == 0 {
                            return;
                        }
                    }
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nserver: other\r\nconnection: close, x-hop\r\nx-hop: 1\r\nx-kept: 1\r\ncontent-length: {}\r\n\r\n",
                        seen.len()
                    );
                    let _ = socket.write_all(&[head.as_bytes(), &seen].concat()).await;
                });
            }
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.app);
    }
}

/// Whether a request with a chunked body or with none is all there.
fn ends(seen: &[u8]) -> bool {
    let chunked = seen.windows(10).any(|window| window == b": chunked\r");
    if chunked { seen.ends_with(b"0\r\n\r\n") } else { seen.ends_with(b"\r\n\r\n") }
}

/// All that comes until the server closes, at most 5 s.
async fn rest(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    timeout(Duration::from_secs(5), socket.read_to_end(&mut seen))
        .await
        .expect("the server did not close")
        .ok();
    String::from_utf8_lossy(&seen).into_owned()
}

/// One answer with a content-length.
async fn answer(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let whole = async {
        loop {
            assert_ne!(
                socket.read_buf(&mut seen).await.unwrap(),
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&seen)
            );
            let text = String::from_utf8_lossy(&seen);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .expect("content-length");
                if body.len() >= length.parse::<usize>().unwrap() {
                    return text.into_owned();
                }
            }
        }
    };
    timeout(Duration::from_secs(5), whole).await.expect("no answer")
}

/// Sends one request and gives all until the server closes.
async fn exchange(at: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(at).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    rest(&mut socket).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n{body}"
    )
}

fn is_refusal(text: &str, status: u16) {
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    for part in ["\"error\":{\"message\":", "\"type\":", "\"param\":", "\"code\":", "x-request-id: req_"] {
        assert!(text.contains(part), "{part} not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_request_after_request() {
    let bed = Bed::new(Wish::default());
    let mut socket = bed.connect().await;
    for _ in 0..3 {
        socket.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(answer(&mut socket).await.starts_with("HTTP/1.1 200 OK"));
    }
    let models = format!(
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(models.as_bytes()).await.unwrap();
    assert!(rest(&mut socket).await.contains("\"id\":\"m\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_heads_are_refused_and_the_connection_ends() {
    let bed = Bed::new(Wish::default());
    let both = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ];
    for headers in both {
        is_refusal(&exchange(bed.public, &post(headers, "0\r\n\r\n")).await, 400);
        let (mut socket, request) = (bed.connect().await, post(headers, "0\r\n\r\n"));
        for piece in request.as_bytes().chunks(7) {
            socket.write_all(piece).await.unwrap();
            socket.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        is_refusal(&rest(&mut socket).await, 400);
    }
    for head in [
        "GET /livez HTTP/1.1\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "GET /livez HTTP/1.1\r\nHost: a/b\r\n",
        "GET http://a/livez HTTP/1.1\r\nHost: a\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n",
    ] {
        is_refusal(&exchange(bed.public, &format!("{head}Connection: close\r\n\r\n")).await, 400);
    }
    is_refusal(&exchange(bed.public, "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_is_read_and_a_broken_one_refused() {
    let bed = Bed::new(Wish::default());
    let mut socket = bed.connect().await;
    for _ in 0..2 {
        socket
            .write_all(post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let text = answer(&mut socket).await;
        is_refusal(&text, 400);
        assert!(text.contains("model"), "read as JSON without a model: {text}");
    }
    let broken = exchange(bed.public, &post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")).await;
    is_refusal(&broken, 400);
    assert!(broken.contains("framing"), "{broken}");
    let typed = exchange(
        bed.public,
        &post("Content-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n", "{}"),
    )
    .await;
    is_refusal(&typed, 415);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_told_even_to_one_who_keeps_sending() {
    let bed = Bed::new(Wish::default());
    let long = "x".repeat(17 * 1024);
    is_refusal(
        &exchange(
            bed.public,
            &format!("GET /livez HTTP/1.1\r\nHost: a\r\nA: {long}\r\nConnection: close\r\n\r\n"),
        )
        .await,
        431,
    );
    let body = vec![b' '; 8_000_000];
    for headers in
        [format!("Content-Length: {}\r\n", body.len()), "Transfer-Encoding: chunked\r\n".to_owned()]
    {
        let chunk = if headers.starts_with('T') { "7a1200\r\n" } else { "" };
        let socket = bed.connect().await;
        let (mut reader, mut writer) = socket.into_split();
        let head = post(&headers, chunk);
        let send = async {
            writer.write_all(head.as_bytes()).await.unwrap();
            let _ = writer.write_all(&body).await;
            drop(writer);
        };
        let mut seen = Vec::new();
        let (_, read) = tokio::join!(send, timeout(Duration::from_secs(5), reader.read_to_end(&mut seen)));
        read.unwrap().unwrap();
        let text = String::from_utf8_lossy(&seen);
        is_refusal(&text, 413);
        assert!(
            text.contains("Maximum content size limit (2000000) exceeded")
                && text.contains("connection: close"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_ended_by_their_deadline() {
    let bed = Bed::new(Wish { head: 0.4, idle: 0.8, body: 0.6, ..Wish::default() });
    let began = Instant::now();
    let mut silent = bed.connect().await;
    let mut slow = bed.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut slow).await, "");
    let ended = began.elapsed().as_millis();
    assert!((300..2000).contains(&ended), "heads after {ended} ms");

    let mut idle = bed.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let began = Instant::now();
    assert_eq!(rest(&mut idle).await, "");
    assert!((600..2500).contains(&began.elapsed().as_millis()), "idle after {:?}", began.elapsed());

    let began = Instant::now();
    let late = exchange(bed.public, &post("Content-Length: 10\r\n", "{")).await;
    is_refusal(&late, 408);
    assert!((500..5000).contains(&began.elapsed().as_millis()), "body after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_is_told_who_came_and_by_which_door() {
    let bed = Bed::new(Wish::default());
    is_refusal(&exchange(bed.public, &get("/v1/files")).await, 503);
    bed.echo_app();
    let said = "X-Forwarded-For: 10.9.9.9\r\nX-Levada-Door: secret\r\nConnection: close, x-private\r\nX-Private: 1\r\n";
    let request = format!(
        "POST /a/../b%2f?c=d HTTP/1.1\r\nHost: a\r\n{said}Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
    );
    for (at, door) in [(bed.public, false), (bed.admin, true)] {
        let text = exchange(at, &request).await;
        let (answer, echo) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            answer.contains("x-kept: 1") && !answer.contains("x-hop") && answer.contains("server: levada"),
            "{answer}"
        );
        assert!(
            echo.starts_with("POST /a/../b%2f?c=d HTTP/1.1\r\n") && echo.contains("3\r\nxyz\r\n"),
            "{echo}"
        );
        assert!(
            echo.contains("x-forwarded-for: 127.0.0.1\r\n") && echo.contains("x-forwarded-proto: http\r\n"),
            "{echo}"
        );
        assert!(!echo.contains("x-private") && echo.matches("host: a\r\n").count() == 2, "{echo}");
        assert_eq!(echo.matches("x-levada-door: secret").count(), usize::from(door), "{echo}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_side_is_apart() {
    let bed = Bed::new(Wish::default());
    for path in ["/admin", "/admin/keys", "/metrics", "/dashboard/"] {
        let text = exchange(bed.public, &get(path)).await;
        is_refusal(&text, 404);
        assert!(text.contains(&format!("Invalid URL (GET {path})")), "{text}");
    }
    let metrics = exchange(bed.admin, &get("/metrics")).await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(exchange(bed.admin, &get("/livez")).await.starts_with("HTTP/1.1 200"));
    is_refusal(&exchange(bed.admin, &get("/v1/models")).await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_known_by_its_first_bytes() {
    let bed = Bed::new(Wish::default());
    let socket = bed.connect().await;
    let io = hyper_util::rt::TokioIo::new(socket);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for (target, status, flexai) in [
        ("a/livez", 200, false),
        ("a/v1/models", 401, false),
        ("API.flex.example:8080/v1/models", 401, true),
        ("a/admin", 404, false),
    ] {
        let request = http::Request::get(format!("http://{target}"));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let answer = timeout(Duration::from_secs(5), client.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), status, "{target}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert_eq!(body.windows(20).any(|part| part == b"authentication_error"), flexai, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_lets_clients_wait_in_the_queue() {
    let bed = Bed::new(Wish { connections: 1, ..Wish::default() });
    let mut first = bed.connect().await;
    first.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    answer(&mut first).await;
    let mut second = bed.connect().await;
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(300), second.read_u8()).await.is_err(), "served without a seat");
    drop(first);
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_cut_and_the_app_feels_it() {
    let bed = Bed::new(Wish { write: 0.5, ..Wish::default() });
    let listener = UnixListener::bind(&bed.app).unwrap();
    let mut client = bed.connect().await;
    client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (mut app, _) = listener.accept().await.unwrap();
    app.read_u8().await.unwrap();
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
    let began = Instant::now();
    let mut sent = 0;
    let broken = async {
        while app.write_all(&[0; 65536]).await.is_ok() {
            sent += 65536;
        }
    };
    timeout(Duration::from_secs(10), broken).await.expect("the app is still being read from");
    assert!(sent < 50_000_000, "{sent} bytes taken from the app for a client that reads nothing");
    assert!(began.elapsed() >= Duration::from_millis(400), "cut after {:?}", began.elapsed());
}

/// A backend that answers each request with `piece` after `wait`, and then says no more.
async fn slow_backend(wait: Duration, rest: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = [0; 4096];
                let _ = socket.read(&mut seen).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
                let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
                let _ = socket.write_all(format!("{head}{event}").as_bytes()).await;
                sleep(wait).await;
                let _ = socket.write_all(rest.as_bytes()).await;
            });
        }
    });
    at
}

const STOP_AND_DONE: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

async fn open_stream(bed: &Bed) -> TcpStream {
    let mut socket = bed.connect().await;
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}"#;
    socket.write_all(post(&format!("Content-Length: {}\r\n", body.len()), body).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("content\":\"a\"") {
        let read = timeout(Duration::from_secs(5), socket.read_buf(&mut seen))
            .await
            .expect("no first event")
            .unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
    }
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_the_idle_and_lets_calls_end() {
    let backend = slow_backend(Duration::from_millis(700), STOP_AND_DONE).await;
    let bed = Bed::new(Wish { backend, ..Wish::default() });
    let mut idle = bed.connect().await;
    idle.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let mut silent = bed.connect().await;
    let mut stream = open_stream(&bed).await;
    let ended = async {
        let began = Instant::now();
        assert_eq!(rest(&mut idle).await, "");
        assert!(began.elapsed() < Duration::from_millis(500), "idle closed after {:?}", began.elapsed());
        // The listener is another task: it hears of the drain a moment earlier or later.
        while TcpStream::connect(bed.public).await.is_ok() {
            assert!(began.elapsed() < Duration::from_millis(600), "still accepting");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(rest(&mut stream).await.contains("data: [DONE]"));
        assert_eq!(rest(&mut silent).await, "");
        assert!(began.elapsed() < Duration::from_secs(4), "drained after {:?}", began.elapsed());
    };
    let (cut, ()) = tokio::join!(bed.edge.drain(Duration::from_secs(10)), ended);
    assert_eq!(cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_cuts_what_does_not_end() {
    let backend = slow_backend(Duration::from_secs(30), "").await;
    let bed = Bed::new(Wish { backend, ..Wish::default() });
    let (mut one, mut two) = (open_stream(&bed).await, open_stream(&bed).await);
    let began = Instant::now();
    assert_eq!(bed.edge.drain(Duration::from_millis(300)).await, 2);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(!rest(&mut one).await.contains("[DONE]"));
    assert!(!rest(&mut two).await.contains("[DONE]"));
}

/// A certificate for `localhost` as the snapshot's `tls`, and its own authority.
fn certificate() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let text = |pem: &str| pem.replace("\r\n", "\\n").replace('\n', "\\n");
    (format!(r#"{{"certificate":"{}","key":"{}"}}"#, text(&certificate), text(&key)), certificate)
}

/// A TLS connection to the public listener that believes only in `authority`.
async fn connect_tls(
    bed: &Bed,
    authority: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = levada_net::tls::client(Some(authority), true).unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(config).connect(name, bed.connect().await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_changed_without_a_dropped_connection() {
    let ((old, old_authority), (new, new_authority)) = (certificate(), certificate());
    let bed = Bed::new(Wish { tls: old, head: 0.5, ..Wish::default() });
    let mut kept = connect_tls(&bed, &old_authority).await.unwrap();
    let mut seen = [0; 4096];
    for round in 0..2 {
        kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let count = kept.read(&mut seen).await.unwrap();
        assert!(seen[..count].starts_with(b"HTTP/1.1 200"), "round {round}");
        bed.gateway.swap(Wish { tls: new.clone(), ..Wish::default() }.snapshot().as_bytes()).unwrap();
    }
    assert!(connect_tls(&bed, &old_authority).await.is_err(), "the old certificate is still shown");
    let mut fresh = connect_tls(&bed, &new_authority).await.unwrap();
    fresh.write_all(get("/livez").as_bytes()).await.unwrap();
    let mut all = String::new();
    fresh.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    let mut silent = bed.connect().await;
    assert_eq!(rest(&mut silent).await, "", "a handshake that never begins");
}
