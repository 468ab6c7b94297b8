-- ARGV: id, fence, state, error's code, message -> the state it ended in; nil: the job is somebody else's, or has ended
local id, fence, state, code, message = unpack(ARGV)
local job = load_job(id)
if not is_of(job, fence) then return nil end
if job.cancel == '1' then state, code, message = 'cancelled', '', '' end
finish(job, state, code, message)
return state
