-- The load of `lalafo bench gateway`: the requests of a file, one a line, each at its own due time.
--
-- wrk sends a connection's next request as soon as the previous one was answered, but first calls
-- `delay` for the milliseconds to wait. Here every call returns the next due time of one schedule
-- (start + n / rate), and the connection that has become idle takes it. So the rate does not depend
-- on the answers' latency while at least one connection is idle: an open loop. While none is idle,
-- requests are sent late, as soon as one is; `late_ms` records how late.
--
-- Arguments: rate (per second), file (METHOD <tab> path <tab> body), text to look for in answers.
-- The API key is LALAFO_GATEWAY_KEY. Needs one thread (-t1): wrk's threads share no variables.

local ffi = require("ffi")
ffi.cdef([[
typedef struct { long seconds; long nanoseconds; } bench_time;
int clock_gettime(int clock, bench_time *now);
]])
local MONOTONIC = 1
local clock = ffi.new("bench_time")

local requests, interval_ms, expected_text = {}, 0, nil
local start, scheduled = nil, 0
local due, next_due = {}, 1
local threads = {}

-- Globals, because `done` reads them from the thread.
sent, matched = 0, 0
statuses, late_ms, first_error = {}, {}, ""

local function now_ms()
  ffi.C.clock_gettime(MONOTONIC, clock)
  return tonumber(clock.seconds) * 1000 + tonumber(clock.nanoseconds) / 1e6
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  interval_ms = 1000 / tonumber(arguments[1])
  expected_text = arguments[3]
  wrk.headers["Content-Type"] = "application/json"
  local key = os.getenv("LALAFO_GATEWAY_KEY") or ""
  if key ~= "" then
    wrk.headers["Authorization"] = "Bearer " .. key
  end
  for line in io.lines(arguments[2]) do
    local method, path, body = line:match("^(%u+)\t([^\t]+)\t(.*)$")
    table.insert(requests, wrk.format(method, path, nil, body ~= "" and body or nil))
  end
  assert(#requests > 0, "the file of requests is empty")
end

function delay()
  local now = now_ms()
  start = start or now
  local at = start + scheduled * interval_ms
  scheduled = scheduled + 1
  due[scheduled] = at
  return math.max(0, at - now)
end

function request()
  -- wrk calls this once before it begins, to check that there is a request; it does not send it.
  if start ~= nil then
    sent = sent + 1
    if next_due <= scheduled then
      late_ms[#late_ms + 1] = math.max(0, now_ms() - due[next_due])
      next_due = next_due + 1
    end
  end
  return requests[math.max(0, sent - 1) % #requests + 1]
end

function response(status, _, body)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
  if expected_text ~= nil and body:find(expected_text, 1, true) then
    matched = matched + 1
  end
  if status >= 400 and first_error == "" then
    first_error = name .. " " .. body:sub(1, 300):gsub('[%c"\\]', " ")
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
    '{"seconds": %.3f, "sent": %d, "answered": %d, "matched": %d, "statuses": {%s}, '
      .. '"p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "late_p99_ms": %.3f, '
      .. '"connection_errors": %d, "timed_out": %d, "first_error": "%s"}\n',
    summary.duration / 1e6, thread:get("sent"), summary.requests, thread:get("matched"),
    table.concat(counts, ", "),
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, late[math.max(1, math.ceil(#late * 0.99))] or 0,
    errors.connect + errors.read + errors.write, errors.timeout, thread:get("first_error")
  ))
end
