//! One file per command. Each has its arguments and a `run`; what they share is here.

pub(crate) mod backup;
pub(crate) mod chat;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod get;
pub(crate) mod inspect;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod ping;
pub(crate) mod quota;
pub(crate) mod receipts;
pub(crate) mod receive;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod say;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod servers;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod tour;
pub(crate) mod user;
pub(crate) mod verify;
pub(crate) mod who;

use std::time::Duration;

use crate::args::{Cli, Command, Global};
use crate::exit::{Exit, Result, Trouble};

/// How long a command may take to end by itself after Ctrl-C.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Runs a command; Ctrl-C ends all but those that end themselves.
pub(crate) async fn run(cli: Cli) -> Result {
    let Cli { global, command } = cli;
    let running = async move {
        match command {
            // These two listen to signals themselves.
            Command::Serve(serve) => serve.run(&global).await,
            Command::Tour(tour) => interruptible(tour.run()).await,
            Command::Backup(backup) => interruptible(backup.run()).await,
            Command::Restore(restore) => interruptible(restore.run()).await,
            Command::Doctor(doctor) => interruptible(doctor.run()).await,
            command => interruptible(run_client(&global, command)).await,
        }
    };
    running.await
}

async fn run_client(global: &Global, command: Command) -> Result {
    match command {
        Command::Join(join) => join.run(global).await,
        Command::Ping(ping) => ping.run(global).await,
        Command::Inspect(inspect) => inspect.run().await,
        Command::Status(status) => status.run(global).await,
        Command::Say(say) => say.run(global).await,
        Command::Tail(tail) => tail.run(global).await,
        Command::Chat(chat) => chat.run(global).await,
        Command::Who(who) => who.run(global).await,
        Command::Send(send) => send.run(global).await,
        Command::Get(get) => get.run(global).await,
        Command::Receive(receive) => receive.run(global).await,
        Command::Receipts(receipts) => receipts.run(global).await,
        Command::Verify(verify) => verify.run(global).await,
        Command::Repair(repair) => repair.run(global).await,
        Command::Room(room) => room.run(global).await,
        Command::Invite(invite) => invite.run(global).await,
        Command::Device(device) => device.run(global).await,
        Command::User(user) => user.run(global).await,
        Command::Quota(quota) => quota.run(global).await,
        Command::Server(servers) => servers.run(),
        Command::Serve(_)
        | Command::Tour(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Doctor(_) => Ok(()),
    }
}

async fn interruptible(work: impl Future<Output = Result>) -> Result {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| crate::exit::io("signals", &error))?;
        }
    }
    // Whoever listens to Ctrl-C himself has more to say of it, and may hear of it a moment later.
    let ended = tokio::time::timeout(LAST_WORD, work).await;
    ended.unwrap_or_else(|_| Err(Trouble::new(Exit::Interrupted, "interrupted")))
}

/// Random bytes for identifiers.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Trouble::new(Exit::Failed, format!("the system gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?
}
