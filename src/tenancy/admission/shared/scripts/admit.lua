-- Admits a call under all its limits and budgets and takes what it needs, or takes nothing and says why not.
local now = clock()
local id, lease = text(), number()
local input, least, most = number(), number(), number()
local unpriced = text() == '1' -- it costs something, and nobody knows how much
local fixed, rest = number(), number() -- the price of the input: micro-dollars, and millionths of one
local whole, part = number(), number() -- the price of a token of the answer, likewise
local since = epoch(now)
sweep(now, 100)

local function cost(tokens)
  return fixed + tokens * whole + ceil_div(rest + tokens * part, 1000000)
end

-- The most tokens up to `most` that `left` pays for. A first guess by division, put right by exact steps.
local function affordable(left)
  if cost(most) <= left then return most end
  local tokens = math.max(math.min(math.floor((left - fixed) / (whole + part / 1000000)), most), 0)
  while tokens > 0 and cost(tokens) > left do tokens = tokens - 1 end
  while tokens < most and cost(tokens + 1) <= left do tokens = tokens + 1 end
  return tokens
end

-- Of several refusals the one to tell is that which lasts longest; -1 is for ever.
local refusal
local function refuse(what, index, wait)
  if refusal and (refusal[3] == -1 or (wait ~= -1 and wait <= refusal[3])) then return end
  refusal = { what, index, wait }
end

local function wait_for(level, amount, per_minute)
  if amount > per_minute then return -1 end
  return ceil_div(amount * 60000 - level, per_minute)
end

local grant = most
local limits = {}
for index = 1, number() do
  local limit = { id = text(), requests = number(), tokens = number(), running = number() }
  local key = PREFIX .. 'rate:' .. limit.id
  local had = {}
  if limit.requests >= 0 or limit.tokens >= 0 then
    had = redis.call('HMGET', key, 'rl', 'ra', 'rs', 'tl', 'ta', 'ts')
  end
  if limit.requests >= 0 then
    limit.requests_level = level_of(had[1], had[2], had[3], limit.requests, now)
    if limit.requests_level < 60000 then
      refuse('requests', index, wait_for(limit.requests_level, 1, limit.requests))
    end
  end
  if limit.tokens >= 0 then
    limit.tokens_level = level_of(had[4], had[5], had[6], limit.tokens, now)
    local left = floor_div(limit.tokens_level, 60000) - input
    -- What uses no tokens is none of its business, even if it is in debt.
    if left < least and input + least > 0 then refuse('tokens', index, wait_for(limit.tokens_level, input + least, limit.tokens)) end
    grant = math.min(grant, left)
  end
  if limit.running >= 0 then
    redis.call('ZREMRANGEBYSCORE', PREFIX .. 'running:' .. limit.id, '-inf', str(now))
    if redis.call('ZCARD', PREFIX .. 'running:' .. limit.id) >= limit.running then
      refuse('concurrency', index, limit.running == 0 and -1 or 1000)
    end
  end
  limits[index] = limit
end

local budgets, unseeded, exhausted = {}, {}, nil
for index = 1, number() do
  local budget = { id = text(), start = text(), stop = number(), limit = number() }
  if now < tonumber(budget.start) or (budget.stop > 0 and now >= budget.stop) then
    return { 'rolled', since, now }
  end
  local seeded = redis.call('HMGET', PREFIX .. 'spent:' .. budget.id .. ':' .. budget.start, 'since', 'spent')
  if seeded[1] ~= str(since) then
    unseeded[#unseeded + 1] = index
  else
    budget.spent = tonumber(seeded[2])
    budget.held = tonumber(redis.call('GET', PREFIX .. 'held:' .. budget.id) or '0')
    local left = budget.limit - budget.spent - budget.held
    if (cost(least) > left and cost(least) > 0) or (unpriced and left <= 0) then exhausted = exhausted or index end
    if cost(most) > 0 then grant = math.min(grant, affordable(left)) end
  end
  budgets[index] = budget
end
if #unseeded > 0 then return { 'unseeded', since, now, unpack(unseeded) } end

-- No waiting helps against a budget, so it is told before what waiting helps against.
if exhausted and not (refusal and refusal[3] == -1) then refusal = { 'budget', exhausted, -1 } end
grant = math.max(grant, least)
local price = cost(grant)
if not refusal then
  local gauges, charged = {}, {}
  for _, limit in ipairs(limits) do
    local key = PREFIX .. 'rate:' .. limit.id
    local full = 0
    if limit.requests >= 0 then
      limit.requests_level = limit.requests_level - 60000
      write_level(key, 'r', limit.requests_level, limit.requests, now)
      full = millis_to_full(limit.requests_level, limit.requests)
    end
    if limit.tokens >= 0 then
      limit.tokens_level = limit.tokens_level - (input + grant) * 60000
      write_level(key, 't', limit.tokens_level, limit.tokens, now)
      full = math.max(full, millis_to_full(limit.tokens_level, limit.tokens))
    end
    if full > 0 then keep_bucket(key, full) end
    if limit.running >= 0 then gauges[#gauges + 1] = limit.id end
  end
  for _, budget in ipairs(budgets) do
    budget.held = budget.held + price
    charged[#charged + 1] = budget.id
  end
  local record = str(price) .. '|' .. table.concat(charged, ',') .. '|' .. table.concat(gauges, ',')
  hold(id, record, str(now + lease))
end

local answer = { refusal and 'refused' or 'admitted', since, now }
if refusal then
  for _, said in ipairs(refusal) do answer[#answer + 1] = said end
else
  answer[#answer + 1] = grant
  answer[#answer + 1] = price
end
for _, limit in ipairs(limits) do
  for _, bucket in ipairs({ { limit.requests_level, limit.requests }, { limit.tokens_level, limit.tokens } }) do
    local level, per_minute = bucket[1], bucket[2]
    answer[#answer + 1] = level and math.max(floor_div(level, 60000), 0) or -1
    answer[#answer + 1] = level and millis_to_full(level, per_minute) or -1
  end
end
for _, budget in ipairs(budgets) do
  answer[#answer + 1] = budget.spent
  answer[#answer + 1] = budget.held
end
return answer
