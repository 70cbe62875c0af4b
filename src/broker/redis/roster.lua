-- Who is in a group.
-- KEYS: its users, its counts   ARGV: after whom the list begins ('': the first), how many at most
-- Returns epoch, version, users, anonymous connections, all connections, the list, the connections of each
local counts = redis.call('HMGET', KEYS[2], '!', '%', '*', '#')
for at = 1, 4 do counts[at] = tonumber(counts[at] or 0) end
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local list = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[2])
local each = #list > 0 and redis.call('HMGET', KEYS[2], unpack(list)) or {}
return { counts[1], counts[2], redis.call('ZCARD', KEYS[1]), counts[3], counts[4], list, each }
