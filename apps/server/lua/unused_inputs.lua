-- ARGV: seconds for which they were unused, most -> ids whose files the caller is to remove
local due = redis.call('ZRANGEBYSCORE', key('unused'), '-inf', seconds(now() - tonumber(ARGV[1])), 'LIMIT', 0, ARGV[2])
local ids = {}
for _, id in ipairs(due) do
  if redis.call('SET', key('dropping:' .. id), '1', 'NX', 'EX', DROP_SECONDS) then ids[#ids + 1] = id end
end
return ids
