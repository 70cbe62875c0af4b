-- Reads a group's position and a part of its past, and forgets what is past its time.
-- KEYS: life, the group's meta, its stream
-- ARGV: a fresh epoch to begin with if there is none ('' to begin nothing), meta_ttl_ms, epoch and offset that have been seen for sure,
--       after, up_to, limit (-1: the position alone), which end is wanted ('new' or 'old')
-- Returns epoch, offset, the offset before the oldest event, events (oldest first if 'old', newest first if 'new')
local epoch, offset
if ARGV[1] ~= '' then
    local seen_epoch, seen_offset = tonumber(ARGV[3]), tonumber(ARGV[4])
    epoch, offset = begin(ARGV[1], seen_epoch, seen_offset)
    if not epoch then return redis.error_reply(no_life) end
    if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) / 2 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
else
    epoch, offset = current()
    if not epoch then return { 0, 0, 0, {} } end
end
local limit = tonumber(ARGV[7])
if limit < 0 then return { epoch, offset, 0, {} } end

local function entry(from)
    return redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', 1)[1]
end
local function place(found)
    return tonumber(string.match(found[1], '^%d+'))
end
local function is_fresh(found, oldest)
    return struct.unpack('>I8', string.sub(found[2][2], 13, 20)) >= oldest
end

-- Times rise with offsets, so the first that is young enough is found by halving.
local first = entry('-')
local oldest = now_ms() - tonumber(redis.call('HGET', KEYS[2], 't') or 0)
if first and not is_fresh(first, oldest) then
    local low, high = place(first), offset + 1
    while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        local found = entry(string.format('%.0f', middle))
        if found and not is_fresh(found, oldest) then low = place(found) else high = middle end
    end
    redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f', low + 1))
    first = entry('-')
end
local start = first and place(first) - 1 or offset
local events = {}
if limit > 0 then
    local from, to = string.format('%.0f', tonumber(ARGV[5]) + 1), ARGV[6]
    local found
    if ARGV[8] == 'new' then
        found = redis.call('XREVRANGE', KEYS[3], to, from, 'COUNT', limit)
    else
        found = redis.call('XRANGE', KEYS[3], from, to, 'COUNT', limit)
    end
    for at, one in ipairs(found) do events[at] = one[2][2] end
end
return { epoch, offset, start, events }
