//! What a transfer would do, file by file: nothing is sent and nothing is made.

use hikyaku::{Incoming, Receiver, Sender};
use hikyaku_wire::files::{
    Accept, Answer, Arrival, GET, Head, List, PUT, PutOptions, Request, Step, Target, Verdict, Wanted, Wants,
};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;

use super::{Destination, FilesClient, answer};
use crate::error::{FilesError, Result};
use crate::progress::Progress;
use crate::server::blocking;
use crate::sift::{ANSWERS, Item, Preview, Sifting};
use crate::tree_source::OutgoingTree;
use crate::unpack::{Links, Looking, Missing, Report};
use crate::walk::Trouble;
use crate::writer::decode;

impl FilesClient {
    /// Asks the receiver what it would want of a tree, and tells of each file. Returns what would not be made: what cannot be
    /// carried, and links that lead out where they are not asked for.
    //= S5.66
    pub async fn preview_tree(&self, outgoing: &OutgoingTree, mut tell: impl FnMut(Item)) -> Result<Report> {
        if !matches!(outgoing.offer().target, Target::Drop(_)) {
            return Err(FilesError::Order("a room has no place where something may be already"));
        }
        let (mut sender, mut receiver) = self.open(PUT).await?.split();
        let mut offer = outgoing.offer().clone();
        offer.options = Some(PutOptions { dry_run: Some(true), ..offer.options.unwrap_or_default() });
        sender.send(&offer).await?;
        let Answer::Accept(accept) = answer(&mut receiver, &Progress::none()).await? else {
            return Err(FilesError::Order("an acceptance was expected"));
        };
        let (to, answers) = mpsc::channel(ANSWERS);
        let (said, mut saying) = mpsc::channel(ANSWERS);
        let branches = outgoing.branches();
        let all_links = offer.options.and_then(|options| options.all_links) == Some(true);
        let mut report = Report::default();
        let thread = tokio::task::spawn_blocking(move || {
            let mut sifting = Sifting::new(branches, &accept, answers, |_| {})?;
            while let Some(preview) = sifting.preview()? {
                if said.blocking_send(preview).is_err() {
                    break;
                }
            }
            Ok(sifting.into_troubles())
        });
        let hearing = async {
            loop {
                match answer(&mut receiver, &Progress::none()).await {
                    Ok(Answer::Wants(wants)) => drop(to.send(wants).await),
                    Ok(_) => return FilesError::Order("answers to a listing were expected"),
                    Err(error) => return error,
                }
            }
        };
        let sending = async {
            while let Some(preview) = saying.recv().await {
                match preview {
                    Preview::List(list) => sender.send(&Step::List(list)).await?,
                    Preview::Item(item) => tell(item),
                    Preview::LinkOut(path) if !all_links => report.add(path, Missing::LinkOut),
                    Preview::LinkOut(_) => {}
                }
            }
            crate::server::joined(thread.await)
        };
        let (troubles, count) = tokio::select! {
            sent = sending => sent?,
            error = hearing => return Err(error),
        };
        sender.finish().await?;
        report.missing_count += count.saturating_sub(troubles.len() as u64);
        let carried = |Trouble { path, reason }: Trouble| report.add(path, Missing::Source(reason));
        troubles.into_iter().for_each(carried);
        Ok(report)
    }

    /// Compares what a parcel has with a directory, and tells of each file. Of one that is still being sent that is what is
    /// known so far, and it is said how far it is.
    pub async fn preview_parcel(
        &self,
        wanted: &Wanted,
        into: &Destination,
        tell: impl FnMut(Item),
    ) -> Result<Option<Arrival>> {
        self.look(wanted, into, tell, None).await
    }

    /// The same, and what would not be made: links that lead out where they are not asked for. Of a parcel that is still
    /// being sent they are not known yet.
    pub async fn preview_parcel_whole(
        &self,
        wanted: &Wanted,
        into: &Destination,
        tell: impl FnMut(Item),
    ) -> Result<(Option<Arrival>, Report)> {
        if into.options.all_links == Some(true) {
            return Ok((self.look(wanted, into, tell, None).await?, Report::default()));
        }
        let mut links = Links::new(into.dots, into.only.clone());
        let arrival = self.look(wanted, into, tell, Some(&mut links)).await?;
        Ok((arrival, links.out()))
    }

    async fn look(
        &self,
        wanted: &Wanted,
        into: &Destination,
        mut tell: impl FnMut(Item),
        links: Option<&mut Links>,
    ) -> Result<Option<Arrival>> {
        let (mut sender, mut receiver) = self.open(GET).await?.split();
        sender.send(&Request { list: Some(true), ..Request::live(wanted.clone()) }).await?;
        let head: Head = receiver.receive().await?;
        let destination = into.clone();
        let looking =
            blocking(move || Looking::new(&destination.directory, destination.options, destination.dots))
                .await?;
        if head.kind == EntryKind::File {
            let name = into.name.clone().unwrap_or_else(|| head.name.clone());
            tell(looking.file(&name, &head)?);
            return Ok(head.arrival);
        }
        let accept = Accept {
            transfer: head.transfer,
            from: 0,
            prefix: None,
            max_block: None,
            list: Some(true),
            roots: (into.options.checksum == Some(true)).then_some(true),
            known: Vec::new(),
            older: None,
            packed: None,
        };
        sender.send(&Answer::Accept(accept)).await?;
        // What is on its way is listed, and that is all of it.
        let links = links.filter(|_| head.arrival.is_none());
        hear_listing(&mut sender, &mut receiver, looking, tell, links).await?;
        Ok(head.arrival)
    }
}

/// Hears what a tree has, and wants nothing of it: to the end of the listing, or to the end of the bundle where its links are
/// looked for.
async fn hear_listing(
    sender: &mut Sender,
    receiver: &mut Receiver,
    mut looking: Looking,
    mut tell: impl FnMut(Item),
    mut links: Option<&mut Links>,
) -> Result<()> {
    let expected = || FilesError::Order("a listing was expected");
    let mut is_listed = false;
    loop {
        let message = match (receiver.next().await?, &mut links) {
            (Some(Incoming::Message(message)), _) => message,
            // Of directories alone there is so much that it comes before the listing has its end.
            (Some(Incoming::Data(bytes)), links) => {
                links.as_deref_mut().map_or(Ok(()), |links| links.read(&bytes))?;
                continue;
            }
            _ => return Err(expected()),
        };
        match (decode(&message)?, &mut links) {
            (Step::List(list), _) if !is_listed => {
                (is_listed, looking) =
                    hear_part(sender, list, looking, &mut tell, links.as_deref_mut()).await?;
                if is_listed && links.is_none() {
                    return Ok(());
                }
            }
            (Step::Block(_), _) => {}
            (Step::Close(_), Some(_)) if is_listed => return Ok(()),
            _ => return Err(expected()),
        }
    }
}

/// Takes in a part of the listing, and says that nothing of it is wanted if the sender is to go on; whether it is the last.
async fn hear_part(
    sender: &mut Sender,
    list: List,
    mut looking: Looking,
    tell: &mut impl FnMut(Item),
    links: Option<&mut Links>,
) -> Result<(bool, Looking)> {
    let (first, is_last, goes_on) = (list.first, list.last == Some(true), links.is_some());
    links.map_or(Ok(()), |links| links.list(&list))?;
    let (looking, items) = blocking(move || {
        let items = looking.items(list)?;
        Ok((looking, items))
    })
    .await?;
    let count = items.len();
    items.into_iter().for_each(tell);
    if count > 0 && (goes_on || !is_last) {
        let verdicts = vec![Verdict::SAME.0; count];
        sender.send(&Answer::Wants(Wants { first, verdicts, from: None, older: Vec::new() })).await?;
    }
    Ok((is_last, looking))
}
