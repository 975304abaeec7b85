//! The oldest example there is: the client says hello, the server prints it and answers, over TCP and over QUIC.
//! `cargo run --example hello -p hikyaku`

use hikyaku::{Exchange, Identity, Result, Router, Server, Transport};

async fn hello(mut exchange: Exchange) -> Result<()> {
    let greeting: String = exchange.receive().await?;
    println!("Received: {greeting}");
    exchange.reply(&format!("Hello, Client over {}", exchange.connection().transport())).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let router = Router::new().route("hello/1", hello);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;
    for transport in [Transport::Tcp, Transport::Quic] {
        let connection = hikyaku::connect(server.address(), server.id()).transport(transport).await?;
        let answer: String = connection.call("hello/1", "", &"Hello, Server").await?;
        println!("Answered: {answer}");
    }
    Ok(())
}
