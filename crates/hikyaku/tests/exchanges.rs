//! What an exchange promises, over every transport alike. Spec: chapter 3.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{ALL, echo, pair, pair_with};
use hikyaku::{
    CallOptions, DatagramError, Error, ErrorCode, Exchange, Failure, Incoming, Limits, Result, Retry, Router,
};
use tokio::sync::{Notify, mpsc};

#[tokio::test]
async fn one_question_has_one_answer() {
    for transport in ALL {
        let pair = pair(transport, Router::new().route("echo/1", echo)).await;
        let answer: String = pair.client.call("echo/1", "", &"Hello").await.unwrap();
        assert_eq!(answer, "Hello", "{transport}");
    }
}

#[tokio::test]
async fn a_stream_of_answers_arrives_whole_and_in_order() {
    async fn count(mut exchange: Exchange) -> Result<()> {
        let to: u32 = exchange.receive().await?;
        for number in 0..to {
            exchange.send(&number).await?;
        }
        exchange.finish().await
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("count/1", count)).await;
        let mut exchange = pair.client.open("count/1", "").await.unwrap();
        exchange.reply(&1000_u32).await.unwrap();
        for expected in 0..1000_u32 {
            assert_eq!(exchange.receive::<u32>().await.unwrap(), expected);
        }
        exchange.ended().await.unwrap();
    }
}

#[tokio::test]
async fn both_sides_may_speak_at_once() {
    for transport in ALL {
        let pair = pair(transport, Router::new().route("echo/1", echo)).await;
        let (mut sender, mut receiver) = pair.client.open("echo/1", "").await.unwrap().split();
        let speaking = tokio::spawn(async move {
            for number in 0..500_u32 {
                sender.send(&number).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
        for expected in 0..500_u32 {
            assert_eq!(receiver.receive::<u32>().await.unwrap(), expected);
        }
        receiver.ended().await.unwrap();
        speaking.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_may_ask_its_client() {
    async fn ask_back(mut exchange: Exchange) -> Result<()> {
        let name: String = exchange.connection().call("name/1", "", &"who are you?").await?;
        exchange.reply(&format!("hello {name}")).await
    }
    async fn name(mut exchange: Exchange) -> Result<()> {
        let _: String = exchange.receive().await?;
        exchange.reply(&"client").await
    }
    for transport in ALL {
        let (of_server, of_client) =
            (Router::new().route("ask/1", ask_back), Router::new().route("name/1", name));
        let pair = pair_with(transport, of_server, of_client, Limits::default()).await;
        let answer: String = pair.client.call("ask/1", "", &0_u8).await.unwrap();
        assert_eq!(answer, "hello client", "{transport}");
    }
}

#[tokio::test]
async fn bulk_larger_than_every_window_arrives_unchanged() {
    const BLOCK: usize = 512 * 1024;
    const BLOCKS: usize = 80; // 40 MiB, more than the connection's window
    for transport in ALL {
        let pair = pair(transport, Router::new().route("echo/1", echo)).await;
        let (mut sender, mut receiver) = pair.client.open("echo/1", "").await.unwrap().split();
        let sending = tokio::spawn(async move {
            for block in 0..BLOCKS {
                sender.send_data(Bytes::from(vec![block as u8; BLOCK])).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
        let mut position = 0;
        while let Some(Incoming::Data(chunk)) = receiver.next().await.unwrap() {
            for byte in chunk.iter() {
                assert_eq!(usize::from(*byte), position / BLOCK);
                position += 1;
            }
        }
        assert_eq!(position, BLOCK * BLOCKS, "{transport}");
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn a_handlers_failure_reaches_the_caller_with_code_retry_message_and_details() {
    async fn fail(_: Exchange) -> Result<()> {
        let retry = Retry::After(Duration::from_millis(1500));
        Err(Failure::new(ErrorCode::BUSY, "come back later")
            .with_retry(retry)
            .with_details(&[0x01][..])
            .into())
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("fail/1", fail)).await;
        let error = pair.client.call::<_, u8>("fail/1", "", &0_u8).await.unwrap_err();
        let Error::Failure(failure) = error else { panic!("{error:?}") };
        assert_eq!(failure.code, ErrorCode::BUSY);
        assert_eq!(failure.retry, Retry::After(Duration::from_millis(1500)));
        assert_eq!((failure.message.as_str(), failure.details.as_ref()), ("come back later", &[0x01][..]));
    }
}

#[tokio::test]
async fn our_own_troubles_are_not_told_to_the_peer_in_detail() {
    async fn trouble(_: Exchange) -> Result<()> {
        Err(Error::Unreachable(vec!["10.0.0.7: secret".to_owned()]))
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("trouble/1", trouble)).await;
        let error = pair.client.call::<_, u8>("trouble/1", "", &0_u8).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::INTERNAL, "{transport}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_protocol_is_named_and_costs_nothing_but_its_exchange() {
    for transport in ALL {
        let pair = pair(transport, Router::new().route("echo/1", echo)).await;
        let error = pair.client.call::<_, u8>("nothing/7", "", &0_u8).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UNKNOWN_PROTOCOL, "{transport}");
        assert!(error.to_string().contains("nothing/7"));
        let answer: u8 = pair.client.call("echo/1", "", &7_u8).await.unwrap();
        assert_eq!(answer, 7);
    }
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    for transport in ALL {
        let dropped = Arc::new(Notify::new());
        let router = Router::new().route("slow/1", never(dropped.clone()));
        let pair = pair(transport, router).await;
        let options = CallOptions { deadline: Some(Duration::from_millis(50)), ..CallOptions::default() };
        let mut exchange = pair.client.open_with("slow/1", "", options).await.unwrap();
        exchange.send(&0_u8).await.unwrap();
        let _begun: u8 = exchange.receive().await.unwrap();
        let error = exchange.receive::<u8>().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::DEADLINE_EXCEEDED, "{transport}");
        dropped.notified().await;
    }
}

#[tokio::test]
async fn dropping_an_exchange_cancels_its_handler() {
    for transport in ALL {
        let dropped = Arc::new(Notify::new());
        let pair = pair(transport, Router::new().route("slow/1", never(dropped.clone()))).await;
        let mut exchange = pair.client.open("slow/1", "").await.unwrap();
        exchange.send(&0_u8).await.unwrap();
        let _begun: u8 = exchange.receive().await.unwrap();
        drop(exchange);
        dropped.notified().await;
    }
}

#[tokio::test]
async fn losing_the_connection_ends_its_handlers() {
    for transport in ALL {
        let dropped = Arc::new(Notify::new());
        let pair = pair(transport, Router::new().route("slow/1", never(dropped.clone()))).await;
        let mut exchange = pair.client.open("slow/1", "").await.unwrap();
        exchange.send(&0_u8).await.unwrap();
        let _begun: u8 = exchange.receive().await.unwrap();
        pair.client.abort(ErrorCode::NO_ERROR, "enough");
        dropped.notified().await;
    }
}

/// A handler that answers once, then waits for ever, and tells when it was dropped.
fn never(dropped: Arc<Notify>) -> impl hikyaku::Handler<()> {
    struct TellsOfItsEnd(Arc<Notify>);
    impl Drop for TellsOfItsEnd {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    move |mut exchange: Exchange| {
        let tells = TellsOfItsEnd(dropped.clone());
        async move {
            let begun: u8 = exchange.receive().await?;
            exchange.send(&begun).await?;
            std::future::pending::<()>().await;
            drop(tells);
            Ok(())
        }
    }
}

#[tokio::test]
async fn a_handler_that_dies_in_the_middle_of_data_leaves_a_truncated_answer_never_a_whole_one() {
    async fn half(mut exchange: Exchange) -> Result<()> {
        exchange.send_data(Bytes::from_static(b"half of it")).await?;
        Err(Failure::new(ErrorCode::FAILED, "the other half is gone").into())
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("half/1", half)).await;
        let mut exchange = pair.client.open("half/1", "").await.unwrap();
        exchange.finish().await.unwrap();
        let mut heard = Vec::new();
        let error = loop {
            match exchange.next().await {
                Ok(Some(Incoming::Data(chunk))) => heard.extend_from_slice(&chunk),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!((heard.as_slice(), error.code()), (&b"half of it"[..], ErrorCode::FAILED));
    }
}

#[tokio::test]
async fn a_message_beyond_the_peers_limit_is_not_sent_and_the_error_names_the_limit() {
    for transport in ALL {
        let limits = Limits { max_message: 64 * 1024, ..Limits::default() };
        let pair = pair_with(transport, Router::new().route("echo/1", echo), Router::new(), limits).await;
        let text = |length| "x".repeat(length);
        // A text of 65,533 bytes is an item of 65,536.
        let answer: String = pair.client.call("echo/1", "", &text(65_533)).await.unwrap();
        assert_eq!(answer.len(), 65_533);
        let error = pair.client.call::<_, String>("echo/1", "", &text(65_534)).await.unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { name: "max_message", size: 65_537, limit: 65_536, .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_unread_bulk_stream_does_not_stop_the_others() {
    async fn stall(exchange: Exchange) -> Result<()> {
        std::future::pending::<()>().await;
        drop(exchange);
        Ok(())
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("stall/1", stall).route("echo/1", echo)).await;
        let mut bulk = pair.client.open("stall/1", "").await.unwrap();
        let full = async {
            loop {
                bulk.send_data(Bytes::from(vec![0; 1024 * 1024])).await.unwrap();
            }
        };
        // More than the stream's window can never be taken: this waits for ever, the echo beside it does not.
        tokio::select! {
            () = full => unreachable!(),
            answer = async {
                for _ in 0..200 {
                    pair.client.call::<_, u8>("echo/1", "", &1_u8).await?;
                }
                Ok::<_, Error>(())
            } => answer.unwrap(),
        }
    }
}

#[tokio::test]
async fn more_callers_than_streams_wait_and_all_are_served() {
    for transport in ALL {
        let limits = Limits { max_exchanges: 4, ..Limits::default() };
        let pair = pair_with(transport, Router::new().route("echo/1", echo), Router::new(), limits).await;
        let calls: Vec<_> = (0..64_u32)
            .map(|number| {
                let client = pair.client.clone();
                tokio::spawn(async move { client.call::<_, u32>("echo/1", "", &number).await.unwrap() })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap() as usize, number);
        }
    }
}

#[tokio::test]
async fn datagrams_belong_to_their_exchange_and_have_one_limit_everywhere() {
    async fn reflect(exchange: Exchange) -> Result<()> {
        let datagrams = exchange.datagrams();
        loop {
            let payload = datagrams.receive().await?;
            datagrams.send(&payload)?;
        }
    }
    for transport in ALL {
        let pair = pair(transport, Router::new().route("reflect/1", reflect)).await;
        let mut first = pair.client.open("reflect/1", "").await.unwrap();
        let mut second = pair.client.open("reflect/1", "").await.unwrap();
        let (of_first, of_second) = (first.datagrams(), second.datagrams());
        first.flush().await.unwrap();
        second.flush().await.unwrap();
        of_first.send(b"one").unwrap();
        of_second.send(&[2; 1000]).unwrap();
        assert_eq!(of_first.receive().await.unwrap().as_ref(), b"one");
        assert_eq!(of_second.receive().await.unwrap().as_ref(), &[2; 1000]);
        let error = of_first.send(&[0; 1001]).unwrap_err();
        assert_eq!(error, DatagramError::TooLarge { size: 1001, limit: 1000 }, "{transport}");
    }
}

#[tokio::test]
async fn draining_lets_open_exchanges_finish_and_takes_no_new_ones() {
    for transport in ALL {
        let (started, mut starts) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let served = Arc::new(AtomicUsize::new(0));
        let router = {
            let (go, served) = (go.clone(), served.clone());
            Router::new().route("slow/1", move |mut exchange: Exchange| {
                let (started, go, served) = (started.clone(), go.clone(), served.clone());
                async move {
                    let question: u32 = exchange.receive().await?;
                    started.send(()).unwrap();
                    go.notified().await;
                    served.fetch_add(1, Ordering::SeqCst);
                    exchange.reply(&(question + 1)).await
                }
            })
        };
        let common::Pair { server, client } = pair(transport, router).await;
        let asking = client.clone();
        let call = tokio::spawn(async move { asking.call::<_, u32>("slow/1", "", &41_u32).await });
        starts.recv().await.unwrap();
        let drained = tokio::spawn(async move { server.drain(Duration::from_secs(10)).await });
        client.draining().await;
        let refused = client.call::<_, u32>("slow/1", "", &1_u32).await.unwrap_err();
        assert!(matches!(refused, Error::Refused), "{refused:?}");
        go.notify_one();
        assert_eq!(call.await.unwrap().unwrap(), 42, "{transport}");
        drained.await.unwrap();
        assert!(client.is_closed());
        assert_eq!(served.load(Ordering::SeqCst), 1);
    }
}

//= S3.73 (test)
#[tokio::test]
async fn what_was_asked_before_goaway_is_still_answered() {
    for transport in ALL {
        for attempt in 0..20 {
            let pair = pair(transport, Router::new().route("echo/1", echo)).await;
            let mut exchange = pair.client.open("echo/1", "").await.unwrap();
            exchange.reply(&7_u8).await.unwrap();
            let leaving = pair.client.clone();
            let drained = tokio::spawn(async move { leaving.drain().await });
            assert_eq!(exchange.receive::<u8>().await.unwrap(), 7, "{transport}, attempt {attempt}");
            drop(exchange);
            drained.await.unwrap();
        }
    }
}

/// A connection begins with room for few, and gets more while they are opened.
#[tokio::test]
async fn as_many_exchanges_are_open_at_once_as_the_limit_says() {
    const MANY: usize = 200;
    for transport in ALL {
        let barrier = Arc::new(tokio::sync::Barrier::new(MANY));
        let together = move |mut exchange: Exchange| {
            let barrier = barrier.clone();
            async move {
                let number: u32 = exchange.receive().await?;
                barrier.wait().await;
                exchange.reply(&number).await
            }
        };
        let limits = Limits { max_exchanges: MANY as u64, ..Limits::default() };
        let router = Router::new().route("together/1", together);
        let pair = pair_with(transport, router, Router::new(), limits).await;
        let calls: Vec<_> = (0..MANY as u32)
            .map(|number| {
                let client = pair.client.clone();
                tokio::spawn(async move { client.call::<_, u32>("together/1", "", &number).await.unwrap() })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap() as usize, number, "{transport}");
        }
    }
}
