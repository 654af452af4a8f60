//! As much of AMQP 0-9-1 as it takes to hold messages without acknowledging them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection that consumes a queue and never acknowledges; its messages go back when it is dropped.
#[derive(Debug)]
pub struct Consumer {
    _stream: TcpStream,
}

impl Consumer {
    /// Consumes `queue` as `guest`, at most `prefetch` messages at a time.
    pub async fn start(address: SocketAddr, queue: &str, prefetch: u16) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        expect(&mut stream, (10, 10)).await?;
        // start-ok: no properties, PLAIN, user and password, locale.
        let login = [&[0_u8; 4][..], &short("PLAIN"), &long("\0guest\0guest"), &short("en_US")];
        send(&mut stream, 0, (10, 11), &login.concat()).await?;
        expect(&mut stream, (10, 30)).await?;
        // tune-ok: channels, bytes of a frame, no heartbeat.
        let tune = [&1_u16.to_be_bytes()[..], &131_072_u32.to_be_bytes(), &[0, 0]];
        send(&mut stream, 0, (10, 31), &tune.concat()).await?;
        send(&mut stream, 0, (10, 40), &[&short("/")[..], &[0, 0]].concat()).await?;
        expect(&mut stream, (10, 41)).await?;
        send(&mut stream, 1, (20, 10), &[0]).await?;
        expect(&mut stream, (20, 11)).await?;
        let limit = [&[0_u8; 4][..], &prefetch.to_be_bytes(), &[0]];
        send(&mut stream, 1, (60, 10), &limit.concat()).await?;
        expect(&mut stream, (60, 11)).await?;
        // consume: the server names the consumer; no flags, no arguments.
        let consume = [&[0_u8; 2][..], &short(queue), &short(""), &[0], &[0; 4]];
        send(&mut stream, 1, (60, 20), &consume.concat()).await?;
        expect(&mut stream, (60, 21)).await?;
        Ok(Self { _stream: stream })
    }
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

fn long(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

async fn send(
    stream: &mut TcpStream,
    channel: u16,
    (class, method): (u16, u16),
    arguments: &[u8],
) -> Result<()> {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    let mut frame = vec![1];
    frame.extend(channel.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    Ok(stream.write_all(&frame).await?)
}

/// Reads the next frame, which must be this method.
async fn expect(stream: &mut TcpStream, wanted: (u16, u16)) -> Result<()> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    ensure!(size < 1 << 20, "a frame of {size} bytes");
    let mut payload = vec![0; size + 1];
    stream.read_exact(&mut payload).await?;
    let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    ensure!((number(0), number(2)) == wanted, "{payload:?} instead of {wanted:?}");
    Ok(())
}
