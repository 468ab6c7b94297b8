-- ARGV: id -> 1, 0: there is no such job, or it has ended
local job = load_job(ARGV[1])
if not job then return 0 end
if job.state == 'queued' then
  finish(job, 'cancelled')
  return 1
end
if job.state ~= 'running' then return 0 end
save(job, {cancel = '1'})
publish('cancel', job)
return 1
