-- The first word of a process to this server. Another run of the server than the one that wrote may have forgotten its
-- last writes: a new generation begins, and windows are seeded again.
local now = clock()
local run, anew = text(), text()
local had = redis.call('HMGET', KEYS[1], 'since', 'run')
local since = had[1] and tonumber(had[1]) or now
if had[1] and (anew == '1' or (had[2] and had[2] ~= run)) then since = math.max(now, since + 1) end
redis.call('HSET', KEYS[1], 'since', str(since), 'run', run)
return { 'hello', since }
