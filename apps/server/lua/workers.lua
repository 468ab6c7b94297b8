-- -> what each worker says of itself; those that said nothing lately are forgotten
local told = {}
for _, name in ipairs(redis.call('SMEMBERS', key('workers'))) do
  local text = redis.call('GET', key('worker:' .. name))
  if text then told[#told + 1] = text else redis.call('SREM', key('workers'), name) end
end
return told
