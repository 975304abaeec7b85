//! gRPC by tonic: unary calls, all callers on one HTTP/2 connection.

use bench_common::{Ready, Result, Trust, announce, identity};
use bytes::Bytes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::load::{Caller, MESSAGE};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/bench.Echo.rs"));
}
use generated::echo_client::EchoClient;
use generated::echo_server::{Echo, EchoServer};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    async fn echo(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

pub async fn serve(tls: bool) -> Result<()> {
    let mut server = Server::builder();
    let mut trust = "-".to_owned();
    if tls {
        let (pem, key) = identity()?;
        trust = Trust::of(&pem);
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(pem, key)))?;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?, &trust);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(server.add_service(EchoServer::new(Service)).serve_with_incoming(incoming).await?)
}

pub struct GrpcCaller(EchoClient<Channel>);

pub async fn callers(ready: &Ready, count: usize, tls: bool) -> Result<Vec<GrpcCaller>> {
    let scheme = if tls { "https" } else { "http" };
    let mut endpoint = Channel::from_shared(format!("{scheme}://{}", ready.address))?.tcp_nodelay(true);
    if tls {
        let certificate = Certificate::from_pem(Trust::read(&ready.trust)?.0);
        endpoint = endpoint
            .tls_config(ClientTlsConfig::new().ca_certificate(certificate).domain_name("localhost"))?;
    }
    let client = EchoClient::new(endpoint.connect().await?);
    Ok((0..count).map(|_| GrpcCaller(client.clone())).collect())
}

impl Caller for GrpcCaller {
    async fn call(&mut self) -> Result<()> {
        let answer = self.0.echo(Message { body: Bytes::from_static(&MESSAGE) }).await?;
        if answer.into_inner().body == MESSAGE[..] { Ok(()) } else { Err("another answer".into()) }
    }
}
