-- ARGV: id -> {job, position}; nil: there is none
local job = load_job(ARGV[1])
return job and {job_text(job), position(job.id)}
