-- A node has reached this server: is it still the one that wrote what is here?
-- KEYS: life   ARGV: a fresh name, run id, replication id, second replication id
-- The same process with the same replication id is. So is the same process with a new replication id and no second one: a primary without
-- replicas takes a new one after an hour. After a promotion the second one is that of the former primary.
local known = redis.call('HMGET', KEYS[1], 'id', 'run', 'replication')
local none = string.rep('0', 40)
local same = known[1] and known[2] == ARGV[2] and (known[3] == ARGV[3] or ARGV[4] == none)
local id = same and known[1] or ARGV[1]
if not same or known[3] ~= ARGV[3] then
    redis.call('HSET', KEYS[1], 'id', id, 'run', ARGV[2], 'replication', ARGV[3])
end
return id
