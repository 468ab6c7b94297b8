-- ARGV: id, fence, index, what is known of the picture, its bytes, how it was drawn -> 1, 0: the job is somebody else's, or has ended
local id, fence, index, picture, bytes, drawn = unpack(ARGV)
local job = load_job(id)
if not is_of(job, fence) then return 0 end
local field = 'picture:' .. index
if not job[field] then
  save(job, {[field] = picture, bytes = string.format('%.0f', tonumber(job.bytes or '0') + tonumber(bytes))})
  redis.call('PUBLISH', key('events'), cjson.encode({kind = 'picture', job = job, drawn = drawn}))
end
return 1
