-- Orthanc sends each study to the gateway once no instance of it has come for StableAge seconds.
-- What could not be sent is tried again: with every further study, and every LuaHeartBeatPeriod seconds (Orthanc 1.11.1).

local STORE = '/modalities/segloop/store'   -- "segloop" is its name in DicomModalities
local MODALITIES = { MR = true }            -- what the rules of the gateway ask for; results (SEG, SR) must not go round in circles

local sent = {}      -- study -> how many instances went; a restart forgets it, then a study may go twice, which is harmless
local jobs = {}      -- job under way -> study
local waiting = {}   -- studies that could not be sent

local function forward(study)
  local series, instances = {}, 0
  for _, one in ipairs(ParseJson(RestApiGet('/studies/' .. study .. '/series'))) do
    if MODALITIES[one['MainDicomTags']['Modality']] then
      table.insert(series, one['ID'])
      instances = instances + #one['Instances']
    end
  end
  if instances == 0 or sent[study] == instances then
    return   -- nothing for the gateway, or nothing new: its own results made the study stable again
  end
  local order = { Resources = series, Synchronous = false }
  local job = ParseJson(RestApiPost(STORE, DumpJson(order, true)))
  jobs[job['ID']] = study
  sent[study] = instances
end

local function again()
  local late = waiting
  waiting = {}
  for study in pairs(late) do
    forward(study)
  end
end

function OnStableStudy(study, tags, metadata)
  again()
  forward(study)
end

function OnHeartBeat()
  again()
end

function OnJobSuccess(job)
  jobs[job] = nil
end

function OnJobFailure(job)
  local study = jobs[job]
  if study then
    jobs[job], sent[study], waiting[study] = nil, nil, true
    print('segloop did not take study ' .. study .. ': it is sent again')
  end
end
