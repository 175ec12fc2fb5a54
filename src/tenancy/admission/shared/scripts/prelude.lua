-- What all scripts begin with. Time is the server's own, so that all processes have one clock; a process whose clock is
-- moved by hand hands its time in. Keys are made from one prefix with one hash tag: all are in one slot of a cluster.
--
-- Numbers are doubles. All amounts stay whole and below 2^53: micro-dollars, tokens, parts of a bucket (sixty-thousandths
-- of a unit), milliseconds. Divisions go by fmod, which is exact; numbers become text by str, never by Lua itself, which
-- would write 1e+15.
local PREFIX = string.sub(KEYS[1], 1, -6) -- KEYS[1] is PREFIX .. 'epoch'
local DAY = 86400000
local KEEP_HOLD = 3 * DAY -- how long a hold that nobody settled can still be settled
local cursor = 0

local function text()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function number()
  return tonumber(text())
end

local function str(value)
  return string.format('%.0f', value)
end

local function floor_div(value, by)
  local rest = math.fmod(value, by)
  local whole = (value - rest) / by
  if rest < 0 then whole = whole - 1 end
  return whole
end

local function ceil_div(value, by)
  return -floor_div(-value, by)
end

local function clock()
  local given = text()
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + floor_div(tonumber(time[2]), 1000)
end

-- Since when nothing was forgotten: the generation of everything here. Made anew when it is gone.
local function epoch(now)
  local since = redis.call('HGET', KEYS[1], 'since')
  if since then return tonumber(since) end
  redis.call('HSET', KEYS[1], 'since', str(now))
  return now
end

-- A bucket: fields LETTERl (level in parts), LETTERa (when), LETTERs (size) of a hash. As src/bucket.rs.
local function level_of(had, at, size, per_minute, now)
  if not had then return per_minute * 60000 end
  local before = tonumber(size)
  local level = tonumber(had) + before * math.max(now - tonumber(at), 0)
  return math.min(level, before * 60000) + (per_minute - before) * 60000
end

local function write_level(key, letter, level, per_minute, now)
  redis.call('HSET', key, letter .. 'l', str(level), letter .. 'a', str(now), letter .. 's', str(per_minute))
end

-- A bucket that is full again need not be kept.
local function millis_to_full(level, per_minute)
  if per_minute <= 0 then return 60000 end
  return math.max(ceil_div(per_minute * 60000 - level, per_minute), 0)
end

local function keep_bucket(key, millis)
  local left = redis.call('PTTL', key)
  if left < millis + 1000 then redis.call('PEXPIRE', key, str(millis + 60000)) end
end

-- A hold's record: what it holds of which budgets, and in which limits it counts as a running call.
local function parts_of(record)
  return string.match(record, '^(%d+)|([^|]*)|([^|]*)$')
end

local function hold(id, record, lease)
  local cost, budgets, gauges = parts_of(record)
  for gauge in string.gmatch(gauges, '[^,]+') do
    local key = PREFIX .. 'running:' .. gauge
    redis.call('ZADD', key, lease, id)
    redis.call('PEXPIRE', key, DAY)
  end
  if cost ~= '0' then
    for budget in string.gmatch(budgets, '[^,]+') do redis.call('INCRBY', PREFIX .. 'held:' .. budget, cost) end
  end
  redis.call('SET', PREFIX .. 'hold:' .. id, record, 'PX', KEEP_HOLD)
  redis.call('ZADD', PREFIX .. 'leases', lease, id)
end

local function release(id, record)
  local cost, budgets, gauges = parts_of(record)
  for gauge in string.gmatch(gauges, '[^,]+') do redis.call('ZREM', PREFIX .. 'running:' .. gauge, id) end
  if cost ~= '0' then
    for budget in string.gmatch(budgets, '[^,]+') do
      local key = PREFIX .. 'held:' .. budget
      if redis.call('DECRBY', key, cost) <= 0 then redis.call('DEL', key) end
    end
  end
end

-- Releases what holds whose lease is over hold. Their records stay for a while: they can still be settled, once.
local function sweep(now, most)
  local over = redis.call('ZRANGEBYSCORE', PREFIX .. 'leases', '-inf', str(now), 'LIMIT', 0, most)
  for _, id in ipairs(over) do
    redis.call('ZREM', PREFIX .. 'leases', id)
    local record = redis.call('GET', PREFIX .. 'hold:' .. id)
    if record then release(id, record) end
  end
end
