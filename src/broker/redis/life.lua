-- What the other scripts have in common: epochs, and when a group begins a new one.
--
-- A group's counter could have gone back if its meta is gone, or if this server is another one, or the same in another life, than the one
-- that counted last: after a restart or a failover the newest writes may be missing. The key `life` names the life; nodes change it when
-- they find a server that did not write it. Then every group begins anew with its next touch.
local no_life = 'NOLIFE the life of this server is not known yet'

local function now_ms()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Epoch and offset, if there are any.
local function current()
    local known = redis.call('HMGET', KEYS[2], 'e', 'l', 'o')
    if known[1] and known[2] == redis.call('HGET', KEYS[1], 'id') then return tonumber(known[1]), tonumber(known[3]) end
end

-- The same, beginning a new epoch if there is none, or if its counter stands before an offset that somebody has seen.
local function begin(fresh, seen_epoch, seen_offset)
    local life = redis.call('HGET', KEYS[1], 'id')
    if not life then return nil end
    local known = redis.call('HMGET', KEYS[2], 'e', 'l', 'o')
    local epoch, offset = tonumber(known[1]), tonumber(known[3])
    if epoch and known[2] == life and not (seen_epoch == epoch and seen_offset > offset) then return epoch, offset end
    if tonumber(fresh) == epoch then fresh = epoch % 4294967295 + 1 end
    -- First what a server without memory refuses: what comes after the first write is not refused any more.
    redis.call('HSET', KEYS[2], 'e', fresh, 'l', life, 'o', 0)
    redis.call('DEL', KEYS[3])
    return tonumber(fresh), 0
end
