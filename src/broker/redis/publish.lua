-- Gives an event its place, keeps it, and tells every node; all or nothing.
-- KEYS: life, the group's meta, its stream, the idempotency key (if any)
-- ARGV: a fresh epoch, the channel, the event, size, ttl_ms, meta_ttl_ms, receipt, key_ttl_ms
-- Returns epoch, offset, receipt, how many nodes follow (-1: it is a repetition)
local size = tonumber(ARGV[4])
if KEYS[4] then
    local first = redis.call('GET', KEYS[4])
    if first then
        local epoch, offset, receipt = string.match(first, '^(%d+) (%d+) (.*)$')
        return { tonumber(epoch), tonumber(offset), receipt, -1 }
    end
end
local epoch, offset, now = 0, 0, 0
if size > 0 then
    epoch = begin(ARGV[1])
    if not epoch then return redis.error_reply(no_life) end
    offset = redis.call('HINCRBY', KEYS[2], 'o', 1)
    now = now_ms()
end
local message = struct.pack('>I4I8I8', epoch, offset, now) .. ARGV[3]
if size > 0 then
    redis.call('HSET', KEYS[2], 't', ARGV[5])
    redis.call('XADD', KEYS[3], 'MAXLEN', size, string.format('%.0f-0', offset), 'd', message)
    redis.call('PEXPIRE', KEYS[3], ARGV[5])
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
if KEYS[4] then
    redis.call('SET', KEYS[4], string.format('%.0f %.0f %s', epoch, offset, ARGV[7]), 'PX', ARGV[8])
end
-- Last, because a write may be refused: nothing must have been told then.
local nodes = redis.call('PUBLISH', ARGV[2], message)
return { epoch, offset, ARGV[7], nodes }
