-- ARGV: ids whose files are gone
for _, id in ipairs(ARGV) do
  redis.call('ZREM', key('unused'), id)
  redis.call('DEL', key('dropping:' .. id))
end
return 1
