-- ARGV: worker, what it says of itself, seconds that this holds; 0: it leaves
if ARGV[3] == '0' then
  redis.call('DEL', key('worker:' .. ARGV[1]))
  redis.call('SREM', key('workers'), ARGV[1])
else
  redis.call('SET', key('worker:' .. ARGV[1]), ARGV[2], 'EX', ARGV[3])
  redis.call('SADD', key('workers'), ARGV[1])
end
return 1
