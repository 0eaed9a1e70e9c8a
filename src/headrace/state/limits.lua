-- The accounts of limits, as admission/limits.py has them in one process. All of a request's limits
-- with one tag are held or refused in one call; nothing here waits, loops long, or leaves anything
-- behind for good.
--
-- KEYS  leases    sorted set: requests by when they are given up (µs)
--       claims    hash: what each of them holds; with a `-` in front once it was given up
--       accounts  hash: NAME:s spent, NAME:h held, NAME:w day or month, NAME:m added by lift, and when;
--                 :clock the time of a late call
-- ARGV  word, time in µs (empty: the server's), ms to keep the keys, then what the word takes

local leases, claims, accounts = KEYS[1], KEYS[2], KEYS[3]
local word, keep = ARGV[1], ARGV[3]
local MINUTE, HOUR = 60000000, 3600000000
local SET_BACK = 1000000
local BACK = 30000000 -- until every gateway has found the server again

local now
if ARGV[2] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- A limit may be no whole number, and cjson would round what it writes.
local function exact(number)
  return string.format('%.17g', number)
end

-- Accounts of rows that begin with a name and a window, and the time of a late call: one command
-- for all of them, since each costs more than the arithmetic.
local function open(rows)
  local fields, opened = {}, {}
  for _, row in ipairs(rows) do
    fields[#fields + 1] = row[1] .. ':s'
    fields[#fields + 1] = row[1] .. ':h'
    fields[#fields + 1] = row[1] .. ':w'
  end
  fields[#fields + 1] = ':clock'
  local found = redis.call('HMGET', accounts, unpack(fields))
  for i, row in ipairs(rows) do
    local a, window = {name = row[1]}, tonumber(row[2])
    a.s, a.h = tonumber(found[3 * i - 2] or 0), tonumber(found[3 * i - 1] or 0)
    a.w = tonumber(found[3 * i] or 0)
    if a.w < window then
      a.s, a.h, a.w = 0, 0, window
    end
    opened[i] = a
  end
  return opened, tonumber(found[#fields] or 0)
end

-- As admission/limits.py's `far`: who set this day or month had a wrong clock.
local function far(later, window)
  local function months(n)
    return math.floor(n / 100) * 12 + n % 100
  end
  if later < 1000000 then
    return months(later) - months(window) > 1
  end
  local function days(n)
    return months(math.floor(n / 100)) * 31 + n % 100
  end
  return days(later) > days(window) + 4
end

-- This server's clock may be set back. Times at which buckets are full again would then be far away,
-- and nobody would get anything until then: they go back with it. Gives whether anything was changed.
local function follow_clock(seen)
  local back = seen > now + SET_BACK
  if back then
    local found = redis.call('HGETALL', accounts)
    for i = 1, #found, 2 do
      local name = string.match(found[i], '^(.+):s$')
      local full = name and tonumber(found[i + 1]) or 0
      if full > 0 and redis.call('HGET', accounts, name .. ':w') == '0' then
        redis.call('HSET', accounts, found[i], text(math.max(0, full - (seen - now))))
      end
    end
    seen = 0
  end
  if now > seen + SET_BACK then
    redis.call('HSET', accounts, ':clock', text(now))
  end
  return back
end

local function write(changed)
  local fields = {}
  for _, a in ipairs(changed) do
    fields[#fields + 1] = a.name .. ':s'
    fields[#fields + 1] = text(a.s)
    fields[#fields + 1] = a.name .. ':h'
    fields[#fields + 1] = text(a.h)
    fields[#fields + 1] = a.name .. ':w'
    fields[#fields + 1] = text(a.w)
  end
  if #fields > 0 then
    redis.call('HSET', accounts, unpack(fields))
  end
end

local function is_rate(kind)
  return kind == 'once' or kind == 'rate'
end

local function used(a, kind)
  if is_rate(kind) then
    return math.max(a.s - now, 0)
  end
  return a.s
end

local function spend(a, kind, most, amount)
  if amount <= 0 or kind == 'slots' then
    return
  end
  if kind == 'window' then
    a.s = a.s + amount
  elseif most > 0 then
    a.s = math.max(a.s, now) + math.ceil(amount * MINUTE / most)
  end
end

local function lacking(a, kind, most, burst, cost)
  if cost == 0 then
    return 0
  end
  if is_rate(kind) then
    if most == 0 then
      return 1e15
    end
    return used(a, kind) + math.ceil((a.h + cost) * MINUTE / most) - burst
  end
  return a.s + a.h + cost - most
end

-- Held rows, each of name, window, kind, most, cost, likely; `used` gives of each what it spends.
local function release(rows, used_of)
  local changed = {}
  for i, a in ipairs((open(rows))) do
    local row = rows[i]
    if a.w == tonumber(row[2]) then
      a.h = math.max(0, a.h - tonumber(row[5]))
      spend(a, row[3], tonumber(row[4]), used_of(i, row))
      changed[#changed + 1] = a
    end
  end
  write(changed)
end

-- The same of a lease that was given up: what was probable is spent already.
local function correct(rows, used_of)
  local changed = {}
  for i, a in ipairs((open(rows))) do
    local row = rows[i]
    local more = used_of(i, row) - tonumber(row[6])
    if row[3] == 'window' and a.w == tonumber(row[2]) then
      a.s = math.max(0, a.s + more)
      changed[#changed + 1] = a
    elseif row[3] == 'rate' and more > 0 then
      spend(a, row[3], tonumber(row[4]), more)
      changed[#changed + 1] = a
    end
  end
  write(changed)
end

local function likely(_, row)
  return tonumber(row[6])
end

-- Of a gateway that is gone nobody settles: what it held is given back, and what its requests have
-- probably used is spent. The lease stays for an hour, in case the gateway was only slow.
local function sweep()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now), 'LIMIT', 0, 100)) do
    local kept = redis.call('HGET', claims, id)
    if kept and string.sub(kept, 1, 1) ~= '-' then
      release(cjson.decode(kept), likely)
      redis.call('HSET', claims, id, '-' .. kept)
      redis.call('ZADD', leases, text(now + HOUR), id)
    else
      redis.call('HDEL', claims, id)
      redis.call('ZREM', leases, id)
    end
  end
end

local function stay()
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, keep)
  end
end

local words = {}

-- id, µs of the lease, then as JSON for each limit: name, window, kind, most, burst in µs, cost,
-- likely; one word for all of them, since a client takes as long for each word as for the script.
-- Gives 0 or the number of the limit that refuses, what it lacks, and of each its use and what is held.
function words.take()
  sweep()
  local id, lease = ARGV[4], tonumber(ARGV[5])
  local rows, taken, held = cjson.decode(ARGV[6]), {}, {}
  local opened, seen = open(rows)
  if follow_clock(seen) then
    opened = open(rows)
  end
  for i, row in ipairs(rows) do
    local a, window, kind, most, cost = opened[i], row[2], row[3], row[4], row[6]
    if a.w > window and far(a.w, window) then
      a.w = window
      write({a})
    end
    local lack = lacking(a, kind, most, row[5], cost)
    if lack > 0 then
      return {i, math.min(math.ceil(lack), 1e15), used(a, kind), a.h}
    end
    taken[i] = {a, kind, most, cost}
    if kind ~= 'once' then
      -- a clock that is behind asks of a day that is over: it is held in the one that has begun
      held[#held + 1] = {a.name, text(a.w), kind, exact(most), text(cost), text(row[7])}
    end
  end
  local answer = {0, 0}
  for _, each in ipairs(taken) do
    local a, kind, most, cost = unpack(each)
    if kind == 'once' then
      spend(a, kind, most, cost)
    else
      a.h = a.h + cost
    end
    answer[#answer + 1] = used(a, kind)
    answer[#answer + 1] = a.h
  end
  write(opened)
  if #held > 0 then
    redis.call('ZADD', leases, text(now + lease), id)
    redis.call('HSET', claims, id, cjson.encode(held))
  end
  stay()
  return answer
end

-- id, then what was used, in the order of the limits that are held. Doing it twice does it once.
function words.settle()
  local id = ARGV[4]
  local kept = redis.call('HGET', claims, id)
  if not kept then
    return 0
  end
  redis.call('HDEL', claims, id)
  redis.call('ZREM', leases, id)
  local function told(i)
    return tonumber(ARGV[4 + i] or 0)
  end
  if string.sub(kept, 1, 1) == '-' then
    correct(cjson.decode(string.sub(kept, 2)), told)
  else
    release(cjson.decode(kept), told)
  end
  return 1
end

-- µs, then ids: these requests still run.
function words.renew()
  local until_us = text(now + tonumber(ARGV[4]))
  for i = 5, #ARGV do
    local kept = redis.call('HGET', claims, ARGV[i])
    if kept and string.sub(kept, 1, 1) ~= '-' then
      redis.call('ZADD', leases, 'XX', until_us, ARGV[i])
    end
  end
  stay()
  return #ARGV - 4
end

-- Of each: name, window, at least so much was spent before an outage, and so much more in it. Gateways
-- come back one by one: what one added lately is not what another says was there before.
function words.lift()
  for i = 4, #ARGV, 4 do
    local window = tonumber(ARGV[i + 1])
    local a = open({{ARGV[i], window}})[1]
    if a.w == window then
      local told = redis.call('HGET', accounts, a.name .. ':m') or ''
      local lately, at = string.match(told, '^(%d+) (%d+)$')
      local added = at and tonumber(at) > now - BACK and tonumber(lately) or 0
      local more = tonumber(ARGV[i + 3])
      a.s = math.max(a.s - added, tonumber(ARGV[i + 2])) + added + more
      if more > 0 then
        redis.call('HSET', accounts, a.name .. ':m', text(added + more) .. ' ' .. text(now))
      end
      write({a})
    end
  end
  stay()
  return 0
end

-- Of each: name, window, kind. Gives of each its use and what is held.
function words.look()
  sweep()
  local rows, answer = {}, {}
  for i = 4, #ARGV, 3 do
    rows[#rows + 1] = {ARGV[i], ARGV[i + 1], ARGV[i + 2]}
  end
  for i, a in ipairs((open(rows))) do
    answer[#answer + 1] = used(a, rows[i][3])
    answer[#answer + 1] = a.h
  end
  return answer
end

-- A gateway's name, µs: it is there. Gives how many are.
function words.beat()
  redis.call('ZADD', leases, text(now + tonumber(ARGV[5])), ARGV[4])
  redis.call('ZREMRANGEBYSCORE', leases, '-inf', text(now))
  stay()
  return redis.call('ZCARD', leases)
end

return words[word]()
