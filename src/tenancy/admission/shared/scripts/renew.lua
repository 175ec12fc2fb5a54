-- Renews the leases of a process's holds, and answers which of them nobody knows here.
local now = clock()
local lease = str(now + number())
local since = epoch(now)
local answer = { 'renewed', since }
for _ = 1, number() do
  local id = text()
  local record = redis.call('ZSCORE', PREFIX .. 'leases', id) and redis.call('GET', PREFIX .. 'hold:' .. id)
  if record then
    local _, _, gauges = parts_of(record)
    for gauge in string.gmatch(gauges, '[^,]+') do
      local key = PREFIX .. 'running:' .. gauge
      redis.call('ZADD', key, lease, id)
      redis.call('PEXPIRE', key, DAY)
    end
    redis.call('PEXPIRE', PREFIX .. 'hold:' .. id, KEEP_HOLD)
    redis.call('ZADD', PREFIX .. 'leases', lease, id)
  else
    answer[#answer + 1] = id
  end
end
sweep(now, 1000)
return answer
