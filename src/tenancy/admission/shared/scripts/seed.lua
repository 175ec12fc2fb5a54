-- Tells what was spent in a budget's window, from the ledger, unless somebody did: the sum of what was booked before
-- `cutoff`, and call by call what was booked since, because a settlement of the same call may be on its way here.
local now = clock()
local generation, budget, start, stop = number(), text(), text(), number()
local spent, cutoff = number(), number()
local since = epoch(now)
if since ~= generation then return { 'forgotten', since } end
local window = budget .. ':' .. start
local key = PREFIX .. 'spent:' .. window
if redis.call('HGET', key, 'since') == str(since) then return { 'seeded', since } end

local listed = PREFIX .. 'listed:' .. window
redis.call('DEL', key, listed)
local any = '0'
for _ = 1, number() do
  if redis.call('SADD', listed, text()) == 1 then spent = spent + number() else number() end
  any = '1'
end
if any == '1' then redis.call('PEXPIRE', listed, DAY) end

local early = PREFIX .. 'early:' .. window
local charged = redis.call('HGETALL', early)
for index = 1, #charged, 2 do
  local cost, at = string.match(charged[index + 1], '^(%-?%d+):(%-?%d+)$')
  if tonumber(at) >= cutoff and redis.call('SISMEMBER', listed, charged[index]) == 0 then
    spent = spent + tonumber(cost)
  end
end
redis.call('DEL', early)
redis.call('HSET', key, 'since', str(since), 'spent', str(spent), 'cutoff', str(cutoff), 'listed', any)
-- A window that is over may still be charged by a journal; one without end is seeded anew in time.
local keep = 400 * DAY
if stop > 0 then keep = math.max(stop - now, 0) + 3 * DAY end
redis.call('PEXPIRE', key, str(keep))
return { 'seeded', since }
