//! The deadlines of a connection, on a paused clock.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{advance, timeout};

use super::*;

const PATIENCE: Patience =
    Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75), write: Duration::from_secs(30) };

fn pair(size: usize) -> (DuplexStream, Guard<DuplexStream>, Watch, Arc<Line>) {
    let (client, server) = duplex(size);
    let line = Line::new();
    let watch = Watch::new(Arc::clone(&line), PATIENCE);
    (client, Guard::http1(server, Arc::clone(&line)), watch, line)
}

/// Seconds until the watch ends the connection, up to 1000.
async fn patience_of(watch: &mut Watch) -> u64 {
    let began = Instant::now();
    let _ = timeout(Duration::from_secs(1000), watch.expired()).await;
    began.elapsed().as_secs()
}

async fn pass(client: &mut DuplexStream, guard: &mut Guard<DuplexStream>, bytes: &[u8]) {
    client.write_all(bytes).await.unwrap();
    let mut buf = vec![0; bytes.len()];
    guard.read_exact(&mut buf).await.unwrap();
    assert_eq!(buf, bytes);
}

/// Lets the watch see the present state, as it does after each turn of the connection's task.
async fn glance(watch: &mut Watch) {
    assert!(timeout(Duration::ZERO, watch.expired()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_first_head_counts_from_accept() {
    let (mut client, mut guard, mut watch, _line) = pair(100);
    glance(&mut watch).await;
    advance(Duration::from_secs(6)).await;
    pass(&mut client, &mut guard, b"GET / HT").await;
    assert_eq!(patience_of(&mut watch).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_later_head_counts_from_its_first_byte_and_idle_apart() {
    let (mut client, mut guard, mut watch, line) = pair(100);
    pass(&mut client, &mut guard, b"GET / HTTP/1.1\r\n\r\n").await;
    let (turn, framing) = Turn::begin(&line);
    assert_eq!(framing, Framing::Plain);
    assert_eq!(patience_of(&mut watch).await, 1000, "an answer has other deadlines");
    drop(turn);
    glance(&mut watch).await;
    advance(Duration::from_secs(70)).await;
    pass(&mut client, &mut guard, b"G").await;
    assert_eq!(patience_of(&mut watch).await, 10);
    let (turn, _) = Turn::begin(&line);
    drop(turn);
    assert_eq!(patience_of(&mut watch).await, 75);
}

#[tokio::test(start_paused = true)]
async fn a_write_must_make_progress() {
    let (mut client, mut guard, mut watch, line) = pair(10);
    let _turn = Turn::begin(&line);
    assert!(timeout(Duration::ZERO, guard.write_all(&[0; 30])).await.is_err());
    glance(&mut watch).await;
    advance(Duration::from_secs(29)).await;
    client.read_exact(&mut [0; 5]).await.unwrap();
    assert!(timeout(Duration::ZERO, guard.write_all(&[0; 30])).await.is_err());
    assert_eq!(patience_of(&mut watch).await, 30);
}

#[tokio::test(start_paused = true)]
async fn a_chunked_head_is_told_apart_from_an_ambiguous_one() {
    let (mut client, mut guard, _watch, line) = pair(200);
    pass(&mut client, &mut guard, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (turn, framing) = Turn::begin(&line);
    assert_eq!(framing, Framing::Encoded);
    pass(&mut client, &mut guard, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    drop(turn);
    let (turn, framing) = Turn::begin(&line);
    assert_eq!(framing, Framing::Unseen, "a head that came before its turn");
    drop(turn);
    pass(
        &mut client,
        &mut guard,
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .await;
    assert_eq!(Turn::begin(&line).1, Framing::Both);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_lost_in_a_reset() {
    let (mut client, mut guard, mut watch, line) = pair(100);
    pass(&mut client, &mut guard, b"POST / HTTP/1.1\r\n\r\n").await;
    let (turn, _) = Turn::begin(&line);
    line.leave_unread();
    drop(turn);
    client.write_all(&[0; 100]).await.unwrap();
    assert!(timeout(Duration::ZERO, guard.shutdown()).await.is_err(), "still reading away");
    assert_eq!(patience_of(&mut watch).await, 2);
    drop(client);
    guard.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_at_once() {
    let (_client, mut guard, _watch, line) = pair(100);
    timeout(Duration::from_millis(1), guard.shutdown()).await.unwrap().unwrap();
    drop(Turn::begin(&line));
    timeout(Duration::from_millis(1), guard.shutdown()).await.unwrap().unwrap();
}
