//! A server that asks its client. Above the connection both sides may do the same things: whoever has a router answers,
//! whoever has a connection asks. Here a server that is asked to fetch something asks back which flavour.
//! `cargo run --example push -p hikyaku`

use std::time::Duration;

use hikyaku::{CallOptions, Exchange, Identity, Result, Router, Server};

/// Of the server: before it can answer, it asks the client, and gives it no more time than it has itself.
async fn order(mut exchange: Exchange) -> Result<()> {
    let dish: String = exchange.receive().await?;
    let options = CallOptions::on_behalf_of(&exchange);
    let question = format!("which flavour of {dish}?");
    let flavour: String =
        exchange.connection().call_with("example.org/ask/1", "", &question, options).await?;
    exchange.reply(&format!("one {flavour} {dish}")).await
}

/// Of the client.
async fn answer(mut exchange: Exchange) -> Result<()> {
    let question: String = exchange.receive().await?;
    println!("The server asks: {question}");
    exchange.reply(&"matcha").await
}

#[tokio::main]
async fn main() -> Result<()> {
    let of_server = Router::new().route("example.org/order/1", order);
    let server = Server::builder(Identity::generate()?).router(of_server).start().await?;
    let of_client = Router::new().route("example.org/ask/1", answer);
    let connection = hikyaku::connect(server.address(), server.id()).router(of_client).await?;

    let options = CallOptions { deadline: Some(Duration::from_secs(5)), ..CallOptions::default() };
    let served: String = connection.call_with("example.org/order/1", "", &"ice cream", options).await?;
    println!("Served: {served}");

    // Nobody has to have asked: a server may speak to everyone who is there.
    for client in server.connections() {
        let flavour: String = client.call("example.org/ask/1", "", &"and for tomorrow?").await?;
        println!("Noted for tomorrow: {flavour}");
    }
    Ok(())
}
