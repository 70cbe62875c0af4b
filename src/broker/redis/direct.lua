-- Gives a directive its place, changes what stands for its user, and tells every node; all or nothing.
-- KEYS: life, meta and stream of the directives, what stands for the user, the list of nodes
-- ARGV: a fresh epoch, the channel, the directive, size, ttl_ms, meta_ttl_ms, what to do with what stands ('add', 'remove', 'clear' or ''),
--       how many groups may stand, how long they do in ms, the groups
-- Returns epoch, offset, nodes that listen, nodes that live; or -1 if too many groups would stand
local epoch = begin(ARGV[1])
if not epoch then return redis.error_reply(no_life) end

-- A field for each group; `b` and `p`: the places of the directives that were the first and the last to change something.
local change, known, began = ARGV[7], redis.call('HLEN', KEYS[4]), redis.call('HGET', KEYS[4], 'b')
local groups = {}
for at = 10, #ARGV do groups[#groups + 1] = 'g:' .. ARGV[at] end
if change == 'add' then
    local count, seen = math.max(known - 2, 0), {}
    for _, group in ipairs(groups) do
        if not seen[group] and redis.call('HEXISTS', KEYS[4], group) == 0 then count = count + 1 end
        seen[group] = true
    end
    if count > tonumber(ARGV[8]) then return { -1 } end
end

local offset, now = redis.call('HINCRBY', KEYS[2], 'o', 1), now_ms()
local message = struct.pack('>I4I8I8', epoch, offset, now) .. ARGV[3]
redis.call('HSET', KEYS[2], 't', ARGV[5])
redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[4], string.format('%.0f-0', offset), 'd', message)
redis.call('PEXPIRE', KEYS[3], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
if change == 'add' or (change ~= '' and known > 0) then
    if change == 'clear' then redis.call('DEL', KEYS[4]) end
    for _, group in ipairs(groups) do
        if change == 'add' then redis.call('HSET', KEYS[4], group, '') else redis.call('HDEL', KEYS[4], group) end
    end
    local place = string.format('%.0f %.0f', epoch, offset)
    redis.call('HSET', KEYS[4], 'p', place, 'b', began or place)
    redis.call('PEXPIRE', KEYS[4], ARGV[9])
end
local listening = redis.call('PUBLISH', ARGV[2], message)
return { epoch, offset, listening, redis.call('ZCOUNT', KEYS[5], now, '+inf') }
