//! Bare quinn with our windows and socket buffers, once with its own packet sizes and once with larger ones.

use std::net::UdpSocket;
use std::sync::Arc;

use bench_common::{Ready, Result, Trust, announce, identity};
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use socket2::{Domain, Socket, Type};

use super::ours;
use crate::load::{BLOCK, Sink};

/// What quinn looks for by itself: a packet that fits an Ethernet frame.
pub const SMALL: u16 = 1452;
/// What ten segments of one system call carry at most: above 6,553 bytes Linux refuses them.
pub const LARGE: u16 = 6500;

/// As the library asks for it.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

pub async fn serve(packet: u16) -> Result<()> {
    let (pem, key) = identity()?;
    let crypto = QuicServerConfig::try_from(Trust::server(&pem, &key, b"bulk")?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(packet)?));
    let endpoint = endpoint(Some(config), packet)?;
    announce(endpoint.local_addr()?, &Trust::of(&pem));
    while let Some(incoming) = endpoint.accept().await {
        let connection = incoming.await?;
        let (mut send, mut receive) = connection.accept_bi().await?;
        let mut arrived = 0_u64;
        while let Some(chunk) = receive.read_chunk(BLOCK, true).await? {
            arrived += chunk.bytes.len() as u64;
        }
        send.write_all(&arrived.to_be_bytes()).await?;
        send.finish()?;
        connection.closed().await;
    }
    Ok(())
}

fn endpoint(server: Option<quinn::ServerConfig>, packet: u16) -> Result<Endpoint> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(packet.max(1472))?;
    Ok(Endpoint::new(config, server, UdpSocket::from(socket), Arc::new(quinn::TokioRuntime))?)
}

fn transport(packet: u16) -> Result<TransportConfig> {
    let limits = ours::limits();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(packet);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u64(limits.stream_window)?)
        .receive_window(VarInt::from_u64(limits.connection_window)?)
        .send_window(limits.connection_window)
        .mtu_discovery_config(Some(discovery));
    Ok(config)
}

pub struct QuicSink {
    connection: quinn::Connection,
    endpoint: Endpoint,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
}

pub async fn connect(ready: &Ready, packet: u16) -> Result<QuicSink> {
    let crypto = QuicClientConfig::try_from(Trust::read(&ready.trust)?.client(b"bulk")?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(packet)?));
    let endpoint = endpoint(None, packet)?;
    let connection = endpoint.connect_with(config, ready.address, "localhost")?.await?;
    let (send, receive) = connection.open_bi().await?;
    Ok(QuicSink { connection, endpoint, send, receive })
}

impl Sink for QuicSink {
    async fn send(&mut self, block: Bytes) -> Result<()> {
        Ok(self.send.write_chunk(block).await?)
    }

    async fn end(mut self) -> Result<u64> {
        self.send.finish()?;
        let answer = self.receive.read_to_end(8).await?;
        self.connection.close(VarInt::from_u32(0), b"");
        self.endpoint.wait_idle().await;
        Ok(u64::from_be_bytes(answer.as_slice().try_into()?))
    }
}
