-- ARGV: id -> the job; nil: there is none, or it has not ended
local job = load_job(ARGV[1])
if not job or job.state == 'queued' or job.state == 'running' then return nil end
for _, name in ipairs({'jobs', 'in:' .. job.state, 'ended'}) do redis.call('ZREM', key(name), job.id) end
each_input(job, function(input)
  if redis.call('HINCRBY', key('inputs'), input, -1) > 0 then return end
  redis.call('HDEL', key('inputs'), input)
  redis.call('ZADD', key('unused'), seconds(now()), input)
end)
redis.call('DECRBY', key('bytes'), job.bytes or '0')
redis.call('DEL', key('job:' .. job.id))
publish('removed', {id = job.id})
return job_text(job)
