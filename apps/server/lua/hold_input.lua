-- ARGV: id -> 1, 0: its file is being removed
local id = ARGV[1]
if redis.call('EXISTS', key('dropping:' .. id)) == 1 then return 0 end
if not redis.call('HGET', key('inputs'), id) then redis.call('ZADD', key('unused'), seconds(now()), id) end
return 1
