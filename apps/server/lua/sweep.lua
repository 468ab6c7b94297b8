-- ARGV: milliseconds of a lease, or 0: leave leases alone; attempts after which a job is not tried again
-- -> seconds to the next deadline, ""
local lease, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = now()
local MOST_CLAIMS = 10000 -- of one stream

local function expire(job)
  local attempts = tonumber(job.attempts)
  if job.cancel == '1' then
    finish(job, 'cancelled')
  elseif job.deadline and tonumber(job.deadline) <= time then
    finish(job, 'failed', 'deadline', LATE)
  elseif attempts >= most then
    finish(job, 'failed', 'interrupted', 'its worker was lost ' .. attempts .. ' times while it drew this job')
  else
    wait_again(job, attempts)
  end
end

-- Claims from after the moment that the clock jumped back to would not age until it is there again: they begin anew.
local CLOCK_SECONDS = 10 -- a note of the time is at most so old, so that not every look is a write
local noted = tonumber(redis.call('GET', key('clock')) or '0')
if time < noted or time > noted + CLOCK_SECONDS then redis.call('SET', key('clock'), seconds(time)) end
for _, name in ipairs(time < noted and redis.call('SMEMBERS', key('streams')) or {}) do
  for _, claim in ipairs(redis.call('XPENDING', key(name), GROUP, '-', '+', MOST_CLAIMS)) do
    redis.call('XCLAIM', key(name), GROUP, claim[2], 0, claim[1], 'JUSTID')
  end
end

-- Of workers that have not said for a lease that they are at it.
for _, name in ipairs(lease > 0 and redis.call('SMEMBERS', key('streams')) or {}) do
  local claimed = redis.call('XAUTOCLAIM', key(name), GROUP, WAITING, lease, '0-0', 'COUNT', 100)
  for _, entry in ipairs(claimed[2]) do
    local job = entry and entry[2] and load_job(entry[2][2])
    if job and job.state == 'running' then expire(job) end
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', seconds(time), 'LIMIT', 0, 100)) do
  local job = load_job(id)
  if job and job.state == 'queued' then
    finish(job, 'failed', 'deadline', LATE)
  else
    redis.call('ZREM', key('deadlines'), id) -- its worker knows
  end
end
local nearest = redis.call('ZRANGE', key('deadlines'), 0, 0, 'WITHSCORES')
return nearest[2] and seconds(tonumber(nearest[2]) - time) or ''
