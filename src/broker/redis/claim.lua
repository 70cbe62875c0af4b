-- Takes or keeps a node number, so that no two nodes give out the same event ids.
-- KEYS: the number's key   ARGV: the node's name for itself, ttl_ms
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
    -- Also where there is no memory for a write.
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
