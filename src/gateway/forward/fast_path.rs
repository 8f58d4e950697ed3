//! The fast path to an app: all that goes to one that speaks HTTP/1.1 alone, by TLS or without, and every WebSocket; and from a client of HTTP/2 to an
//! upstream that speaks it too, stream to stream. Connections and their TLS are Pingora's; its proxy is passed by: the head that `headers` wrote goes out as it is.

mod answer_head;
mod app_side;
mod app_stream;
mod ask;
mod client;
mod http2;
mod http2_app;
mod tunnel;
mod unsent;
mod upgrade;
mod upload;
mod upstream_connection;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::StatusCode;
use pingora_core::connectors::http::v2::Connector as Streams;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::server::configuration::ServerConf;

use tokio::sync::Semaphore;

use crate::app::Picked;
use crate::clock::Stopwatch;
use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::drain::Drain;
use crate::gateway::forward::attempt::{MAX_INTERIM, behind};
use crate::gateway::forward::fast_path::answer_head::Framing;
use crate::gateway::forward::fast_path::app_side::{AppSide as _, Wanted};
use crate::gateway::forward::fast_path::ask::Downstream as _;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::gateway::{Gateway, InForce};
use crate::http_client::Cause;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

pub(in crate::gateway) use client::Client;
pub(in crate::gateway) use http2::SHORT;
pub(in crate::gateway) use unsent::Unsent;
pub(in crate::gateway) use upload::Upload;

/// The most that is read of an answer before the client must take it.
const PIECE: usize = 64 * 1024;

/// The fast path, and its connections to apps.
pub(in crate::gateway) struct FastPath {
    gateway: Arc<InForce>,
    drain: Arc<Drain>,
    connector: TransportConnector,
    /// Connections to apps that speak HTTP/2.
    streams: Arc<Streams>,
    /// Places for idle connections to apps, of all upstreams.
    idle: Arc<Semaphore>,
    /// Of all answers to clients of HTTP/2.
    unsent: Arc<Unsent>,
}

/// What becomes of the client's connection.
pub(in crate::gateway) enum Next {
    /// It may send another request.
    KeepAlive,
    /// It has its answer, and is told that there is no other.
    Close,
    /// The answer is not whole, or nobody reads it.
    Abort,
    /// Nothing was sent to the app or taken from the client: the app speaks HTTP/2, and it goes by Pingora's proxy.
    Http2,
}

/// A request of HTTP/2 that this way does not carry: the upstream speaks HTTP in another version. It took no request, and nothing of the client's is lost.
pub(in crate::gateway) struct Elsewhere {
    /// The upstream. A second pick would be the turn of another one.
    pub picked: Option<Picked>,
}

/// Why an answer did not come through whole.
enum Stop {
    /// The app's fault.
    App(Cause),
    /// The client is gone, or takes nothing.
    Client,
    /// The body of the client's request: what is wrong with it.
    Refused(Refusal),
    /// The app speaks HTTP in another version than this way: it took no request, and nothing of the client's is lost.
    OtherVersion,
    /// The gateway stops.
    Abort,
    /// The session of a WebSocket is over.
    SessionEnd,
}

/// What is learnt on the way.
#[derive(Default)]
struct FastPathContext {
    /// Where it goes now.
    picked: Option<Picked>,
    /// The status of the answer; 0: there is none yet.
    status: u16,
    /// When the one that it goes to now was asked.
    asked: Option<Stopwatch>,
}

impl FastPathContext {
    /// The head of the app's answer is there.
    fn answered(&mut self, gateway: &Gateway, proxied: &ProxiedRequest, status: StatusCode) {
        if let (Some(picked), Some(asked)) = (&self.picked, self.asked.take()) {
            picked.succeeded();
            gateway.time_app(proxied, picked.label(), status.as_u16(), asked.elapsed());
        }
    }
}

impl FastPath {
    /// No connection yet. `unsent`: the bound on what clients of HTTP/2 do not take. `conf`: what Pingora's proxy is set up with.
    pub fn new(gateway: Arc<InForce>, drain: Arc<Drain>, unsent: Arc<Unsent>, conf: &ServerConf) -> Self {
        let connector = TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf)));
        let idle = Arc::new(Semaphore::new(conf.upstream_keepalive_pool_size.min(Semaphore::MAX_PERMITS)));
        let streams = Arc::new(Streams::new(Some(ConnectorOptions::from_server_conf(conf))));
        Self { gateway, drain, connector, streams, idle, unsent }
    }

    /// One request, with its head as the app gets it, and its answer.
    ///
    /// Dropped: both connections are cut, and no access line is written.
    pub async fn exchange(
        &self,
        mut client: Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        abort: &mut ShutdownSignal<'_>,
    ) -> Next {
        let mut context = FastPathContext::default();
        let carried = tokio::select! {
            biased;
            carried = self.carry(&mut client, head, proxied, &mut context) => carried,
            () = abort.received() => Err(Stop::Abort),
            () = session_end::revoked(proxied, &self.gateway) => Err(Stop::SessionEnd),
        };
        let (outcome, next, cause) = match carried {
            Ok(next) => (Outcome::Forwarded, next, None),
            Err(Stop::OtherVersion) => return Next::Http2,
            Err(Stop::Client) => (Outcome::Cancelled, Next::Abort, None),
            Err(Stop::Abort) => (Outcome::Cut, Next::Abort, None),
            // Its last message may be half sent: no frame of ours can stand behind that, so that the connections are closed and no more is said.
            Err(Stop::SessionEnd) => (Outcome::SessionEnded, Next::Abort, None),
            // The app's answer is going out; that the rest of the request did not come then is no matter.
            Err(Stop::Refused(_)) if client.answered => (Outcome::Forwarded, Next::Abort, None),
            Err(Stop::Refused(refusal)) => {
                let next = Self::refuse(&mut client, &refusal, proxied, &mut context).await;
                (refusal.row().outcome, next, None)
            }
            Err(Stop::App(why)) => {
                if let Some(picked) = &context.picked {
                    picked.failed(why);
                }
                let refusal = behind(why);
                let next = if client.answered {
                    Next::Abort
                } else {
                    Self::refuse(&mut client, &refusal, proxied, &mut context).await
                };
                (refusal.row().outcome, next, Some(why))
            }
        };
        let status = if client.answered { context.status } else { 0 };
        self.gateway.load().log_proxied(proxied, status, outcome, context.picked.as_ref().map(Picked::label), cause);
        next
    }

    /// Our answer in place of the app's.
    async fn refuse(
        client: &mut Client<'_, '_>,
        refusal: &Refusal,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Next {
        // The app's connection ends: what of the body went there is no whole one.
        client.upload = None;
        context.status = refusal.row().status;
        client.out.clear();
        proxied.refuse(refusal, client.out);
        client.send(None).await.map_or(Next::Abort, |()| Next::Close)
    }

    async fn carry(
        &self,
        client: &mut Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Next, Stop> {
        let mut app = if proxied.websocket {
            // Boxed: a plain request does not hold the room for a tunnel.
            match Box::pin(self.upgrade(client, head, proxied, context)).await? {
                Some(declined) => declined,
                None => return Ok(Next::Close),
            }
        } else {
            // An app by TLS may turn out to speak HTTP/2, and all goes another way then.
            let taken = (!proxied.forward.app().is_plain() && client.upload.is_some()).then(|| client.ahead.clone());
            client.prepare().await?;
            let asked = self.ask(client, head, proxied, context).await;
            if let (Err(Stop::OtherVersion), Some(taken)) = (&asked, taken) {
                *client.ahead = taken;
            }
            asked?
        };
        let patience = proxied.forward.app().read_timeout;
        // Of HTTP/1.0: it knows neither interim answers nor chunks (RFC 9112, section 7.1; RFC 9110, section 15.2).
        let old = !proxied.modern;
        let mut interim = 0;
        let (framing, close) = loop {
            let head = app.head().filter(|head| head.status() != StatusCode::SWITCHING_PROTOCOLS);
            let Some(head) = head.filter(|head| !head.status().is_informational() || interim < MAX_INTERIM) else {
                return Err(Stop::App(Cause::NotHttp));
            };
            let status = head.status();
            // What a client sent for a protocol that the app does not switch to is no request.
            let mistaken = proxied.websocket && !client.ahead.is_empty();
            // Where the body of the request ends is not known yet.
            let close = proxied.start.close || self.drain.is_lame() || mistaken || client.is_sending();
            if !status.is_informational() {
                let framing = head.write(proxied, close, old, client.out);
                context.status = status.as_u16();
                context.answered(&self.gateway.load(), proxied, status);
                app.begin_body(proxied.method == "HEAD");
                break (framing, close || framing == Framing::UntilClose);
            }
            if !old {
                head.write(proxied, close, old, client.out);
                if let (StatusCode::CONTINUE, Some(upload)) = (status, &mut client.upload) {
                    upload.call();
                }
            }
            app.skip_head();
            client.send(Some(&mut app.stream)).await?;
            client.answered = false;
            client.wait(&mut *app, patience, Wanted::Head).await?;
            interim += 1;
        };
        while !app.is_done() {
            // What is here already goes out with what stands before it.
            let here = poll_fn(|cx| Poll::Ready(app.poll(Wanted::Piece(PIECE), cx))).await;
            match here {
                Poll::Ready(read) => read.map_err(Stop::App)?,
                Poll::Pending => {
                    client.send(Some(&mut app.stream)).await?;
                    client.wait(&mut *app, patience, Wanted::Piece(PIECE)).await?;
                }
            }
            client.give(&mut app, framing).await?;
        }
        if framing == Framing::Chunked && proxied.method != "HEAD" {
            client.out.extend_from_slice(b"0\r\n\r\n");
        }
        if client.is_sending() {
            client.send(Some(&mut app.stream)).await?;
        }
        let whole = client.finish_upload(&mut *app).await;
        if !proxied.websocket && whole {
            self.give_back(*app, context);
        }
        client.send(None).await?;
        Ok(if close { Next::Close } else { Next::KeepAlive })
    }
}
