-- Shares of limits: what each host may use of each, never more in all than there is.
-- A host's field: its share, what is used of it for good, the number of its question, until when it counts (0: for
-- ever), what it lacked, and when that was. A host that is not heard of may be alone: it has its part, whatever it said.
local host, hosts, whole = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local HEARD, FORGOTTEN, LACKS = 1000, 86400000, 3000

if whole == '1' then redis.call('HSET', KEYS[1], host, now) end
local heard, missing = {}, hosts - 1
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local age = now - tonumber(all[at + 1])
  if age > FORGOTTEN then
    redis.call('HDEL', KEYS[1], all[at])
  elseif age < HEARD and all[at] ~= host then
    heard[all[at]] = true
    missing = missing - 1
  end
end

local answers = {}
for which = 2, #KEYS do
  local key, first = KEYS[which], 4 + (which - 2) * 9
  local function number(at) return tonumber(ARGV[first + at]) end
  local question, keeps, used, most, alone = number(0), number(1), number(2), number(3), number(4)
  local counts, kept, need, extra = number(5), number(6), number(7), number(8)
  local others, theirs, lacked, absent, last = 0, 0, 0, math.max(0, missing), 0
  local held = redis.call('HGETALL', key)
  for at = 1, #held, 2 do
    local share, firm, asked, till, lack, told =
      string.match(held[at + 1], '(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)')
    share, till = tonumber(share), tonumber(till)
    if held[at] == host then
      last = tonumber(asked)
    elseif till > 0 and till <= now then
      redis.call('HDEL', key, held[at])
    else
      if not heard[held[at]] and absent > 0 then
        share, absent = math.max(share, alone), absent - 1
      end
      others, theirs = others + share, theirs + tonumber(firm)
      if now - tonumber(told) < LACKS then lacked = lacked + tonumber(lack) end
    end
  end
  others = others + absent * alone
  local granted, target = -1, 0
  if question > last then
    local free = math.max(0, most - others - keeps)
    local more = math.min(free, need)
    more = more + math.min(extra, math.floor((free - more) / (2 * hosts)))
    target = math.max(math.floor(most / hosts), most - others - lacked)
    local till = counts > 0 and now + counts or 0
    local lack = math.max(0, need - more)
    granted = math.min(keeps, math.max(0, most - others)) + more
    redis.call('HSET', key, host,
      string.format('%.0f %.0f %.0f %.0f %.0f %.0f', keeps + more, used, question, till, lack, now))
    if kept > 0 then redis.call('PEXPIRE', key, string.format('%.0f', kept)) end
  end
  for _, one in ipairs({ granted, target, theirs }) do answers[#answers + 1] = one end
end
return answers
