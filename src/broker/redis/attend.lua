-- Takes a batch of what a node says of who is in its groups. Each batch is taken once, in order.
-- KEYS: the node's roll, the list of rolls, then for each group its users, its counts, its share in the roll
-- ARGV: the roll's name, the batch's number, a fresh epoch, then for each group its name, its channel, whether members are told, how many
--       follow, and so many times who and how many connections
-- Returns 1; 0 if batches before this one are missing
local taken, number = tonumber(redis.call('HGET', KEYS[1], '#') or 0), tonumber(ARGV[2])
if taken >= number then return 1 end
if taken < number - 1 then return 0 end
redis.call('HSET', KEYS[1], '#', number)
if number == 1 then redis.call('ZADD', KEYS[2], 0, ARGV[1]) end
local at = 4
for key = 3, #KEYS, 3 do
    local group = { users = KEYS[key], counts = KEYS[key + 1], share = KEYS[key + 2], channel = ARGV[at + 1] }
    local name, change, last = ARGV[at], nobody(), at + 2 + 2 * tonumber(ARGV[at + 3])
    redis.call('HSET', group.counts, live, ARGV[at + 2])
    for who = at + 4, last, 2 do set(group, ARGV[who], tonumber(ARGV[who + 1]), change) end
    if redis.call('EXISTS', group.share) == 1 then
        redis.call('HSET', KEYS[1], name, 1)
    else
        redis.call('HDEL', KEYS[1], name)
    end
    finish(group, ARGV[3], change)
    at = last + 2
end
return 1
