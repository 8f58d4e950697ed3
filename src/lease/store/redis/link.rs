//! Connections: to one server, to a cluster, or to the master that sentinels name.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisError, Script, ScriptInvocation, TlsCertificates, TlsMode,
};
use tokio::time::error::Elapsed;

use crate::http_client::Cause;
use crate::secret::SecretCell;

/// So many keys of a cluster lie on all of its servers.
const PLACES: usize = 24;

/// Where the store is, and who we are to it.
pub struct Way {
    /// At least one.
    pub urls: Vec<String>,
    /// The sentinels' name of the master.
    pub sentinel_master: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// Read again while the process runs.
    pub password: Option<std::sync::Arc<SecretCell>>,
    /// Authorities (PEM) instead of the machine's own.
    pub ca: Option<Vec<u8>>,
}

/// Calls of all tasks share it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What other nodes say.
pub(super) struct Subscriptions {
    pub sink: PubSubSink,
    pub stream: PubSubStream,
}

impl Connection {
    pub async fn invoke<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        match self {
            Self::Single(connection) => invocation.invoke_async(&mut connection.clone()).await,
            Self::Cluster(connection) => invocation.invoke_async(&mut connection.clone()).await,
        }
    }

    /// A write by this node: a store that is full, or only a replica, answers reads. Of a cluster, many: whether all of them were taken. `Err`: none was.
    pub async fn probe(&self, script: &Script, prefix: &str, node: &str) -> Result<bool, RedisError> {
        let places = if matches!(self, Self::Cluster(_)) { PLACES } else { 1 };
        let probes = (0..places).map(async |place| {
            let key = format!("{prefix}probe:{{{place}}}:{node}");
            self.invoke::<()>(script.prepare_invoke().key(key).arg(10_000)).await
        });
        let probes = futures_util::future::join_all(probes).await;
        let whole = probes.iter().all(Result::is_ok);
        let mut faults = probes.into_iter().filter_map(Result::err).collect::<Vec<_>>();
        match faults.pop() {
            Some(fault) if faults.len() + 1 == places => Err(fault),
            _ => Ok(whole),
        }
    }
}

impl Way {
    /// Why these addresses can't be used, in the operator's words: number in the list, message. Touches no network.
    ///
    /// # Errors
    /// In an operator's words: what is expected of an address.
    pub fn try_url(url: &str) -> Result<(), &'static str> {
        const EXPECTED: &str =
            "expected an address such as \"redis://127.0.0.1:6379/0\" or \"rediss://redis.internal:6380\"";
        let parsed = url::Url::parse(url).map_err(|_| EXPECTED)?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("an address holds no user name or password: give them as `username` and `password`");
        }
        if !matches!(parsed.scheme(), "redis" | "rediss") || parsed.host().is_none() {
            return Err(EXPECTED);
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("expected no `?` and no `#`");
        }
        url.into_connection_info().map(drop).map_err(|_| EXPECTED)
    }

    fn password(&self) -> Option<String> {
        // Into the AUTH command, to the store alone.
        let secret = self.password.as_ref()?.current();
        String::from_utf8(secret.expose().to_vec()).ok()
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        Some(TlsCertificates { client_tls: None, root_cert: Some(self.ca.clone()?) })
    }

    fn infos(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let info = |url: &String| {
            let info = url.as_str().into_connection_info()?;
            let mut settings = info.redis_settings().clone();
            if let Some(username) = &self.username {
                settings = settings.set_username(username);
            }
            if let Some(password) = self.password() {
                settings = settings.set_password(password);
            }
            Ok(info.set_redis_settings(settings))
        };
        self.urls.iter().map(info).collect()
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match self.certificates() {
            Some(certificates) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
                Client::build_with_tls(info, certificates)
            }
            _ => Client::open(info),
        }
    }

    /// Of one server, or of the master; any server of a cluster is enough to hear what all say.
    async fn clients(&self) -> Result<Vec<Client>, RedisError> {
        let infos = self.infos()?;
        let Some(master) = &self.sentinel_master else {
            return infos.into_iter().map(|info| self.client(info)).collect();
        };
        let secure = self.urls.iter().any(|url| url.starts_with("rediss:"));
        let addresses = infos.iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
        let database = infos.first().map_or(0, |info| info.redis_settings().db());
        builder = builder.set_client_to_redis_db(database);
        if secure {
            builder =
                builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = self.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        Ok(vec![builder.build()?.async_get_client().await?])
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.sentinel_master.is_none() && self.urls.len() > 1
    }

    pub(super) async fn connect(&self, timeout: Duration) -> Result<Connection, RedisError> {
        if self.is_cluster() {
            // A call that meets a closed connection goes to any other server, over a connection that may be closed too, and from there to the
            // server that this one names: enough for three that closed at once. The caller's time-out is over all of it.
            let mut builder = ClusterClientBuilder::new(self.infos()?)
                .connection_timeout(timeout)
                .response_timeout(timeout)
                .retries(4);
            if let Some(certificates) = self.certificates() {
                builder = builder.certs(certificates);
            }
            return Ok(Connection::Cluster(builder.build()?.get_async_connection().await?));
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        let client = self.clients().await?.into_iter().next().ok_or_else(nobody)?;
        Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// At whichever server of a cluster is first to take it: one that hangs keeps nobody from listening.
    pub(super) async fn listen(&self, timeout: Duration, channels: &[String]) -> Result<Subscriptions, RedisError> {
        let mut attempts = Vec::new();
        for client in self.clients().await? {
            attempts.push(Box::pin(async move {
                let listening = async {
                    let mut subscriptions = client.get_async_pubsub().await?;
                    subscriptions.subscribe(channels).await?;
                    Ok(subscriptions)
                };
                tokio::time::timeout(timeout, listening).await.unwrap_or_else(|_| Err(timed_out()))
            }));
        }
        if attempts.is_empty() {
            return Err(nobody());
        }
        let (subscriptions, _) = futures_util::future::select_ok(attempts).await?;
        let (sink, stream) = subscriptions.split();
        Ok(Subscriptions { sink, stream })
    }
}

fn nobody() -> RedisError {
    (ErrorKind::Io, "no server can be reached").into()
}

/// How a call ends that has no answer in time.
pub(super) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Why the store could not be reached: the label of a metric, and words for the operator.
pub(super) fn failure<T>(connected: Result<Result<T, RedisError>, Elapsed>) -> (&'static str, String) {
    match connected {
        Ok(Err(fault)) => reason(&fault),
        Ok(Ok(_)) | Err(_) => (Cause::TimedOut.label(), "no answer in time: look at `leases.redis.timeout`".to_owned()),
    }
}

/// The same of a fault. Its own text may hold what was sent.
fn reason(fault: &RedisError) -> (&'static str, String) {
    if let Some(cause) = Cause::find(fault) {
        return (cause.label(), cause.to_string());
    }
    let cause = if fault.kind() == ErrorKind::AuthenticationFailed { "authentication" } else { "other" };
    (cause, kind(fault))
}

fn kind(fault: &RedisError) -> String {
    fault.code().map_or_else(|| fault.category().to_owned(), |code| format!("{}: {code}", fault.category()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cause(urls: &[&str]) -> &'static str {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let way = Way { urls, sentinel_master: None, username: None, password: None, ca: None };
        reason(&way.connect(Duration::from_secs(20)).await.err().expect("no store")).0
    }

    #[tokio::test]
    async fn why_a_store_is_not_reached_is_told_apart() {
        assert_eq!(cause(&["redis://store.invalid"]).await, "dns");
        // Nobody listens there, and the system gives it out to no other test.
        assert_eq!(cause(&["redis://127.0.0.1:9"]).await, "refused_connection");
        let unreachable = std::io::Error::from(std::io::ErrorKind::NetworkUnreachable);
        assert_eq!(reason(&unreachable.into()).0, "no_route");
    }
}
