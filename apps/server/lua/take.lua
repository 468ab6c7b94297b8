-- ARGV: worker, load that it has, most jobs that go before another out of their turn, for how many seconds, its models...
-- -> {job, seconds to its deadline or ""}, nil: nothing that it can draw waits
local worker, loaded = ARGV[1], ARGV[2]
local first, score
for i = 5, #ARGV do
  local head = redis.call('ZRANGE', key('queued:' .. ARGV[i]), 0, 0, 'WITHSCORES')
  if head[1] then
    local its = tonumber(head[2])
    if not first or its < score or (its == score and head[1] < first) then first, score = head[1], its end
  end
end
if not first then return nil end
local head = load_job(first)
local time = now()

-- The next of a stream that nobody has read.
local function read(name)
  local stream = key(name)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local found = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', 1, 'STREAMS', stream, '>')
  return found and load_job(found[1][2][1][2][2])
end

local job
local overtaken = tonumber(head.overtaken or '0')
if loaded ~= '' and head.load ~= loaded and overtaken < tonumber(ARGV[3])
    and (overtaken == 0 or time - tonumber(head.overtaken_since) < tonumber(ARGV[4])) then
  job = read('queue:' .. head.priority .. ':' .. loaded)
  if job then
    for i = 5, #ARGV do
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('queued:' .. ARGV[i]), score, score)) do
        if id >= job.id then break end
        if redis.call('HINCRBY', key('job:' .. id), 'overtaken', 1) == 1 then
          redis.call('HSET', key('job:' .. id), 'overtaken_since', seconds(time))
        end
      end
    end
  end
end
if not job then
  if head.waiting == '1' then
    redis.call('XCLAIM', key(head.stream), GROUP, worker, 0, head.entry, 'JUSTID')
    job = head
  else
    job = read(head.stream)
  end
end
dequeue(job)
move(job, 'running')
save(job, {state = 'running', started = seconds(time), waiting = '0',
  attempts = string.format('%d', tonumber(job.attempts) + 1), fence = string.format('%d', tonumber(job.fence) + 1)})
publish('state', job)
return {job_text(job), job.deadline and seconds(tonumber(job.deadline) - time) or ''}
