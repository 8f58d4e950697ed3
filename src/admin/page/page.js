// The operators' page: reads /metrics and /readyz, and draws. Nothing is loaded from elsewhere, nothing is stored.

const PAUSE = 2000;
const KEPT = 150; // Five minutes of readings.

const readings = [];
let token = null;

const at = (id) => document.getElementById(id);

// --- reading -----------------------------------------------------------------------------------

/** Prometheus text → Map of name to [{labels, value}]. */
function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    const series = line.slice(0, end);
    const brace = series.indexOf("{");
    const name = brace < 0 ? series : series.slice(0, brace);
    const labels = {};
    if (brace >= 0) {
      for (const [, key, value] of series.slice(brace).matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
        labels[key] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
      }
    }
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels, value: Number(line.slice(end + 1)) });
  }
  return families;
}

const matches = (labels, wanted) => Object.entries(wanted).every(([key, value]) => labels[key] === value);

function sum(reading, name, wanted = {}) {
  const all = reading?.families.get(name) ?? [];
  return all.filter(({ labels }) => matches(labels, wanted)).reduce((sum, { value }) => sum + value, 0);
}

function values(reading, name, label) {
  const all = reading.families.get(name) ?? [];
  return [...new Set(all.map(({ labels }) => labels[label]))].filter((value) => value !== undefined).sort();
}

const now = () => readings.at(-1);

/** The reading of about a minute ago, or the first. */
function minuteAgo() {
  const wanted = now().time - 60_000;
  return readings.findLast((reading) => reading.time <= wanted) ?? readings[0];
}

function rate(name, wanted, from = minuteAgo(), to = now()) {
  const span = (to.time - from.time) / 1000;
  return span > 0 ? Math.max(0, sum(to, name, wanted) - sum(from, name, wanted)) / span : 0;
}

const rates = (name, wanted) => readings.slice(1).map((reading, nth) => rate(name, wanted, readings[nth], reading));

/** The quantile of a histogram, of the last minute where something happened in it, else of all time. */
function quantile(q, name, wanted = {}) {
  const buckets = (reading) => {
    const found = new Map();
    for (const { labels, value } of reading?.families.get(`${name}_bucket`) ?? []) {
      if (!matches(labels, wanted)) continue;
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      found.set(bound, (found.get(bound) ?? 0) + value);
    }
    return [...found].sort(([a], [b]) => a - b);
  };
  const last = buckets(now());
  const before = new Map(buckets(minuteAgo()));
  let counted = last.map(([bound, value]) => [bound, value - (before.get(bound) ?? 0)]);
  if (!(counted.at(-1)?.[1] > 0)) counted = last;
  const total = counted.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let [low, below] = [0, 0];
  for (const [bound, value] of counted) {
    if (value >= q * total) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (q * total - below)) / Math.max(1, value - below);
    }
    [low, below] = [bound, value];
  }
  return low;
}

// --- writing -----------------------------------------------------------------------------------

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const number = (value) => (value >= 100_000 ? short.format(value) : whole.format(value));
const perSecond = (value) => `${value >= 10 ? whole.format(value) : value.toFixed(value ? 2 : 0)}/s`;
const percent = (part, all) => (all ? `${((100 * part) / all).toFixed(part === all ? 0 : 2)} %` : "–");

function seconds(value) {
  if (value === null) return "–";
  if (value < 0.001) return "< 1 ms";
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(1)} s`;
}

function span(value) {
  const [days, hours, minutes] = [Math.floor(value / 86400), Math.floor(value / 3600) % 24, Math.floor(value / 60) % 60];
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes) return `${minutes} min`;
  return `${Math.floor(value)} s`;
}

const moment = (stamp) => new Date(stamp * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";

function sparkline(points, what) {
  const top = Math.max(...points, 1e-9);
  const x = (nth) => (points.length > 1 ? (100 * nth) / (points.length - 1) : 0);
  const path = points.map((value, nth) => `${nth ? "L" : "M"}${x(nth).toFixed(2)} ${(29 - (27 * value) / top).toFixed(2)}`);
  const name = points.length ? `${what}, the last minutes: highest ${perSecond(top > 1e-9 ? top : 0)}` : `${what}: no readings yet`;
  return svg("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": name }, svg("path", { d: path.join(" ") || "M0 29" }));
}

function card(title, big, more, picture, kind = "") {
  const made = node("div", { class: "card" }, node("h3", {}, title), node("p", { class: `big ${kind}` }, big), node("p", { class: "quiet" }, more));
  if (picture) made.append(picture);
  return made;
}

/** A table, replaced only when something of it has changed, so that a selection in it stays. */
function table(id, caption, heads, rows, empty) {
  const key = JSON.stringify([heads, rows.map((row) => row.map((cell) => (typeof cell === "object" ? [cell.text, cell.kind] : cell)))]);
  const place = at(id);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const head = node("tr", {}, ...heads.map((head) => node("th", { scope: "col", class: head.startsWith("#") ? "n" : "" }, head.replace(/^#/, ""))));
  const body = rows.map((row) =>
    node("tr", {}, ...row.map((cell, nth) => {
      const text = typeof cell === "object" ? cell.text : String(cell);
      const kind = [heads[nth].startsWith("#") ? "n" : "", cell.kind ?? ""].join(" ").trim();
      return nth ? node("td", { class: kind }, text) : node("th", { scope: "row", class: kind }, text);
    })),
  );
  if (!rows.length) body.push(node("tr", {}, node("td", { colspan: heads.length, class: "quiet" }, empty)));
  place.replaceChildren(node("caption", { class: "quiet" }, caption), node("thead", {}, head), node("tbody", {}, ...body));
}

// --- what it says ------------------------------------------------------------------------------

const GOOD = new Set(["redirect", "json", "forwarded", "login", "preflight"]);
const OURS = new Set(["error", "unavailable", "overloaded", "provider_error", "provider_busy", "provider_timeout", "app_error", "app_timeout"]);
const WHY = {
  unauthenticated: "no session, or one that has ended or is not valid",
  step_up: "a policy wants a stronger or more recent sign-in",
  forbidden: "a policy, a missing claim, or another site's page",
  not_found: "nothing has this address",
  method_not_allowed: "the route has other methods",
  not_acceptable: "somebody looked at what is for a script",
  bad_request: "a request that could be read in two ways, or two persons' credentials",
  limited: "more than [limits] or mints_per_subject allow",
  prefetch: "a browser asked ahead of its user; nothing is minted for that",
  too_large: "a head, an address or a body beyond the bound",
  too_slow: "the client took too long",
  provider_error: "the vendor refused, was not reached, or gave no URL that may be sent on",
  provider_busy: "the vendor is overloaded or pausing, or max_in_flight is used up",
  provider_timeout: "the vendor did not answer in time",
  app_error: "the app was not reached, or broke off",
  app_timeout: "the app did not answer in time",
  overloaded: "server.max_requests are under way",
  unavailable: "no keys to judge by, the store is needed and gone, or this node is draining",
  error: "a fault of Valet's own: look into its log",
  malformed: "a head that is no HTTP",
  turned_away: "more connections than allowed",
  cancelled: "the client left before the app's answer was whole",
  cut: "still under way at the end of a drain",
  session_ended: "a WebSocket was closed with its session",
};

function drawState(ready) {
  const degraded = ready.body.degraded ?? [];
  const [kind, text] = !ready.body.ready
    ? ["bad", `Not ready: ${ready.body.reason ?? `/readyz answered ${ready.status}`}`]
    : degraded.length
      ? ["warn", "Ready, with trouble"]
      : ["good", "Ready"];
  setState(kind, text);
  at("trouble").hidden = !degraded.length;
  const list = JSON.stringify(degraded);
  if (at("trouble-list").dataset.key !== list) {
    at("trouble-list").dataset.key = list;
    at("trouble-list").replaceChildren(...degraded.map((what) => node("li", {}, explain(what))));
  }
}

function setState(kind, text) {
  at("state").className = `state ${kind}`;
  if (at("state-text").textContent !== text) at("state-text").textContent = text;
  const title = kind === "good" ? "Valet" : `! Valet: ${text}`;
  if (document.title !== title) document.title = title;
}

function explain(what) {
  const [kind, ...rest] = what.split(":");
  const name = rest.join(":");
  const says = {
    keys: `Keys of ${name}: they can't be fetched; those of before are used while they may be.`,
    provider: `Provider ${name}: its calls are held back, or no minter is there. URLs that are held go on.`,
    app: `App ${name}: no upstream is well.`,
    secret: `Secret ${name}: it can't be read again; the last one stays.`,
    certificates: "A certificate, its key or a file of authorities can't be read again; the last ones stay.",
    "leases.store": "The store of leases does not answer.",
    "minter.verify_sessions": "This minter believes its edges: verify_sessions is off.",
  };
  return says[kind] ?? what;
}

function drawCards() {
  const requests = "valet_requests_total";
  const outcomes = values(now(), requests, "outcome");
  const last = (outcome) => sum(now(), requests, { outcome }) - sum(minuteAgo(), requests, { outcome });
  const all = outcomes.reduce((sum, outcome) => sum + last(outcome), 0);
  const failed = outcomes.filter((outcome) => OURS.has(outcome)).reduce((sum, outcome) => sum + last(outcome), 0);
  const mints = rate("valet_mints_total", {});
  const bad = mints - rate("valet_mints_total", { outcome: "ok" }) - rate("valet_mints_total", { outcome: "short" });
  const lowLife = quantile(0.1, "valet_redirect_remaining_seconds");
  const warm = { outcome: "redirect" };
  at("cards").replaceChildren(
    card("Requests", perSecond(rate(requests, {})), `${number(sum(now(), requests))} since the start`, sparkline(rates(requests, {}), "Requests a second")),
    card("Failed by us, a vendor or an app", percent(failed, all), "of the last minute's requests", null, failed ? "bad-text" : "good-text"),
    card("Redirects, 99 of 100 within", seconds(quantile(0.99, "valet_request_duration_seconds", warm)), `half within ${seconds(quantile(0.5, "valet_request_duration_seconds", warm))}`),
    card("Mints", perSecond(mints), `half within ${seconds(quantile(0.5, "valet_mint_duration_seconds"))}, 99 of 100 within ${seconds(quantile(0.99, "valet_mint_duration_seconds"))}`, sparkline(rates("valet_mints_total", {}), "Mints a second")),
    card("Mints that failed", percent(Math.max(0, bad), mints), "of the last minute's mints", null, bad > 0.0001 ? "bad-text" : "good-text"),
    card("Leases held", number(sum(now(), "valet_leases_held")), `${number(sum(now(), "valet_leases_evicted_total"))} dropped at the bound`),
    card("Life left, 9 of 10 have", lowLife === null ? "–" : span(lowLife), "or more, when a browser is sent there"),
    card("Connections", number(sum(now(), "valet_connections")), `${number(sum(now(), "valet_session_cache_entries"))} verified tokens kept`),
  );
}

function drawLife() {
  const all = (now().families.get("valet_redirect_remaining_seconds_bucket") ?? []).map(({ labels, value }) => [labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  all.sort(([a], [b]) => a - b);
  const bars = all.map(([bound, value], nth) => [nth ? all[nth - 1][0] : 0, bound, value - (nth ? all[nth - 1][1] : 0)]).filter(([, bound]) => bound > 0);
  const top = Math.max(1, ...bars.map(([, , count]) => count));
  const total = bars.reduce((sum, [, , count]) => sum + count, 0);
  const named = ([low, high]) => (high === Infinity ? `over ${span(low)}` : low === 0 ? `under ${span(high)}` : `${span(low)} – ${span(high)}`);
  const rows = bars.flatMap((bar, nth) => {
    const y = nth * 22;
    return [
      svg("text", { x: 92, y: y + 14, "text-anchor": "end" }, named(bar)),
      svg("rect", { class: bar[1] <= 300 ? "bar low" : "bar", x: 100, y: y + 3, height: 14, width: ((190 * bar[2]) / top).toFixed(1), rx: 2 }),
      svg("text", { class: "soft", x: 106 + (190 * bar[2]) / top, y: y + 14 }, total ? percent(bar[2], total) : ""),
    ];
  });
  const label = total ? `Of ${number(total)} URLs: ${bars.filter(([, , count]) => count).map((bar) => `${percent(bar[2], total)} had ${named(bar)}`).join(", ")}` : "No URL was sent yet";
  at("life").replaceChildren(svg("svg", { viewBox: `0 0 350 ${bars.length * 22}`, role: "img", "aria-label": label }, ...rows));
}

function drawSources() {
  const names = { hit: "held", minted: "minted", joined: "joined another's mint", ahead: "minted ahead", shared: "from the store" };
  const parts = Object.keys(names).map((source) => [source, sum(now(), "valet_leases_total", { source })]);
  const total = parts.reduce((sum, [, count]) => sum + count, 0);
  let x = 0;
  const rects = parts.map(([, count], nth) => {
    const width = total ? (350 * count) / total : 0;
    x += width;
    return svg("rect", { class: `s${nth}`, x: (x - width).toFixed(2), y: 0, width: width.toFixed(2), height: 26 });
  });
  const label = total ? parts.filter(([, count]) => count).map(([source, count]) => `${percent(count, total)} ${names[source]}`).join(", ") : "No URL was handed out yet";
  const legend = parts.map(([source, count], nth) => node("li", {}, node("span", { class: `s${nth}` }), `${names[source]}: ${number(count)} (${percent(count, total)})`));
  at("sources").replaceChildren(svg("svg", { viewBox: "0 0 350 26", role: "img", "aria-label": label }, ...rects), node("ul", { class: "legend" }, ...legend));
}

function drawRefused() {
  const found = new Map();
  for (const { labels, value } of now().families.get("valet_requests_total") ?? []) {
    if (GOOD.has(labels.outcome) || !value) continue;
    found.set(`${labels.outcome}\n${labels.route}`, value);
  }
  const rows = [...found].sort(([, a], [, b]) => b - a).map(([key, value]) => {
    const [outcome, route] = key.split("\n");
    return [{ text: outcome, kind: OURS.has(outcome) ? "bad-text" : "" }, route, number(value), perSecond(rate("valet_requests_total", { outcome, route })), WHY[outcome] ?? ""];
  });
  table("refused", "Since the start, the most frequent first", ["Outcome", "Route", "#Total", "#Last minute", "Why"], rows, "Nothing was refused.");
}

function drawVendors() {
  const trouble = new Set((now().families.get("valet_degraded") ?? []).filter(({ value }) => value > 0).map(({ labels }) => labels.what));
  const rows = values(now(), "valet_mints_total", "provider").map((provider) => {
    const of = (outcome) => sum(now(), "valet_mints_total", { provider, outcome });
    const all = sum(now(), "valet_mints_total", { provider });
    const good = of("ok") + of("short");
    const causes = (now().families.get("valet_mint_failures_total") ?? []).filter(({ labels, value }) => labels.provider === provider && value);
    const told = causes.sort((a, b) => b.value - a.value).slice(0, 3).map(({ labels, value }) => `${labels.cause} ${number(value)}`);
    const minters = (now().families.get("valet_minter_up") ?? []).filter(({ labels }) => labels.provider === provider);
    const up = minters.length ? ` · ${minters.filter(({ value }) => value > 0).length} of ${minters.length} minters there` : "";
    const lately = (outcome) => rate("valet_mints_total", { provider, outcome });
    const failing = lately("ok") + lately("short") < 0.95 * rate("valet_mints_total", { provider });
    const pauses = trouble.has(`provider:${provider}`);
    const well = !pauses && !failing;
    return [provider, { text: (pauses ? "calls pause" : failing ? "mints fail" : "well") + up, kind: well ? "good-text" : "bad-text" }, number(all), perSecond(rate("valet_mints_total", { provider })), percent(good, all), told.join(", ") || "–"];
  });
  table("vendors", "Mints since the start", ["Provider", "State", "#Mints", "#Last minute", "#Good", "Failed by"], rows, "No provider is configured.");
}

function drawApps() {
  const apps = values(now(), "valet_upstream_response_seconds_count", "app");
  at("apps-section").hidden = !apps.length;
  const rows = apps.map((app) => {
    const upstreams = (now().families.get("valet_upstream_up") ?? []).filter(({ labels }) => labels.app === app);
    const down = upstreams.filter(({ value }) => !value).map(({ labels }) => labels.upstream);
    const causes = (now().families.get("valet_upstream_failures_total") ?? []).filter(({ labels, value }) => labels.app === app && value);
    const told = causes.sort((a, b) => b.value - a.value).slice(0, 3).map(({ labels, value }) => `${labels.cause} ${number(value)}`);
    return [app, { text: down.length ? `down: ${down.join(", ")}` : `${upstreams.length} well`, kind: down.length ? "bad-text" : "good-text" }, perSecond(rate("valet_upstream_response_seconds_count", { app })), seconds(quantile(0.5, "valet_upstream_response_seconds", { app })), seconds(quantile(0.99, "valet_upstream_response_seconds", { app })), told.join(", ") || "–"];
  });
  table("apps", "Time until the head of an answer", ["App", "Upstreams", "#Answers", "#Half within", "#99 of 100 within", "Failed by"], rows, "No app is configured.");
}

function drawKeys() {
  const trouble = new Set((now().families.get("valet_degraded") ?? []).filter(({ value }) => value > 0).map(({ labels }) => labels.what));
  const issuers = values(now(), "valet_session_checks_total", "issuer").filter((issuer) => issuer !== "unknown");
  const rows = issuers.map((issuer) => {
    const fetched = (outcome) => sum(now(), "valet_jwks_fetches_total", { issuer, outcome });
    const checks = (outcome) => sum(now(), "valet_session_checks_total", { issuer, outcome });
    const failed = fetched("error") + fetched("nonsense");
    const well = !trouble.has(`keys:${issuer}`);
    return [issuer, { text: well ? "fresh" : "stale", kind: well ? "good-text" : "bad-text" }, `${number(fetched("ok"))} / ${number(failed)}`, number(checks("valid") + checks("cached")), number(checks("expired") + checks("invalid"))];
  });
  table("keys", "Fetches and checks since the start", ["Issuer", "Keys", "#Fetched / failed", "#Good", "#Refused"], rows, "No issuer is configured.");
  const list = JSON.stringify(issuers);
  if (at("issuers").dataset.key !== list) {
    at("issuers").dataset.key = list;
    at("issuers").replaceChildren(...issuers.map((issuer) => node("option", { value: issuer })));
    if (issuers.length && !at("issuer").value) at("issuer").value = issuers[0];
  }
}

function drawProcess() {
  const one = (name) => now().families.get(name)?.[0];
  const build = one("valet_build_info")?.labels ?? {};
  at("build").textContent = `${build.version ?? ""} (${build.revision ?? ""})`;
  const entries = [["Version", `${build.version}, revision ${build.revision}`]];
  const started = one("process_start_time_seconds")?.value;
  if (started) entries.push(["Started", `${moment(started)}, ${span(Date.now() / 1000 - started)} ago`]);
  const loaded = one("valet_config_loaded_timestamp_seconds")?.value;
  if (loaded) entries.push(["Configuration loaded", `${moment(loaded)}, ${span(Date.now() / 1000 - loaded)} ago`]);
  const digest = one("valet_config_info")?.labels.digest;
  if (digest) entries.push(["Its digest", digest.slice(0, 16)]);
  for (const outcome of ["applied", "refused"]) {
    const count = sum(now(), "valet_reloads_total", { outcome });
    if (count) entries.push([`Reloads ${outcome}`, number(count)]);
  }
  const memory = one("process_resident_memory_bytes")?.value;
  if (memory) entries.push(["Memory", `${whole.format(memory / 1048576)} MiB`]);
  entries.push(["Processor", `${(100 * rate("process_cpu_seconds_total", {})).toFixed(0)} % of a core`]);
  entries.push(["File descriptors", `${number(one("process_open_fds")?.value ?? 0)} of ${number(one("process_max_fds")?.value ?? 0)}`]);
  const lost = sum(now(), "valet_store_operations_total", { outcome: "lost" });
  const store = sum(now(), "valet_store_operations_total");
  entries.push(["Store of leases", store ? `${number(store)} calls, ${number(lost)} lost` : "none was asked"]);
  for (const { labels, value } of now().families.get("valet_tls_certificate_expiry_timestamp_seconds") ?? []) {
    entries.push([`Certificate ${labels.chain}`, `ends ${moment(value)}, in ${span(Math.max(0, value - Date.now() / 1000))}`]);
  }
  const sent = sum(now(), "valet_spans_total", { outcome: "sent" });
  const spans = sum(now(), "valet_spans_total");
  if (spans) entries.push(["Spans", `${number(sent)} sent, ${number(spans - sent)} not`]);
  const lines = sum(now(), "valet_log_lines_lost_total");
  if (lines) entries.push(["Log lines lost", number(lines)]);
  at("process").replaceChildren(...entries.flatMap(([name, value]) => [node("dt", {}, name), node("dd", {}, value)]));
}

function draw() {
  drawCards();
  drawLife();
  drawSources();
  drawRefused();
  drawVendors();
  drawApps();
  drawKeys();
  drawProcess();
}

async function read() {
  try {
    const [metrics, ready] = await Promise.all([
      fetch("/metrics", { headers: { accept: "text/plain" }, signal: AbortSignal.timeout(5000) }),
      fetch("/readyz?page", { signal: AbortSignal.timeout(5000) }),
    ]);
    readings.push({ time: Date.now(), families: parse(await metrics.text()) });
    if (readings.length > KEPT) readings.shift();
    drawState({ status: ready.status, body: await ready.json() });
    draw();
    at("updated").textContent = `read at ${new Date().toLocaleTimeString("en", { hour12: false })}`;
    if (token !== null) await drawLast();
  } catch {
    setState("bad", "This node does not answer");
  }
  setTimeout(read, PAUSE);
}

// --- administration ----------------------------------------------------------------------------

const call = (path, method = "GET", body) =>
  fetch(path, { method, body: body && JSON.stringify(body), headers: { authorization: `Bearer ${token}`, accept: "application/json", ...(body && { "content-type": "application/json" }) } });

function say(text, bad = false) {
  at("said").hidden = false;
  at("said").className = bad ? "note bad" : "note";
  at("said").textContent = text;
}

function forget() {
  token = null;
  at("token").value = "";
  at("tools").hidden = true;
  at("forget").hidden = true;
}

at("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  if (!token) return forget();
  let answer;
  try {
    answer = await call("/api/mints?limit=1");
  } catch {
    return say("This node does not answer.", true);
  }
  if (!answer.ok) {
    forget();
    return say(answer.status === 404 ? "No [admin] token is configured here, so nothing can be administered." : "The token is not the one of [admin].", true);
  }
  at("tools").hidden = false;
  at("forget").hidden = false;
  say("The token is good. It is kept until this page is closed.");
  await drawLast();
});

at("forget").addEventListener("click", () => {
  forget();
  say("The token is forgotten.");
});

async function drawLast() {
  const cell = (value) => value ?? "–";
  const mints = await call("/api/mints?limit=25");
  if (mints.status === 401) {
    forget();
    return say("The token is not good any more.", true);
  }
  if (mints.ok) {
    const rows = (await mints.json()).mints.map((mint) => [mint.time, mint.plugin, mint.reason, { text: mint.outcome, kind: mint.outcome === "ok" ? "good-text" : "bad-text" }, `${number(mint.duration_ms)} ms`, mint.remaining_s === null ? "–" : span(mint.remaining_s), mint.subject]);
    table("mints", "The newest first", ["Time", "Plug-in", "Reason", "Outcome", "#Took", "#Life", "Subject (hash)"], rows, "No mint yet.");
  }
  const requests = await call("/api/requests?limit=25");
  if (requests.ok) {
    const rows = (await requests.json()).requests.map((one) => [one.time, { text: `${one.status} ${one.outcome}`, kind: one.status >= 500 ? "bad-text" : "" }, cell(one.route), `${cell(one.method)} ${cell(one.path)}`, cell(one.policy ?? one.cause ?? one.session_check), one.request_id]);
    table("requests", "The newest first; valet explain --request ID tells one of them step by step", ["Time", "Outcome", "Route", "Asked", "Because of", "Request"], rows, "Nothing was refused, and nothing was minted.");
  }
}

/** Asks before anything is done. */
function sure(title, text, yes) {
  at("sure-title").textContent = title;
  at("sure-text").textContent = text;
  at("sure-yes").textContent = yes;
  at("sure").returnValue = "no";
  at("sure").showModal();
  return new Promise((done) => at("sure").addEventListener("close", () => done(at("sure").returnValue === "yes"), { once: true }));
}

async function act(what, path, body) {
  try {
    const answer = await call(path, "POST", body);
    const text = await answer.text();
    let told;
    try {
      told = text ? JSON.parse(text) : {};
    } catch {
      told = {};
    }
    if (answer.ok) {
      const changed = told.changed ? (told.changed.length ? `: ${told.changed.join(", ")}` : ": nothing has changed") : "";
      return say(`${what}: done${changed}.`);
    }
    say(`${what}: refused (${answer.status}). ${told.title ?? (told.faults ?? []).join(" ")}`, true);
  } catch {
    say(`${what}: this node does not answer.`, true);
  }
}

at("person").addEventListener("submit", async (event) => {
  event.preventDefault();
  const revokes = event.submitter?.value === "revoke";
  const [kind, name] = [at("kind").value, at("name").value];
  const body = { issuer: at("issuer").value, [kind]: name };
  const title = revokes ? "Revoke?" : "Drop leases?";
  const text = revokes ? `Every session of this ${kind} ends now, and its leases are dropped.` : `The leases of this ${kind} are dropped; the next visit mints anew.`;
  if (!(await sure(title, `${text} ${kind}: ${name}`, revokes ? "Revoke" : "Drop"))) return;
  await act(revokes ? "Revocation" : "Dropping leases", revokes ? "/api/sessions/revoke" : "/api/leases/drop", body);
  at("name").value = "";
});

at("reload").addEventListener("click", async () => {
  if (await sure("Reload?", "Configuration, policies, keys and secrets are read again. A fault leaves all as it is.", "Reload")) await act("Reload", "/api/reload");
});

at("drain").addEventListener("click", async () => {
  if (await sure("Drain and stop?", "This node stops taking requests, ends what is under way, and then its process ends.", "Drain")) await act("Drain", "/api/drain");
});

read();
