-- Holds again what a running call held: its lease was over too soon, or everything was forgotten.
local now = clock()
local lease = str(now + number())
local since = epoch(now)
for _ = 1, number() do
  local id, record = text(), text()
  if not redis.call('ZSCORE', PREFIX .. 'leases', id) then hold(id, record, lease) end
end
return { 'restored', since }
