//! The server of `hello.rs` for clients elsewhere, in whatever language: prints its address and key, and answers until its
//! standard input ends. `cargo run --example hello_server -p hikyaku`

use hikyaku::{Exchange, Identity, Result, Router, Server};

async fn hello(mut exchange: Exchange) -> Result<()> {
    let _greeting: String = exchange.receive().await?;
    exchange.reply(&format!("Hello, Client over {}", exchange.connection().transport())).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let router = Router::new().route("hello/1", hello);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;
    println!("{} {}", server.address(), server.id());
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    Ok(())
}
