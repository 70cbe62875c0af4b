-- A node has reached this server: is what is here still all that there was?
-- KEYS: life, the list of nodes
-- ARGV: a fresh name, run id, replication id, second replication id, the other servers over which groups are spread (each ends in a line
--       feed), the life that this node knows ('' for none)
-- Returns the name of the life.
-- The same process with the same replication id is the one that wrote what is here. So is the same process with a new replication id and no
-- second one: a primary without replicas takes a new one after an hour. After a promotion the second one is that of the former primary.
local known = redis.call('HMGET', KEYS[1], 'id', 'run', 'replication', 'others', 'entered')
local none = string.rep('0', 40)
local same = known[1] and known[2] == ARGV[2] and (known[3] == ARGV[3] or ARGV[4] == none)

-- Where groups are spread, one may have been elsewhere and come back: its counter here lacks what was counted there. That may be so if a
-- server was taken away, or if this one was, which is known by there having been no node here for a while.
for other in string.gmatch(known[4] or '', '[^\n]+\n') do
    if not string.find('\n' .. ARGV[5], '\n' .. other, 1, true) then same = false end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[5] ~= '' and ARGV[6] ~= known[1] then
    local long_ago = now - tonumber(known[5] or 0) > 60000
    if long_ago and redis.call('ZCOUNT', KEYS[2], now, '+inf') == 0 then same = false end
end

local id = same and known[1] or ARGV[1]
-- First a write that is done without memory, too: what comes after it is not refused, so that nodes get in for what needs no memory.
redis.call('HDEL', KEYS[1], 'entered')
redis.call('HSET', KEYS[1], 'id', id, 'run', ARGV[2], 'replication', ARGV[3], 'others', ARGV[5], 'entered', string.format('%.0f', now))
return id
