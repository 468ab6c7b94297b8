-- ARGV: time before which, bytes that may stay or 0, most -> ids to forget, the oldest first
local before, bytes, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local total = tonumber(redis.call('GET', key('bytes')) or '0')
local ids = {}
local ended = redis.call('ZRANGE', key('ended'), 0, most - 1, 'WITHSCORES')
for i = 1, #ended, 2 do
  if tonumber(ended[i + 1]) >= before and (bytes == 0 or total <= bytes) then break end
  ids[#ids + 1] = ended[i]
  total = total - tonumber(redis.call('HGET', key('job:' .. ended[i]), 'bytes') or '0')
end
return ids
