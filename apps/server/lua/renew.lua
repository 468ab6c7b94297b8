-- ARGV: worker, id, fence -> {cancelled, late} as 0 or 1; nil: the job is somebody else's, or has ended
local worker, id, fence = unpack(ARGV)
local job = load_job(id)
if not is_of(job, fence) then return nil end
redis.call('XCLAIM', key(job.stream), GROUP, worker, 0, job.entry, 'JUSTID')
local late = job.deadline and tonumber(job.deadline) <= now()
return {job.cancel == '1' and 1 or 0, late and 1 or 0}
