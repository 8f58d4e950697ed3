//! The handshake of a WebSocket with an app (RFC 6455, section 4; RFC 9110, section 7.8): by our own reading, since what follows a `101` is no body.
//! An answer that declines goes back to the way of all answers.

use std::io;

use http::StatusCode;

use crate::gateway::forward::attempt::MAX_INTERIM;
use crate::gateway::forward::fast_path::app_side::Wanted;
use crate::gateway::forward::fast_path::ask::{Downstream as _, Tried};
use crate::gateway::forward::fast_path::tunnel::{self, Patience};
use crate::gateway::forward::fast_path::upstream_connection::UpstreamConnection;
use crate::gateway::forward::fast_path::{Client, FastPath, FastPathContext, Stop};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::http_client::Cause;

impl FastPath {
    /// Asks an app for a WebSocket. A `101` goes to the client, and so does all that follows it; `None`: that tunnel has ended. An answer of which the
    /// head is read: the app declines, as it answers any request.
    pub(super) async fn upgrade(
        &self,
        client: &mut Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Option<Box<UpstreamConnection>>, Stop> {
        let app = proxied.forward.app();
        let (mut stream, _) = self.connect(proxied, context, &mut Tried::new(), true).await?;
        client.pass(&mut stream, head, app.read_timeout).await.map_err(|error| {
            let late = error.kind() == io::ErrorKind::TimedOut;
            Stop::App(if late { Cause::TimedOut } else { Cause::Broken })
        })?;
        let mut upstream = UpstreamConnection::new(stream, false);
        let mut interim = 0;
        loop {
            client.wait(&mut *upstream, app.read_timeout, Wanted::Head).await?;
            let Some(answer) = upstream.head() else { return Err(Stop::App(Cause::NotHttp)) };
            let status = answer.status();
            if status == StatusCode::SWITCHING_PROTOCOLS {
                if !answer.is_websocket() {
                    return Err(Stop::App(Cause::NotHttp));
                }
                context.status = status.as_u16();
                answer.write(proxied, true, false, client.out);
                client.send(None).await?;
                context.answered(&self.gateway.load(), proxied, status);
                let patience = Patience { idle: app.websocket_timeout, client: client.write };
                let clock = self.gateway.load().clock.clone();
                // A silent tunnel holds no room for a head or an answer.
                *client.out = Vec::new();
                let sent = std::mem::take(client.ahead);
                let (mut stream, said) = upstream.into_tunnel();
                // What may end a tunnel before its sides do stands here: whatever it is, it drops the tunnel and so both connections.
                return tokio::select! {
                    biased;
                    _ = tunnel::run((client.stream, sent), (&mut stream, said), &patience) => Ok(None),
                    () = session_end::of(proxied, &clock) => Err(Stop::SessionEnd),
                };
            }
            if !status.is_informational() {
                return Ok(Some(upstream));
            }
            if interim == MAX_INTERIM {
                return Err(Stop::App(Cause::NotHttp));
            }
            interim += 1;
            answer.write(proxied, false, false, client.out);
            upstream.skip_head();
            client.send(None).await?;
            client.answered = false;
        }
    }
}
