//! A conversation in which both sides speak when they like: the client reads a text line by line, the server answers
//! each line as it comes, shouting. Neither waits for its turn.
//! `cargo run --example duplex -p hikyaku`

use hikyaku::{Exchange, Identity, Result, Router, Server};

const TEXT: [&str; 4] = ["an old pond", "a frog jumps in", "the sound of water", "(Bashō)"];

/// Answers every message until the other side has said everything, and then says so itself.
async fn shout(mut exchange: Exchange) -> Result<()> {
    loop {
        match exchange.receive::<String>().await {
            Ok(line) => exchange.send(&format!("{}!", line.to_uppercase())).await?,
            Err(hikyaku::Error::Ended) => return exchange.finish().await,
            Err(error) => return Err(error),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let router = Router::new().route("example.org/shout/1", shout);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;
    let connection = hikyaku::connect(server.address(), server.id()).await?;

    // The two directions of one exchange, each in a task of its own.
    let (mut sender, mut receiver) = connection.open("example.org/shout/1", "").await?.split();
    let speaking = tokio::spawn(async move {
        for line in TEXT {
            sender.send(&line).await?;
        }
        sender.finish().await
    });
    for line in TEXT {
        let answer: String = receiver.receive().await?;
        println!("{line:20} {answer}");
    }
    // Only the peer's END says that this was all.
    receiver.ended().await?;
    speaking.await.expect("the task does not panic")
}
