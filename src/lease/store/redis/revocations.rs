//! Revocations among several nodes: written with one script, told at once, and read twice a second by every node.

use redis::{ErrorKind, RedisError};

use super::RedisStore;
use super::link::Connection;
use super::scripts::micros;
use crate::lease::store::revocations::{Kept, News};
use crate::lease::store::seal::text;
use crate::lease::store::{Lost, Notification};

/// So many are read in one round trip.
const PAGE: usize = 500;

impl RedisStore {
    /// The keys of all revocations: the entries, their order, their ends. They are in one slot of a cluster.
    fn revocation_keys(&self) -> [String; 3] {
        ["h", "s", "e"].map(|kind| format!("{}{{revocations}}:{kind}", self.prefix))
    }

    pub(super) async fn write_revocation(&self, kept: Kept) -> Result<(), Lost> {
        let message = self.message(&kept.sealed);
        let [entries, order, ends] = self.revocation_keys();
        let mut script = self.scripts.revoke.prepare_invoke();
        script.key(entries).key(order).key(ends);
        script.arg(text(&kept.id)).arg(kept.expires).arg(kept.sealed).arg(micros());
        self.call(script.arg(self.channel("revoke")).arg(message)).await
    }

    /// Reads everything, and gives the store what it lacks. Where the next reading begins.
    pub(super) async fn reconcile(&self, connection: &Connection, news: &News<'_>) -> Result<u64, RedisError> {
        let mut after = 0;
        self.read_revocations(connection, news, &mut after).await?;
        let [entries, order, ends] = self.revocation_keys();
        for piece in news.pieces() {
            let mut script = self.scripts.lacking.prepare_invoke();
            script.key(&entries);
            for (id, _) in &piece {
                script.arg(text(id));
            }
            let lacking: Vec<usize> = connection.invoke(&script).await?;
            for at in lacking {
                let found = piece.get(at.wrapping_sub(1));
                let Some(kept) = found.and_then(|(id, what)| news.kept(*id, what)) else { continue };
                let mut script = self.scripts.revoke.prepare_invoke();
                script.key(&entries).key(&order).key(&ends);
                script.arg(text(&kept.id)).arg(kept.expires).arg(&kept.sealed).arg(micros());
                script.arg(self.channel("revoke")).arg(self.message(&kept.sealed));
                connection.invoke::<()>(&script).await?;
            }
            // Many hashes: others have requests.
            tokio::task::yield_now().await;
        }
        Ok(after)
    }

    /// Reads what was written behind `after`, and moves it on.
    pub(super) async fn read_revocations(
        &self,
        connection: &Connection,
        news: &News<'_>,
        after: &mut u64,
    ) -> Result<(), RedisError> {
        let [entries, order, _] = self.revocation_keys();
        loop {
            let mut script = self.scripts.revocations.prepare_invoke();
            script.key(&entries).key(&order).arg(*after).arg(PAGE);
            let mut page: Vec<Vec<u8>> = connection.invoke(&script).await?;
            let Some(last) = page.pop() else { return Ok(()) };
            let nonsense =
                || RedisError::from((ErrorKind::UnexpectedReturnType, "no place in the order of revocations"));
            *after = std::str::from_utf8(&last).ok().and_then(|text| text.parse().ok()).ok_or_else(nonsense)?;
            let whole = page.len() == PAGE;
            page.into_iter().for_each(|sealed| news.tell(Notification::Revoked(sealed)));
            if !whole {
                return Ok(());
            }
        }
    }
}
