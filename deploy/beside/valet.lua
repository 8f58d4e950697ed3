-- Asks Valet about a request, for haproxy.cfg: `http-request lua.valet_asks`.

local valet = "http://127.0.0.1:8080/.valet/authorize?forward=cut"

-- The identity fields of all apps that authorize. Each is set anew, or taken out.
local identity = { "x-auth-subject", "x-auth-issuer", "x-auth-email", "x-auth-assertion" }

-- Of Valet's refusals.
local kept = { "content-type", "location", "www-authenticate", "retry-after", "cache-control", "vary", "allow",
    "content-security-policy", "referrer-policy", "x-content-type-options", "x-request-id",
    "access-control-allow-origin", "access-control-allow-credentials" }

-- As an app may read it: many take other signs for a hyphen.
local function plain(name)
    return (name:lower():gsub("[^%w]", "-"))
end

local function is_identity(name)
    for _, own in ipairs(identity) do
        if plain(name) == own then
            return true
        end
    end
    return plain(name) == "x-auth-cookie"
end

-- The first value of a field of an answer.
local function first(headers, name)
    local values = headers and headers[name]
    return values and (values[0] or values[1])
end

core.register_action("valet_asks", { "http-req" }, function(txn)
    local asked = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if is_identity(name) then
            txn.http:req_del_header(name)
        elseif name ~= "host" and name ~= "content-length" and name ~= "transfer-encoding" and name ~= "connection"
            and name ~= "upgrade" and name ~= "expect" then
            asked[name] = {}
            for place = 0, #values do
                if values[place] then
                    table.insert(asked[name], values[place])
                end
            end
        end
    end
    asked["x-forwarded-method"] = { txn.f:method() }
    asked["x-forwarded-host"] = { txn.f:req_hdr("host") }
    asked["x-forwarded-uri"] = { txn.f:pathq() }

    local answer = core.httpclient():get({ url = valet, headers = asked, timeout = 5000 })
    if not answer or answer.status == 0 then
        txn:done(txn:reply({ status = 503, body = "Who you are can't be checked right now.\n" }))
        return
    end
    if answer.status ~= 200 then
        local reply = txn:reply({ status = answer.status })
        for _, name in ipairs(kept) do
            local value = first(answer.headers, name)
            if value then
                reply:add_header(name, value)
            end
        end
        reply:set_body(answer.body or "")
        txn:done(reply)
        return
    end
    for _, name in ipairs(identity) do
        local value = first(answer.headers, name)
        if value and value ~= "" then
            txn.http:req_set_header(name, value)
        end
    end
    -- The app has no use for the credential.
    local cookie = first(answer.headers, "x-auth-cookie")
    txn.http:req_del_header("cookie")
    if cookie and cookie ~= "" then
        txn.http:req_set_header("cookie", cookie)
    end
    txn.http:req_del_header("authorization")
end)
