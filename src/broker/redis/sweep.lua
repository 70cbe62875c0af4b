-- Takes people out of groups who were there by a roll that is nobody's any more.
-- KEYS: the roll, the list of rolls, then for each group its users, its counts, its share in the roll
-- ARGV: the roll's name, how many people at most of each group, a fresh epoch, then for each group its name and its channel
-- Returns how many were taken out; -1: the roll is somebody's
if redis.call('HEXISTS', KEYS[1], '#') == 1 then return -1 end
local removed, at = 0, 4
for key = 3, #KEYS, 3 do
    local group = { users = KEYS[key], counts = KEYS[key + 1], share = KEYS[key + 2], channel = ARGV[at + 1] }
    local change = nobody()
    for _, who in ipairs(redis.call('HRANDFIELD', group.share, ARGV[2])) do
        set(group, who, 0, change)
        removed = removed + 1
    end
    if redis.call('EXISTS', group.share) == 0 then redis.call('HDEL', KEYS[1], ARGV[at]) end
    finish(group, ARGV[3], change)
    at = at + 2
end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return removed
