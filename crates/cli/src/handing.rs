//! Receipts that this device gives: of what it has fetched, once that is in its place. One that was signed waits in the
//! client's store until it was given, with the next one if need be, or when this computer receives again.

use std::time::Duration;

use hikyaku::{Connection, ErrorCode};
use hikyaku_accounts::{AccountsClient, system_time};
use hikyaku_chat::ChatClient;
use hikyaku_files::receipts::Holder;
use hikyaku_files::{Destination, Fetched, FilesClient, FilesError, Progress};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{RoomRef, UserId};
use hikyaku_wire::files::Wanted;
use hikyaku_wire::files::receipts::SignedReceipt;

use crate::client::Client;
use crate::exit::Result;
use crate::output;

/// Where receipts wait that could not be given.
const OWED: &str = "receipts owed";
/// How often one is given again that the server asks for again, and the longest wait before that.
const AGAIN: u32 = 5;
const LONGEST: Duration = Duration::from_secs(1);
/// How many wait at most; with more, the oldest is forgotten.
const MOST: usize = 256;

/// Fetches a parcel and gives its receipt. Whatever becomes of the receipt, the parcel is here.
pub(crate) async fn fetch(
    client: &Client,
    connection: &Connection,
    wanted: &Wanted,
    destination: &Destination,
    progress: &Progress,
) -> Result<Fetched, FilesError> {
    let files = FilesClient::new(connection.clone());
    let holder = holder(client, connection, wanted);
    let owe = |receipt: &SignedReceipt| report(owe(client, receipt.clone()));
    let got = files.get_receipted(wanted, destination, progress, holder, system_time, owe).await?;
    let Some((receipt, mut given)) = got.receipt else {
        report(settle(client, &files).await);
        return Ok(got.fetched);
    };
    for _ in 0..AGAIN {
        let Err(error) = &given else { break };
        let Some(wait) = error.retry_after() else { break };
        tokio::time::sleep(wait.min(LONGEST)).await;
        given = files.give_receipt(&receipt).await;
    }
    match given {
        Err(ref error) if is_for_later(error) => {}
        given => {
            report(settled(client, &receipt));
            match given {
                // A server of an earlier release knows no receipts.
                Err(error) if error.code() != ErrorCode::UNKNOWN_METHOD => {
                    output::note(format_args!("the server did not take the receipt: {error}"));
                }
                _ => {}
            }
            report(settle(client, &files).await);
        }
    }
    Ok(got.fetched)
}

/// Whether it waits: also where the server's disk is full, which no word of this side changes.
fn is_for_later(error: &FilesError) -> bool {
    error.is_retryable() || error.code() == ErrorCode::FULL
}

/// Whatever becomes of a receipt is no failure of the transfer.
fn report(done: Result) {
    if let Err(trouble) = done {
        trouble.report();
    }
}

/// Who receives; nobody where the server does not say.
async fn holder(client: &Client, connection: &Connection, wanted: &Wanted) -> Option<Holder> {
    let Wanted::Event(event) = wanted else { return None };
    let (accounts, chat) = (AccountsClient::new(connection.clone()), ChatClient::new(connection.clone()));
    let named = RoomRef::Name(event.room.clone());
    let (me, room) = tokio::join!(accounts.whoami(), chat.resolve(named));
    let (me, head) = (me.ok()?.id?, room.ok()?.head);
    Some(Holder {
        identity: client.identity().clone(),
        host: client.host(),
        user: UserId(me.0),
        room: head.room,
        epoch: event.epoch.unwrap_or(head.epoch),
        seq: event.seq,
    })
}

/// Keeps a receipt until it was given.
fn owe(client: &Client, receipt: SignedReceipt) -> Result {
    change(client, |owed| {
        owed.retain(|known| known.statement != receipt.statement);
        owed.push(receipt);
        let surplus = owed.len().saturating_sub(MOST);
        owed.drain(..surplus);
    })
}

/// Gives what is owed.
pub(crate) async fn settle(client: &Client, files: &FilesClient) -> Result {
    for receipt in read(client)? {
        match files.give_receipt(&receipt).await {
            Err(error) if is_for_later(&error) => return Ok(()),
            // Given, or of something that the server does not have any longer.
            _ => settled(client, &receipt)?,
        }
    }
    Ok(())
}

/// It is owed no longer.
fn settled(client: &Client, receipt: &SignedReceipt) -> Result {
    change(client, |owed| owed.retain(|known| known.statement != receipt.statement))
}

fn read(client: &Client) -> Result<Vec<SignedReceipt>> {
    Ok(decode(client.server.store()?.meta(OWED)?.as_deref()))
}

fn change(client: &Client, change: impl FnOnce(&mut Vec<SignedReceipt>)) -> Result {
    // In one transaction: others of this person may fetch at the same time.
    Ok(client.server.store()?.change(|changes| {
        let mut owed = decode(changes.meta(OWED)?.as_deref());
        change(&mut owed);
        let bytes = encode(&owed);
        changes.set_meta(OWED, (!owed.is_empty()).then_some(&bytes))
    })?)
}

/// One after the other, each behind its length.
fn encode(owed: &[SignedReceipt]) -> Vec<u8> {
    let mut out = Vec::new();
    for receipt in owed {
        let bytes = cbor::encode(receipt);
        out.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
        out.extend(bytes);
    }
    out
}

/// What cannot be read is not owed.
fn decode(bytes: Option<&[u8]>) -> Vec<SignedReceipt> {
    let (mut owed, mut rest) = (Vec::new(), bytes.unwrap_or_default());
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let Some((one, behind)) = behind.split_at_checked(len) else { break };
        owed.extend(cbor::decode::<SignedReceipt>(one, &cbor::Limits::default()).ok());
        rest = behind;
    }
    owed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_that_finds_a_full_disk_stays_owed_and_one_that_nobody_can_take_does_not() {
        let refused = |code| is_for_later(&FilesError::Exchange(hikyaku::Failure::new(code, "no").into()));
        assert!(refused(ErrorCode::FULL));
        let finally = [ErrorCode::NOT_FOUND, ErrorCode::DENIED, ErrorCode::UNKNOWN_METHOD];
        assert!(!finally.map(refused).contains(&true));
    }

    #[test]
    fn receipts_that_are_owed_are_read_as_they_were_written() {
        let receipt = |n| SignedReceipt { statement: vec![n; 9], key: [n; 32], signature: [n; 64] };
        let owed = vec![receipt(1), receipt(2)];
        let bytes = encode(&owed);
        assert_eq!(decode(Some(&bytes)), owed);
        assert_eq!(decode(Some(&bytes[..bytes.len() - 1])), owed[..1]);
        assert_eq!(decode(None), []);
    }
}
