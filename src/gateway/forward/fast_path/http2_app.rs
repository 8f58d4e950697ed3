//! A request of HTTP/2 to an app that speaks it: stream to stream, fields behind the bodies of answers too, as gRPC has them.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, TE, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v2::server::HttpSession as Http2;
use tokio::time::timeout;

use crate::gateway::forward::fast_path::app_side::{AppSide as _, Wanted};
use crate::gateway::forward::fast_path::app_stream::{AppStream, WINDOW, with_windows};
use crate::gateway::forward::fast_path::ask::{Downstream as _, Tried};
use crate::gateway::forward::fast_path::http2::Client;
use crate::gateway::forward::fast_path::upload::Upload;
use crate::gateway::forward::fast_path::{Elsewhere, FastPath, FastPathContext, Stop};
use crate::gateway::forward::headers;
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::http_client::Cause;
use crate::problem::Refusal;

impl FastPath {
    /// One request, whose head is what the app gets, and its answer. `stall`: the client takes a piece of it in this time, and sends one of its body in that.
    ///
    /// Dropped: both streams are reset, and no access line is written.
    pub async fn exchange_streams(
        &self,
        stream: &mut Http2,
        proxied: &ProxiedRequest,
        (stall, body_stall): (Duration, Duration),
    ) -> Result<(), Elsewhere> {
        let mut context = FastPathContext::default();
        let head = stream.req_header().clone();
        let upload = Upload::new(proxied, true, body_stall).map(|upload| Box::new(upload.in_frames()));
        let mut client = Client { stream: &mut *stream, sender: None, upload, stall, held: 2 * WINDOW, silence: None };
        let carried = {
            let carried = pin!(self.carry_streams(&mut client, head, proxied, &mut context));
            self.unless_ended(proxied, carried).await
        };
        drop(client);
        self.settle(stream, carried, proxied, context, stall).await
    }

    async fn carry_streams(
        &self,
        client: &mut Client<'_>,
        head: RequestHeader,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<(), Stop> {
        let mut app = self.ask_stream(client, head, proxied, context).await?;
        let passed = self.pass_answer(client, &mut app, proxied, context).await;
        if matches!(passed, Err(Stop::App(Cause::TimedOut))) {
            app.leave();
        }
        passed
    }

    /// The answer, whose head is there.
    async fn pass_answer(
        &self,
        client: &mut Client<'_>,
        app: &mut AppStream,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<(), Stop> {
        let patience = proxied.forward.app().read_timeout;
        let head = app.head().and_then(|head| answer_head(head, proxied)).ok_or(Stop::App(Cause::NotHttp))?;
        context.answered(&self.gateway.load(), proxied, head.status);
        let status = head.status.as_u16();
        let done = app.is_done();
        client.stream.write_response_header(Box::new(head), done).map_err(|_| Stop::Client)?;
        context.status = status;
        if !done {
            client.sender = Some(client.stream.take_response_body_writer().ok_or(Stop::Client)?);
            if !self.body(client, app, patience).await? {
                let (to_app, trailers) = app.trailers();
                let trailers = client.beside(to_app, timeout(patience, trailers)).await?;
                match trailers.unwrap_or(Err(Cause::TimedOut)).map_err(Stop::App)? {
                    Some(trailers) => client.send_trailers(trailers)?,
                    None => client.send(Bytes::new(), true)?,
                }
            }
        }
        client.finish_upload(app).await;
        Ok(())
    }

    /// Sends the head to an upstream and reads the head of its answer.
    async fn ask_stream(
        &self,
        client: &mut Client<'_>,
        head: RequestHeader,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Box<AppStream>, Stop> {
        let app = proxied.forward.app();
        let mut tried = Tried::new();
        // A connection that was used before may be dead without our knowing; a new one is tried then.
        let mut anew = false;
        loop {
            let opened = self.open_stream(proxied, context, &mut tried, anew).await;
            let bound = anew && client.upload.is_some();
            let mut stream = opened.map_err(|stop| context.bind(stop, bound))?;
            let head = request_head(head.clone(), stream.is_tls(), proxied);
            let head = head.ok_or(Stop::Refused(Refusal::BadRequest))?;
            let asked = match stream.begin(head, client.upload.is_none()) {
                Err(cause) => Err(Stop::App(cause)),
                Ok(()) => {
                    if let Some(upload) = client.upload() {
                        // Whatever its connection was: the app may refuse the stream.
                        upload.begin(&[], true);
                    }
                    client.wait(&mut *stream, app.read_timeout, Wanted::Head).await
                }
            };
            let may_repeat =
                stream.may_repeat(proxied.idempotent) && client.upload().is_none_or(|upload| upload.may_repeat());
            match asked {
                Ok(()) => {
                    if let Some(upload) = client.upload() {
                        upload.answered();
                        upload.be_patient(true);
                    }
                    return Ok(stream);
                }
                Err(Stop::App(_)) if stream.is_tls() && stream.wants_http_1() => {
                    if let Some(picked) = context.picked.take() {
                        picked.note_http_1();
                    }
                    // What of the body was read can't go another way; what comes next does.
                    let body = client.upload.is_some();
                    return Err(if body { Stop::App(Cause::NotHttp) } else { Stop::OtherVersion });
                }
                Err(Stop::App(_)) if !anew && may_repeat => anew = true,
                Err(stop) => {
                    if matches!(stop, Stop::App(Cause::TimedOut)) {
                        stream.leave();
                    }
                    return Err(stop);
                }
            }
        }
    }

    /// A stream to an upstream.
    async fn open_stream(
        &self,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
        tried: &mut Tried,
        anew: bool,
    ) -> Result<Box<AppStream>, Stop> {
        loop {
            let picked = context.pick(proxied, tried)?;
            if picked.is_known_for_http_1() {
                return Err(Stop::OtherVersion);
            }
            let peer = with_windows(picked.peer());
            let opened = async {
                let reused = if anew { None } else { self.streams.reused_http_session(&peer).await? };
                match reused {
                    Some(stream) => Ok((HttpSession::H2(stream), true)),
                    None => self.streams.new_http_session::<_, ()>(&peer).await.map(|stream| (stream, false)),
                }
            };
            // Boxed: a request on a connection that is there does not hold the room for opening one.
            let error: Box<pingora::Error> = match Box::pin(opened).await {
                Ok((HttpSession::H2(stream), reused)) => {
                    return Ok(AppStream::new(stream, reused, &self.streams, peer));
                }
                Ok(_) => {
                    picked.note_http_1();
                    return Err(Stop::OtherVersion);
                }
                Err(error) => error,
            };
            context.unreachable(&error, tried)?;
        }
    }
}

/// The head as the app gets it; `None`: it has no place in HTTP/2.
fn request_head(mut head: RequestHeader, tls: bool, proxied: &ProxiedRequest) -> Option<RequestHeader> {
    // How a body is framed is between two sides of HTTP/1.
    head.remove_header(&TRANSFER_ENCODING);
    // `headers` takes it out with what is between a client and us; here trailers pass from end to end.
    if proxied.trailers {
        head.insert_header(TE, HeaderValue::from_static("trailers")).ok()?;
    }
    let host = head.remove_header(&HOST)?;
    let path = PathAndQuery::try_from(proxied.forward.target()).ok()?;
    let scheme = if tls { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build().ok()?;
    head.set_uri(uri);
    Some(head)
}

/// The head as the client gets it; `None`: no answer has such a one.
fn answer_head(head: &ResponseHeader, proxied: &ProxiedRequest) -> Option<ResponseHeader> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS || !headers::is_framed_once(head) {
        return None;
    }
    let mut head = head.clone();
    headers::response(&mut head);
    headers::response_to(http::Version::HTTP_2, &mut head);
    head.insert_header(headers::REQUEST_ID, proxied.start.id.text()).ok()?;
    if let Some(hsts) = proxied.hsts() {
        head.insert_header(headers::HSTS, hsts).ok()?;
    }
    Some(head)
}
