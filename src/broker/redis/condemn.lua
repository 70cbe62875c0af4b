-- Says that a roll is nobody's any more, if its node is gone. It takes no batch after that, and whoever finds it may sweep it.
-- KEYS: the node's lease, what a node leaves behind that stopped, the roll   ARGV: 1 if it is the node itself that gives the roll up
-- Returns 1 if the roll is nobody's
if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return 0 end
redis.call('HDEL', KEYS[3], '#')
return 1
