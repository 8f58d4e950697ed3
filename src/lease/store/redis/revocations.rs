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

/// Keys: entries, order, ends. Arguments: name, end (Unix time in seconds), entry, the time in microseconds (so that no place in the order is given
/// twice, whatever the store has lost), channel and notice. Some of what has ended is taken out.
pub(super) const REVOKE: &str = r"
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[3]) == 1 then
  local n = tonumber(ARGV[4])
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  if last[2] and tonumber(last[2]) >= n then n = tonumber(last[2]) + 1 end
  redis.call('ZADD', KEYS[2], string.format('%.0f', n), ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
end
local now = string.format('(%.0f', math.floor(tonumber(ARGV[4]) / 1000000))
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 16)) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
local ends = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
if ends[2] then
  for _, key in ipairs(KEYS) do redis.call('EXPIREAT', key, string.format('%.0f', tonumber(ends[2]) + 60)) end
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
";

/// Keys: entries. Arguments: names. Says which of the names it does not have, counted from 1.
pub(super) const LACKING: &str = r"
local lacking = {}
for at, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then lacking[#lacking + 1] = at end
end
return lacking
";

/// Keys: entries, order. Arguments: the last place that was read, how many. Says the entries behind it, and the last one's place; nothing, where there
/// are none.
pub(super) const REVOCATIONS: &str = r"
local page = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local said = {}
for at = 1, #page, 2 do said[#said + 1] = redis.call('HGET', KEYS[1], page[at]) or '' end
if #page > 0 then said[#said + 1] = string.format('%.0f', tonumber(page[#page])) end
return said
";
