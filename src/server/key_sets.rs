//! How key sets are fetched.

use std::time::Duration;

use async_trait::async_trait;

use crate::http_client::{Client, ClientFault};
use crate::session::{ClientFault as KeyClientFault, KeyClient};

/// The one outgoing client, as `session` wants it.
pub(super) struct KeySets(pub Client);

#[async_trait]
impl KeyClient for KeySets {
    async fn get(
        &self,
        url: &url::Url,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), KeyClientFault> {
        let answer = self.0.get(url, "application/jwk-set+json, application/json", max_bytes, deadline).await;
        answer.map(|answer| (answer.status, answer.body.to_vec())).map_err(|fault| match fault {
            ClientFault::NoConnection(cause) | ClientFault::Unreachable(cause) => KeyClientFault::Unreachable(cause),
            ClientFault::TimedOut => KeyClientFault::TimedOut,
            ClientFault::TooLarge => KeyClientFault::TooLarge,
        })
    }
}
