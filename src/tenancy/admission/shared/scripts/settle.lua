-- Settles a hold, once: gives back what it held and charges what the call cost to the windows of its ledger time.
local now = clock()
local id, way, generation = text(), text(), number()
local at, cost = number(), text()
local reserved, used = number(), number()
local since = epoch(now)

local record = redis.call('GET', PREFIX .. 'hold:' .. id)
local live = redis.call('ZREM', PREFIX .. 'leases', id) == 1
if record then
  redis.call('DEL', PREFIX .. 'hold:' .. id)
  if live then release(id, record) end
else
  -- Unknown: settled before, unless it was forgotten, or was never told of because this store was away.
  local forgotten = generation ~= since
  if way == 'replayed' then forgotten = since > at end
  if not forgotten then return { 'known', since } end
  local late = PREFIX .. 'late:' .. str(since)
  if redis.call('SADD', late, id) == 0 then return { 'known', since } end
  redis.call('PEXPIRE', late, DAY)
end

for _ = 1, number() do
  local key, per_minute = PREFIX .. 'rate:' .. text(), number()
  local had = redis.call('HMGET', key, 'tl', 'ta', 'ts')
  -- A bucket that is not there is full: nothing can be given back to it.
  if record and (had[1] or used > reserved) then
    local level = level_of(had[1], had[2], had[3], per_minute, now) + (reserved - used) * 60000
    level = math.min(level, per_minute * 60000)
    write_level(key, 't', level, per_minute, now)
    keep_bucket(key, millis_to_full(level, per_minute))
  end
end

local answer = { 'settled', since }
for _ = 1, number() do
  local budget = text()
  local window = budget .. ':' .. text()
  local key = PREFIX .. 'spent:' .. window
  local seeded = redis.call('HMGET', key, 'since', 'cutoff', 'listed', 'spent')
  local spent, charged = -1, 0
  if seeded[1] == str(since) then spent = tonumber(seeded[4]) end
  if cost == '0' then
    charged = 0
  elseif spent == -1 then
    -- Whoever seeds the window finds it in the ledger, or here.
    local early = PREFIX .. 'early:' .. window
    redis.call('HSET', early, id, cost .. ':' .. str(at))
    redis.call('PEXPIRE', early, 600000)
  elseif at < tonumber(seeded[2]) and not (record and way == 'replayed') then
    -- It was in the ledger that the window was seeded from; only what a journal found later was not.
    charged = 0
  elseif seeded[3] == '1' and redis.call('SISMEMBER', PREFIX .. 'listed:' .. window, id) == 1 then
    charged = 0
  else
    spent, charged = redis.call('HINCRBY', key, 'spent', cost), 1
  end
  answer[#answer + 1] = charged
  answer[#answer + 1] = spent
  answer[#answer + 1] = tonumber(redis.call('GET', PREFIX .. 'held:' .. budget) or '0')
end
return answer
