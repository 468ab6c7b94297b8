-- ARGV: 11 random digits, client, priority, model, load, request, seconds of the deadline or "", most that wait in all, of a client, bytes of its inputs, their ids...
-- -> {"ok", job, position} | {"full", that wait} | {"client_full", of the client, position of its first} | {"dropping", 0}
local digits, client, priority, model, load, request, deadline = unpack(ARGV, 1, 7)
local of_client = redis.call('ZCARD', key('client:' .. client))
if of_client >= tonumber(ARGV[9]) then
  return {'client_full', of_client, position(redis.call('ZRANGE', key('client:' .. client), 0, 0)[1])}
end
local waiting = redis.call('ZCARD', key('queued'))
if waiting >= tonumber(ARGV[8]) then return {'full', waiting} end
for i = 11, #ARGV do
  if redis.call('EXISTS', key('dropping:' .. ARGV[i])) == 1 then return {'dropping', 0} end
end
-- 9 digits of base 32 of the time in milliseconds, later than the last id's whatever the clock does (job_id.h).
local time = now()
local moment = math.max(math.floor(time * 1000), tonumber(redis.call('GET', key('last')) or '0') + 1)
redis.call('SET', key('last'), string.format('%.0f', moment))
local id = ''
for _ = 1, 9 do
  local digit = moment % 32
  id = string.sub('0123456789abcdefghjkmnpqrstvwxyz', digit + 1, digit + 1) .. id
  moment = (moment - digit) / 32
end
local job = {id = id .. digits}
local fields = {client = client, priority = priority, model = model, load = load, request = request,
  stream = 'queue:' .. priority .. ':' .. load, created = seconds(time), started = '0', finished = '0', attempts = '0', fence = '0'}
for name, value in pairs(fields) do job[name] = value end
if #ARGV > 10 then
  fields.bytes = ARGV[10]
  fields.inputs = table.concat(ARGV, ' ', 11)
  each_input(fields, function(input)
    redis.call('HINCRBY', key('inputs'), input, 1)
    redis.call('ZREM', key('unused'), input)
  end)
end
if deadline ~= '' then
  fields.deadline = seconds(time + tonumber(deadline))
  redis.call('ZADD', key('deadlines'), fields.deadline, job.id)
end
fields.entry = add_entry(job)
redis.call('ZADD', key('jobs'), 0, job.id)
move(job, 'queued')
fields.state = 'queued'
save(job, fields)
enqueue(job)
publish('state', job)
return {'ok', job_text(job), position(job.id)}
