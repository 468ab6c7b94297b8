-- ARGV: state or "", id before which or "", most -> {{job, position}...}, the newest first
local name = ARGV[1] == '' and 'jobs' or 'in:' .. ARGV[1]
local from = ARGV[2] == '' and '+' or '(' .. ARGV[2]
local jobs = {}
for _, id in ipairs(redis.call('ZREVRANGEBYLEX', key(name), from, '-', 'LIMIT', 0, ARGV[3])) do
  local job = load_job(id)
  if job then jobs[#jobs + 1] = {job_text(job), position(id)} end
end
return jobs
