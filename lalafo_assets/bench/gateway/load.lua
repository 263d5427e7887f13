-- The load of `lalafo bench gateway`: one request a line of a file, each at its own time.
--
-- wrk sends a connection's next request as soon as the last was answered, but asks `delay` first
-- how many milliseconds to wait. Here every answer is the next place in one timetable
-- (start + n / rate), taken by whichever connection has become idle. So the rate does not depend on
-- how fast answers come while one connection is idle: an open loop. Where none is, requests go out
-- late, as soon as one is; `late_ms` tells how late they were.
--
-- Arguments: rate (a second), file (METHOD <tab> path <tab> body), text to look for in answers.
-- The API key is LALAFO_GATEWAY_KEY. For one thread (-t1): threads share nothing.

local ffi = require("ffi")
ffi.cdef([[
typedef struct { long seconds; long nanoseconds; } bench_time;
int clock_gettime(int clock, bench_time *now);
]])
local MONOTONIC = 1
local moment = ffi.new("bench_time")

local requests, space_ms, wanted = {}, 0, nil
local start, placed = nil, 0
local due, next_due = {}, 1
local threads = {}

-- What `done` reads of the thread: globals.
sent, found = 0, 0
statuses, late_ms, strange = {}, {}, ""

local function now_ms()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) * 1000 + tonumber(moment.nanoseconds) / 1e6
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  space_ms = 1000 / tonumber(arguments[1])
  wanted = arguments[3]
  wrk.headers["Content-Type"] = "application/json"
  local key = os.getenv("LALAFO_GATEWAY_KEY") or ""
  if key ~= "" then
    wrk.headers["Authorization"] = "Bearer " .. key
  end
  for line in io.lines(arguments[2]) do
    local method, path, body = line:match("^(%u+)\t([^\t]+)\t(.*)$")
    table.insert(requests, wrk.format(method, path, nil, body ~= "" and body or nil))
  end
  assert(#requests > 0, "no request to send")
end

function delay()
  local now = now_ms()
  start = start or now
  local at = start + placed * space_ms
  placed = placed + 1
  due[placed] = at
  return math.max(0, at - now)
end

function request()
  -- wrk asks once before it begins, to see whether there is a request: that one is not sent.
  if start ~= nil then
    sent = sent + 1
    if next_due <= placed then
      late_ms[#late_ms + 1] = math.max(0, now_ms() - due[next_due])
      next_due = next_due + 1
    end
  end
  return requests[math.max(0, sent - 1) % #requests + 1]
end

function response(status, _, body)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
  if wanted ~= nil and body:find(wanted, 1, true) then
    found = found + 1
  end
  if status >= 400 and strange == "" then
    strange = name .. " " .. body:sub(1, 300):gsub('[%c"\\]', " ")
  end
end

function done(summary, latency, _)
  local thread = threads[1]
  local counts, late = {}, thread:get("late_ms")
  for status, count in pairs(thread:get("statuses")) do
    table.insert(counts, string.format('"%s": %d', status, count))
  end
  table.sort(late)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %.3f, "sent": %d, "answered": %d, "found": %d, "statuses": {%s}, '
      .. '"p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "late_p99_ms": %.3f, '
      .. '"broken": %d, "timed_out": %d, "strange": "%s"}\n',
    summary.duration / 1e6, thread:get("sent"), summary.requests, thread:get("found"),
    table.concat(counts, ", "),
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, late[math.max(1, math.ceil(#late * 0.99))] or 0,
    errors.connect + errors.read + errors.write, errors.timeout, thread:get("strange")
  ))
end
