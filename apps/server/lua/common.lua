-- What all scripts begin with. KEYS[1]: the prefix of every key. A script runs whole, or not at all,
-- before anything else of Redis does: it is where a job's state changes, and nothing else changes it.
--
--   job:ID           hash: the job; `rev` grows with each change, `fence` with each time it is taken
--   jobs, in:STATE   ids of all, and of those in a state, in the order of acceptance
--   queued           ids of those that wait, by priority, then acceptance; queued:MODEL, client:NAME
--   queue:P:LOAD     stream of those of a priority, model and adapters, read by the group `workers`
--   streams          names of the streams there are
--   deadlines        ids of those that have one, by its time
--   ended            ids of those that ended, by that time; bytes: of their pictures in all
--   workers, worker:NAME   who draws: gone where the second is
--   inputs           hash: how many jobs name an input picture; a job's field `inputs` has their ids
--   unused           ids of those that none names, by the time since which
--   dropping:ID      one whose file is being removed: gone after a while
--   clock            about the latest time that there was
--   events           channel: {"kind", "job"} and what workers tell of pictures at work
local function key(name) return KEYS[1] .. name end
local GROUP, WAITING = 'workers', 'waiting' -- WAITING: the consumer that holds what was given back

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function seconds(value) return string.format('%.6f', value) end

local function load_job(id)
  local flat = redis.call('HGETALL', key('job:' .. id))
  if #flat == 0 then return nil end
  local job = {id = id}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

local function job_text(job) return cjson.encode(job) end

local function publish(kind, job)
  redis.call('PUBLISH', key('events'), cjson.encode({kind = kind, job = job}))
end

-- With `fields` changed.
local function save(job, fields)
  fields.rev = string.format('%d', tonumber(job.rev or '0') + 1)
  local flat = {}
  for name, value in pairs(fields) do
    job[name] = value
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', key('job:' .. job.id), unpack(flat))
end

local function move(job, state)
  if job.state then redis.call('ZREM', key('in:' .. job.state), job.id) end
  redis.call('ZADD', key('in:' .. state), 0, job.id)
end

local function enqueue(job)
  for _, name in ipairs({'queued', 'queued:' .. job.model, 'client:' .. job.client}) do
    redis.call('ZADD', key(name), -tonumber(job.priority), job.id)
  end
end

local function dequeue(job)
  for _, name in ipairs({'queued', 'queued:' .. job.model, 'client:' .. job.client}) do
    redis.call('ZREM', key(name), job.id)
  end
end

local function position(id)
  local rank = redis.call('ZRANK', key('queued'), id)
  return rank and rank + 1 or 0
end

-- Into its stream, at the end.
local function add_entry(job)
  local stream = key(job.stream)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    redis.call('SADD', key('streams'), job.stream)
  end
  return redis.call('XADD', stream, '*', 'id', job.id)
end

local function drop_entry(job)
  local stream = key(job.stream)
  if redis.call('EXISTS', stream) == 0 then return end
  redis.call('XACK', stream, GROUP, job.entry)
  redis.call('XDEL', stream, job.entry)
  if redis.call('XLEN', stream) == 0 then
    redis.call('DEL', stream)
    redis.call('SREM', key('streams'), job.stream)
  end
end

local function finish(job, state, code, message)
  if job.state == 'queued' then dequeue(job) end
  drop_entry(job)
  redis.call('ZREM', key('deadlines'), job.id)
  local time = now()
  redis.call('ZADD', key('ended'), seconds(time), job.id)
  redis.call('INCRBY', key('bytes'), job.bytes or '0')
  move(job, state)
  save(job, {state = state, finished = seconds(time), error_code = code or '', error_message = message or ''})
  publish('state', job)
end

local DROP_SECONDS = 60 -- in which a server removes a file, or another may

local function each_input(job, visit)
  for id in string.gmatch(job.inputs or '', '%x+') do visit(id) end
end

local LATE = 'it was not drawn within its deadline'

-- One that was at work, for whoever takes it next; its entry has been claimed for WAITING.
local function wait_again(job, attempts)
  move(job, 'queued')
  save(job, {state = 'queued', started = '0', waiting = '1', attempts = string.format('%d', attempts)})
  enqueue(job)
  publish('state', job)
end

-- Whether the job is still at work by whom took it as number `fence`.
local function is_of(job, fence) return job and job.state == 'running' and job.fence == fence end
