-- Renews what says that a node lives, or makes it anew.
-- KEYS: life, the node's lease, the list of nodes   ARGV: the node, what it says of itself, ttl_ms
-- Returns 1 if the lease was there and of this life of the server, 0 if it was made anew: then what else the node keeps here may be gone.
-- The list has the time at which each lease ends. It may name nodes that are gone, for as long again as a lease.
local life = redis.call('HGET', KEYS[1], 'id')
if not life then return redis.error_reply(no_life) end
local before = redis.call('GET', KEYS[2])
local now, ttl = now_ms(), tonumber(ARGV[3])
-- First a write that is done without memory, too, whether there is something to remove or not: what comes after it is not refused. Else the nodes
-- would take one another for gone when memory has been short for longer than a lease.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ttl)
redis.call('SET', KEYS[2], life .. ' ' .. ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], now + ttl, ARGV[1])
-- Other nodes may have longer leases.
if redis.call('PTTL', KEYS[3]) < 2 * ttl then redis.call('PEXPIRE', KEYS[3], 2 * ttl) end
if before and string.match(before, '^%S*') == life then return 1 end
return 0
