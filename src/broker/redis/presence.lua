-- What the scripts of presence have in common: a group's list, its counts, and what members are told.
--
-- A group has a sorted set of its users and a hash of counts: of each user, of anonymous connections ('*'), of all connections ('#'), the
-- epoch of these counts ('!'), how often they have changed ('%'), and whether members are told ('&'). No user id contains such a sign.
-- A node has one roll at a time: the hash of the roll says which groups are in it ('#': how many batches it has taken), and for each group
-- there is a hash of who is in it by this roll. Counts of a group are always the sums over all rolls.
local anonymous, all, epoch, version, live = '*', '#', '!', '%', '&'

local function nobody()
    return { joined = {}, left = {}, told = false }
end

-- Says how many connections somebody has by one roll, and notes what that changes.
local function set(group, who, count, change)
    local before = tonumber(redis.call('HGET', group.share, who) or 0)
    if count == before then return end
    if count == 0 then redis.call('HDEL', group.share, who) else redis.call('HSET', group.share, who, count) end
    local total = redis.call('HINCRBY', group.counts, who, count - before)
    redis.call('HINCRBY', group.counts, all, count - before)
    if who == anonymous then
        change.told = true
    elseif total == 0 then
        redis.call('HDEL', group.counts, who)
        redis.call('ZREM', group.users, who)
        table.insert(change.left, who)
    elseif total == count - before then
        redis.call('ZADD', group.users, 0, who)
        table.insert(change.joined, who)
    end
end

-- Counts the change, and tells every node, in the form of docs/protocol.md (presence) behind a header as events have.
local function finish(group, fresh, change)
    local number = redis.call('HGET', group.counts, all)
    if #change.joined + #change.left > 0 or change.told then
        local known = redis.call('HMGET', group.counts, epoch, anonymous, live)
        if not known[1] then redis.call('HSET', group.counts, epoch, fresh) end
        local count = redis.call('HINCRBY', group.counts, version, 1)
        if known[3] == '1' then
            local users = redis.call('ZCARD', group.users)
            local frame = { 0x22, 0, tonumber(known[1] or fresh), count, change.joined, change.left, users, tonumber(known[2] or 0), tonumber(number) }
            redis.call('PUBLISH', group.channel, string.rep('\0', 20) .. cmsgpack.pack(frame))
        end
    end
    if not number or number == '0' then redis.call('DEL', group.users, group.counts) end
end
