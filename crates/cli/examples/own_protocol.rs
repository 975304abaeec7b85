//! A server of one's own: rooms (`chat/1`) and files (`files/1`) as they are, and beside them a protocol that nobody
//! had before: `example.org/todo/1`, a list of things to do. One port, one key, one connection for all three.
//! `cargo run --example own_protocol -p hikyaku-cli`

use std::error::Error;
use std::sync::{Arc, Mutex};

use hikyaku::{Admission, ErrorCode, Exchange, Failure, Identity, Peer, Router, Server};
use hikyaku_chat::client::message;
use hikyaku_chat::{Answer, Ask, Author, ChatClient, ChatServer, Limits, Member, Permit};
use hikyaku_files::rooms::{Announced, Content, Holds, OpenParcel, Owner, Resolved};
use hikyaku_files::{
    DropDir, DropOptions, FilesClient, FilesLimits, FilesServer, FsVault, Outgoing, Progress, Rooms,
};
use hikyaku_storage::memory::MemoryStore;
use hikyaku_wire::chat::{DeviceId, History, RoomId, UserId};
use hikyaku_wire::files::{Offer, Target, Wanted};
use hikyaku_wire::parcel::{EventRef, Parcel, ParcelEnd, TransferId};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Who is at the other end: made once per connection, and seen by every handler of all three protocols.
#[derive(Clone)]
struct Guest {
    peer: Peer,
}

/// What chat wants to know of a guest.
impl Member for Guest {
    fn author(&self) -> Author {
        let device = *self.peer.id.as_bytes();
        let mut user = [0; 16];
        user.copy_from_slice(&device[..16]);
        Author { id: UserId(user), name: "guest".to_owned(), device: DeviceId(device) }
    }

    fn permit(&self, _ask: Ask) -> Answer<'_> {
        // Everybody may do everything here. A server with more at stake asks its accounts.
        Box::pin(async { Ok(Permit::default()) })
    }
}

/// What files want to know: here they go into the server's directory, and not into rooms.
struct OnlyTheDirectory;

fn not_here<T>() -> Result<T, Failure> {
    Err(Failure::new(ErrorCode::NOT_FOUND, "rooms take no files here"))
}

impl Rooms<Guest> for OnlyTheDirectory {
    fn owner(&self, guest: &Guest) -> Owner {
        guest.author().id.0
    }

    async fn may_put(&self, _: &Guest, offer: &Offer) -> Result<(), Failure> {
        if matches!(offer.target, Target::Drop(_)) { Ok(()) } else { not_here() }
    }

    async fn room(&self, _: &Guest, _: &str) -> Result<[u8; 16], Failure> {
        not_here()
    }

    async fn announce(&self, _: &Guest, _: &str, _: &Parcel) -> Result<Announced, Failure> {
        not_here()
    }

    async fn conclude(&self, _: &EventRef, _: &ParcelEnd) -> Result<ParcelEnd, Failure> {
        not_here()
    }

    async fn resolve(&self, _: &Guest, _: &Wanted) -> Result<Resolved, Failure> {
        not_here()
    }

    async fn open_parcels(&self) -> Result<Vec<OpenParcel>, Failure> {
        Ok(Vec::new())
    }

    async fn holds(&self, _: TransferId) -> Result<Option<Holds>, Failure> {
        Ok(None)
    }

    async fn contents(&self, _: Option<TransferId>) -> Result<Vec<Content>, Failure> {
        Ok(Vec::new())
    }
}

/// The protocol of one's own. Its methods: `add` takes a text and answers with its number, `list` answers with every
/// text in turn.
#[derive(Clone, Default)]
struct Todo(Arc<Mutex<Vec<String>>>);

impl Todo {
    const PROTOCOL: &str = "example.org/todo/1";
    const MAX: usize = 1000;

    async fn serve(self, mut exchange: Exchange<Guest>) -> hikyaku::Result<()> {
        match exchange.method() {
            "add" => {
                let text: String = exchange.receive().await?;
                let number = self.add(text)?;
                exchange.reply(&number).await
            }
            "list" => {
                let all = self.all().clone();
                for text in &all {
                    // Waits for the reader's credit: a slow one costs nothing.
                    exchange.send(text).await?;
                }
                exchange.finish().await
            }
            other => Err(Failure::new(ErrorCode::UNKNOWN_METHOD, format!("todo has no '{other}'")).into()),
        }
    }

    /// Whatever a peer can make grow has a limit, and reaching it is said.
    fn add(&self, text: String) -> Result<u64, Failure> {
        let mut all = self.all();
        if all.len() >= Self::MAX {
            return Err(Failure::new(
                ErrorCode::FULL,
                format!("there are {} things to do already", Self::MAX),
            ));
        }
        all.push(text);
        Ok(all.len() as u64)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// All three behind one pair of sockets.
async fn serve(place: &std::path::Path) -> Done<Server<Guest>> {
    let chat = ChatServer::new(Arc::new(MemoryStore::new()), Limits::default());
    let (vault, drop) = (place.join("vault"), place.join("drop"));
    std::fs::create_dir(&drop)?;
    let files = FilesServer::new(
        OnlyTheDirectory,
        Arc::new(FsVault::open(&vault, 0)?),
        Some(DropDir::open(&drop, DropOptions::default())?),
        FilesLimits::default(),
    );
    let todo = Todo::default();
    let router = Router::new()
        .route(hikyaku_wire::chat::PROTOCOL, chat)
        .route(hikyaku_wire::files::PROTOCOL, move |exchange| files.clone().handle(exchange))
        .route(Todo::PROTOCOL, move |exchange| todo.clone().serve(exchange));
    let server = Server::builder(Identity::generate()?)
        .authorize(|peer| async move { Ok(Admission::Member(Guest { peer })) })
        .router(router)
        .start()
        .await?;
    Ok(server)
}

#[tokio::main]
async fn main() -> Done {
    let place = tempfile::tempdir()?;
    let server = serve(place.path()).await?;
    let connection = hikyaku::connect(server.address(), server.id()).await?;

    // The own protocol: two calls and a stream of answers.
    for text in ["carry the letter to Edo", "wait for the answer"] {
        let number: u64 = connection.call(Todo::PROTOCOL, "add", &text).await?;
        println!("todo {number}: {text}");
    }
    let mut list = connection.open(Todo::PROTOCOL, "list").await?;
    list.finish().await?;
    let mut texts = Vec::new();
    while let Some(hikyaku::Incoming::Message(item)) = list.next().await? {
        texts.push(minicbor::decode::<String>(&item)?);
    }

    // A room, over the same connection.
    let chat = ChatClient::new(connection.clone());
    let room = chat.create_room(RoomId([1; 16]), "ops", None).await?.room.head.room;
    let sent = chat.send(&message(room, format!("{} things to do", texts.len()))?).await?;
    println!("said in #ops:{}", sent.seq);
    let page = chat
        .history(&History { room: room.into(), from: Some(1), since_ms: None, limit: None, chain: false })
        .await?;
    println!("#ops has {} event", page.records.iter().count());

    // And a file into the server's directory.
    let letter = place.path().join("letter.txt");
    std::fs::write(&letter, texts.join("\n"))?;
    let outgoing = Outgoing::new(&letter, None, Target::Drop(Vec::new()))?;
    let receipt = FilesClient::new(connection.clone()).send_file(&outgoing, &Progress::none()).await?;
    println!("letter.txt arrived: {} bytes, BLAKE3 {}", receipt.size, receipt.root);
    assert_eq!(std::fs::read(place.path().join("drop/letter.txt"))?, std::fs::read(&letter)?);

    connection.close().await;
    server.drain(std::time::Duration::from_secs(5)).await;
    Ok(())
}
