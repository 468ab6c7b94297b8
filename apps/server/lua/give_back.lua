-- ARGV: id, fence -> 1, 0: the job is somebody else's, or has ended
local id, fence = unpack(ARGV)
local job = load_job(id)
if not is_of(job, fence) then return 0 end
if job.cancel == '1' then
  finish(job, 'cancelled')
else
  redis.call('XCLAIM', key(job.stream), GROUP, WAITING, 0, job.entry, 'JUSTID')
  wait_again(job, tonumber(job.attempts) - 1)
end
return 1
