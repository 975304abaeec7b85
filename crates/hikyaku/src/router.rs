//! Which handler answers which application protocol.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Result;
use crate::exchange::Exchange;

/// Answers the exchanges of one application protocol. Every `async fn(Exchange<C>) -> Result<()>` is one.
///
/// Returning `Ok(())` ends the exchange with END if the handler has not done so; returning an error answers with it:
/// an [`Error::Failure`](crate::Error::Failure) as it is, anything else as `INTERNAL` without its details. The future
/// is dropped when the peer cancels, the deadline passes or the connection ends.
pub trait Handler<C>: Send + Sync + 'static {
    /// Answers one exchange.
    fn handle(&self, exchange: Exchange<C>) -> impl Future<Output = Result<()>> + Send;
}

impl<C, F, A> Handler<C> for F
where
    F: Fn(Exchange<C>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<()>> + Send,
{
    fn handle(&self, exchange: Exchange<C>) -> impl Future<Output = Result<()>> + Send {
        self(exchange)
    }
}

pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// [`Handler`] in a form that fits a table.
trait BoxedHandler<C>: Send + Sync {
    fn handle_boxed(&self, exchange: Exchange<C>) -> Answer<'_>;
}

impl<C: 'static, H: Handler<C>> BoxedHandler<C> for H {
    fn handle_boxed(&self, exchange: Exchange<C>) -> Answer<'_> {
        Box::pin(self.handle(exchange))
    }
}

/// The application protocols an endpoint answers. Cloning shares the handlers.
///
/// ```
/// use hikyaku::{Exchange, Result, Router};
/// async fn hello(mut exchange: Exchange) -> Result<()> {
///     let name: String = exchange.receive().await?;
///     exchange.reply(&format!("Hello, {name}")).await
/// }
/// let router = Router::new().route("hello/1", hello);
/// ```
pub struct Router<C = ()> {
    routes: HashMap<String, Route<C>>,
}

struct Route<C> {
    handler: Arc<dyn BoxedHandler<C>>,
    strangers: bool,
}

impl<C: Send + Sync + 'static> Router<C> {
    /// A router that knows no protocol yet.
    pub fn new() -> Self {
        Self { routes: HashMap::new() }
    }

    /// Lets `handler` answer `protocol` (such as `chat/1`) for every authorised peer.
    pub fn route(self, protocol: &str, handler: impl Handler<C>) -> Self {
        self.add(protocol, handler, false)
    }

    /// The same, for strangers too: peers that authorisation admitted as nobody in particular.
    pub fn stranger_route(self, protocol: &str, handler: impl Handler<C>) -> Self {
        self.add(protocol, handler, true)
    }

    /// The names of the protocols that are answered, in alphabetical order.
    pub fn protocols(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.routes.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn add(mut self, protocol: &str, handler: impl Handler<C>, strangers: bool) -> Self {
        self.routes.insert(protocol.to_owned(), Route { handler: Arc::new(handler), strangers });
        self
    }

    /// Whether the protocol is known, and to whom.
    pub(crate) fn access(&self, protocol: &str) -> Access {
        match self.routes.get(protocol) {
            None => Access::Unknown,
            Some(Route { strangers: true, .. }) => Access::Everybody,
            Some(_) => Access::Members,
        }
    }

    pub(crate) fn answer(&self, exchange: Exchange<C>) -> Answer<'_> {
        match self.routes.get(exchange.protocol()) {
            Some(route) => route.handler.handle_boxed(exchange),
            None => Box::pin(async { Ok(()) }),
        }
    }
}

/// Who may use a protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Unknown,
    Members,
    Everybody,
}

impl<C: Send + Sync + 'static> Default for Router<C> {
    fn default() -> Self {
        Self::new()
    }
}
