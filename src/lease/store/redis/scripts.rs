//! The protocol, each step one script: atomic, and one round trip (docs/lease-protocol.md).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Script;

pub(super) struct Scripts {
    pub begin: Script,
    pub renew: Script,
    pub keep: Script,
    pub give_up: Script,
    pub forget: Script,
    pub announce: Script,
    pub replace: Script,
    pub probe: Script,
    pub revoke: Script,
    pub lacking: Script,
    pub revocations: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            begin: Script::new(BEGIN),
            renew: Script::new(RENEW),
            keep: Script::new(KEEP),
            give_up: Script::new(GIVE_UP),
            forget: Script::new(FORGET),
            announce: Script::new(ANNOUNCE),
            replace: Script::new(REPLACE),
            probe: Script::new(PROBE),
            revoke: Script::new(REVOKE),
            lacking: Script::new(LACKING),
            revocations: Script::new(REVOCATIONS),
        }
    }
}

/// Fences and generations outlive every lease, which lives 6 hours at most.
pub(super) const COUNTERS_MS: u64 = 8 * 3600 * 1000;

/// Where fences may begin: scripts reckon in doubles, which are whole up to 2^53.
pub(super) const FENCES: u64 = 1 << 52;

/// Keys: lease, claim, fence, generation, failure. Arguments: the life that is wanted (-1: nothing will do), the life of a claim, that of
/// counters, where fences begin: anywhere, so that a store that has forgotten everything gives no fence a second time; the generation
/// that the node knows of, which a store that has lost its latest writes may not know any more; channel and notice for who holds something of the
/// generation that the store had meanwhile. How long a lease lives is told by the store's clock alone.
const BEGIN: &str = r"
local g = redis.call('GET', KEYS[4]) or '0'
if tonumber(ARGV[5]) > tonumber(g) then
  g = ARGV[5]
  redis.call('SET', KEYS[4], g, 'PX', ARGV[3])
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
local l = redis.call('HMGET', KEYS[1], 'g', 'v')
if l[2] and l[1] == g and tonumber(ARGV[1]) >= 0 then
  local left = redis.call('PTTL', KEYS[1])
  if left > tonumber(ARGV[1]) then return {'held', tonumber(g), l[2], left} end
end
local f = redis.call('GET', KEYS[5])
if f then return {'failed', tonumber(f), g, 0} end
if redis.call('GET', KEYS[2]) == g then
  local left = redis.call('PTTL', KEYS[2])
  return {'wait', left > 0 and left or 1, '', 0}
end
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('SET', KEYS[3], ARGV[4]) end
local n = redis.call('INCR', KEYS[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('SET', KEYS[2], g, 'PX', ARGV[2])
return {'turn', n, g, 0}
";

/// Keys: fence, claim. Arguments: the turn's fence, the life of a claim.
const RENEW: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
";

/// Keys: lease, claim, fence, generation. Arguments: the turn's fence and generation, the lease's life, the lease, channel, name, the
/// life of counters: a generation outlives its leases.
const KEEP: &str = r"
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
if (redis.call('GET', KEYS[4]) or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'v', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[7])
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
";

/// Keys: claim, fence, failure. Arguments: the turn's fence, the failure (0: none), its life, channel, name.
const GIVE_UP: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '0' then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3]) end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
";

/// Keys: generation, number of the latest scan. Arguments: the life of counters, the time (so no number is used twice, whatever the store has
/// lost), channel, notice.
const FORGET: &str = r"
local g = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(redis.call('GET', KEYS[2]) or '0')) + 1
if tonumber(ARGV[2]) > g then g = tonumber(ARGV[2]) end
redis.call('SET', KEYS[1], string.format('%.0f', g), 'PX', ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return g
";

/// Keys: generation, number of the latest scan. Arguments: the life of counters, the time.
const ANNOUNCE: &str = r"
local s = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(redis.call('GET', KEYS[2]) or '0')) + 1
if tonumber(ARGV[2]) > s then s = tonumber(ARGV[2]) end
redis.call('SET', KEYS[2], string.format('%.0f', s), 'PX', ARGV[1])
return s
";

/// Keys: lease, claim, generation. Arguments: the number of the scan, the lease's life, the lease, the life of counters, channel and notice,
/// channel and name. The scan's number is the generation from now on: what is of another counts no longer.
const REPLACE: &str = r"
if tonumber(redis.call('GET', KEYS[3]) or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[4])
redis.call('HSET', KEYS[1], 'g', ARGV[1], 'v', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[5], ARGV[6])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
";

/// Keys: any. Arguments: its life.
const PROBE: &str = r"
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
";

/// Keys: entries, order, ends. Arguments: name, end (Unix time in seconds), entry, the time in microseconds (so that no place in the order is given
/// twice, whatever the store has lost), channel and notice. Some of what has ended is taken out.
const REVOKE: &str = r"
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
const LACKING: &str = r"
local lacking = {}
for at, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then lacking[#lacking + 1] = at end
end
return lacking
";

/// Keys: entries, order. Arguments: the last place that was read, how many. Says the entries behind it, and the last one's place; nothing, where there
/// are none.
const REVOCATIONS: &str = r"
local page = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local said = {}
for at = 1, #page, 2 do said[#said + 1] = redis.call('HGET', KEYS[1], page[at]) or '' end
if #page > 0 then said[#said + 1] = string.format('%.0f', tonumber(page[#page])) end
return said
";

/// No lease lives longer than hours.
pub(super) fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// Microseconds of this century are whole in a double.
#[allow(
    clippy::disallowed_methods,
    reason = "a number that grows from one start of the store to the next; no rule of time reads it"
)]
pub(super) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(0)
}

pub(super) fn decimal(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
