"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const { plugin, split } = document.body.dataset;
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const show = (id, text) => {
    at(id).hidden = !text;
    at(id).textContent = text || "";
  };

  // ---- The app: who is signed in, and the frame. It never sees a link: the frame's address is Valet's.

  let frame = null;
  let succeeded = false;

  const clearFrame = () => {
    frame?.remove();
    frame = null;
    at("frame").hidden = true;
    at("done").hidden = true;
  };

  // A new frame each time: another address in the old one would be one more step for the browser's back button.
  const newFrame = (title) => {
    clearFrame();
    succeeded = false;
    at("messages").replaceChildren();
    at("events").hidden = false;
    frame = make("iframe");
    frame.id = "plugin";
    frame.name = "plugin";
    frame.title = title;
    // The camera is for the plug-in's own origin, where the redirect leads: "camera" alone would mean the gateway's.
    frame.allow = `camera ${plugin}`;
    at("frame").append(frame);
    at("frame").hidden = false;
    return frame;
  };

  const open = (name, title) => {
    newFrame(title).src = `/plugins/${name}`;
  };

  const MEANING = {
    startnewmeasurement: "the scan’s page is ready",
    recordingstarted: "the camera records",
    recordingstopped: "enough was recorded",
    facescansuccessful: "the result is with the vendor",
    userfinished: "the person has finished",
    dismiss: "close me",
  };

  const finish = () => {
    // Who pressed a button in the frame is in it, and it goes: what is said in its place is where that person goes on.
    const wasInside = document.activeElement === frame;
    clearFrame();
    at("done-title").textContent = succeeded ? "Scan complete" : "Scan ended";
    at("done-text").textContent = succeeded
      ? "The plug-in said so in its messages. The dashboard shows what came of it."
      : "It was ended before it was complete.";
    at("done").hidden = false;
    if (wasInside) at("done-title").focus();
  };

  addEventListener("message", (event) => {
    // From our frame, and from the plug-in's origin: anybody may post messages to a page.
    if (!frame || event.source !== frame.contentWindow || event.origin !== plugin) return;
    let stage;
    try {
      stage = String(JSON.parse(event.data).stage);
    } catch {
      return;
    }
    const line = make("li", undefined, "fresh");
    line.append(make("time", clock(new Date())), make("code", stage), make("span", MEANING[stage.toLowerCase()] || "", "note"));
    at("messages").append(line);
    at("messages").scrollTop = at("messages").scrollHeight;
    if (stage.toLowerCase() === "facescansuccessful") succeeded = true;
    if (stage.toLowerCase() === "dismiss") finish();
  });

  const ask = (path, body) =>
    fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });

  // 401: a session that is no good, as of a demo that has ended. One signs in anew.
  const whoIsThere = async () => {
    const answer = await ask("/me");
    if (answer.status === 401) return {};
    if (answer.status !== 200) throw new Error(`${answer.status}`);
    return answer.json();
  };

  let known = null;
  let asked = 0;
  let askAgain = null;
  const recognise = async () => {
    clearTimeout(askAgain);
    // Of two questions under way the later one counts: the answer to the earlier may be of somebody who has logged out since.
    const mine = (asked += 1);
    const answer = await whoIsThere().catch(() => null);
    if (mine !== asked) return;
    if (!answer) {
      // The feed may be there all the time, so nothing else would ask again.
      lost("app", true);
      askAgain = setTimeout(recognise, 1500);
      return;
    }
    lost("app", false);
    tell(answer);
  };
  const tell = ({ name, received, credential }) => {
    if (known && !name) {
      clearFrame();
      at("welcome").textContent = "Your session has ended. Sign in again, as the same person or as another.";
    }
    // Another tab has signed somebody else in: a browser has one session.
    if (known && name && known !== name) clearFrame();
    known = name;
    at("who").textContent = name || "";
    at("signed-in").hidden = !name;
    at("signed-out").hidden = Boolean(name);
    if (name) at("old-session").hidden = true;
    at("received").hidden = !name;
    at("has-cookie").textContent = name ? "Has a session cookie." : "Has no session that is good.";
    at("fields").replaceChildren(...Object.entries(received || {}).map(([field, value]) => {
      const line = make("li");
      line.append(make("code", field), make("strong", value));
      return line;
    }));
    tellHint();
    at("credential").dataset.came = String(credential);
    at("credential").textContent = credential
      ? "A credential came too: Valet should have cut it out."
      : "No credential came with them: Valet read your session’s cookie, and cut it out.";
  };

  at("address").textContent = location.host;
  at("scan").addEventListener("click", () => open("face-scan", "Face scan"));
  at("dashboard").addEventListener("click", () => open("health-dashboard", "Health dashboard"));
  at("again-form").addEventListener("submit", () => void newFrame("Face scan"));
  at("log-out").addEventListener("click", async () => {
    const answer = await ask("/logout", {}).catch(() => null);
    if (!answer?.ok) return void recognise();
    clearFrame();
    at("events").hidden = true;
    known = null;
    at("welcome").textContent = "Logged out. Sign in again, as the same person or as another.";
    await recognise();
    at("sign-in").focus();
  });

  at("sign-out").addEventListener("click", async () => {
    const order = await ask("/api/sign-out", {}).catch(() => null);
    // In a request of no session: Valet closes those of a session that ends.
    const answer = order?.ok ? await ask("/sign-out", await order.json()).catch(() => null) : null;
    if (!answer?.ok) return void recognise();
    clearFrame();
    at("events").hidden = true;
    known = null;
    at("welcome").textContent = "Signed out everywhere. Your browser still has the cookie, and its token is good for hours. Try it: Valet opens nothing for it any more.";
    at("old-session").hidden = false;
    // Nobody is signed in: the page need not ask, and what it has asked before is of no use.
    clearTimeout(askAgain);
    asked += 1;
    tell({});
    at("old-session").focus();
  });
  at("old-session").addEventListener("click", () => open("face-scan", "Face scan"));

  // ---- The picture: what Valet says of itself.

  const clock = (date) => date.toTimeString().slice(0, 8);
  const span = (us) => (us < 1000 ? `${us} µs` : us < 1e6 ? `${(us / 1000).toFixed(us < 10000 ? 1 : 0)} ms` : `${(us / 1e6).toFixed(1)} s`);
  const life = (seconds) => {
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
    return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${seconds} s`;
  };

  const SESSION = {
    valid: ["verified just now", "Your session is good: its signature, issuer, audience and time were verified just now."],
    cached: ["good, verified before", "Your session is good: it was verified before."],
    expired: ["has expired", "Your session has expired."],
    revoked: ["ended by a sign-out", "This session was ended by a sign-out, before its token ends."],
    invalid: ["is not valid", "The session is not valid."],
    absent: ["none came", "No session came with this request."],
    unavailable: ["can’t be checked", "Sessions can’t be checked: the identity provider’s keys can’t be had."],
  };
  const ASKED = split
    ? "The edge had no link for you and asked the minter, which asked the vendor with the API key. The edge holds the new one."
    : "Valet had no link for you, asked the vendor with the API key, and holds the new one.";
  const LINK = {
    hit: { short: "held already", told: "Valet held your link already, so the vendor was not asked.", vendor: "not-asked", asked: "not asked" },
    minted: { short: "new", told: ASKED, vendor: "asked", asked: "asked, gave a link" },
    joined: { short: "shared", told: "Another request of yours was asking the vendor already: this one waited for the same link.", vendor: "asked", asked: "asked once for all" },
  };
  const FAILED = {
    provider_timeout: ["asked, no answer", "Valet asked the vendor for a link and got no answer in time. It handed out nothing."],
    provider_busy: ["wants a pause", "The vendor wants to be left alone for a moment, so Valet does. It handed out nothing."],
    provider_error: ["no link", "Valet could get no link from the vendor. It handed out nothing."],
  };
  // By what is wrong with the vendor, where that says more than the outcome does.
  const WHY = {
    unreachable: { provider_error: ["can’t be reached", "Valet could not reach the vendor. It handed out nothing."] },
    foreign: { provider_error: ["its link was refused", "The vendor’s link leads to a host that was not allowed, so Valet refused it. It handed out nothing."] },
    busy: { provider_busy: ["wants a pause of 5 s", "The vendor answered 429 and asked for a pause of 5 s: for so long Valet asks it nothing. It handed out nothing."] },
  };

  const step = (name, state, text) => {
    const place = document.querySelector(`#path [data-step="${name}"]`);
    place.dataset.state = state;
    place.querySelector('[data-part="what"]').textContent = text;
  };

  // Routes, as the access log names them.
  const PLUGINS = ["face-scan", "health-dashboard"];
  const ME = "app-me";
  const isLogout = (line) => line.path === "/logout" && line.status === 204;
  const isSignOut = (line) => line.path === "/.valet/backchannel-logout" && line.status === 200;

  const drawLogout = (line) => {
    step("session", "idle", "none: logged out");
    step("link", "idle", "not wanted");
    step("vendor", "not-asked", "not asked");
    step("browser", "opened", `${line.method} ${line.path} → ${line.status}`);
    at("story").textContent = "You have logged out: the app made your browser forget the session’s cookie. Valet hands out nothing until somebody signs in.";
  };

  const drawSignOut = (line) => {
    step("session", "revoked", "ended, everywhere");
    step("link", "none", "dropped");
    step("vendor", "not-asked", "not asked");
    step("browser", "idle", "–");
    at("story").textContent = `The identity provider told Valet, by a signed logout token, that this person has signed out. Valet ended all of that person’s sessions and dropped the links that it held for them. Answer: ${line.status} in ${span(line.duration_us)}.`;
  };

  const drawApp = (line) => {
    const [check, checked] = SESSION[line.session_check];
    const told = {
      valid: "Valet told the app who you are, and kept the session to itself.",
      expired: "To the app, nobody is signed in.",
    };
    step("session", line.session_check, check);
    step("link", "idle", "not wanted");
    step("vendor", "not-asked", "not asked");
    step("browser", line.status === 200 ? "opened" : "failed", `${line.method} ${line.path} → ${line.status}`);
    const outcome = told[line.session_check === "cached" ? "valid" : line.session_check] || "The app was not asked.";
    at("story").textContent = `${checked} ${outcome} Answer: ${line.status} in ${span(line.duration_us)}.`;
  };

  const draw = (line, trouble) => {
    const [check, checked] = SESSION[line.session_check] || ["not looked at", ""];
    const good = line.session_check === "valid" || line.session_check === "cached";
    const left = line.remaining_s === null ? "" : ` The link is good for another ${life(line.remaining_s)}.`;
    let told;
    if (line.source) {
      const link = LINK[line.source];
      told = link.told;
      step("link", line.source, `${link.short}, good for ${life(line.remaining_s)}`);
      step("vendor", link.vendor, link.asked);
    } else if (good && line.outcome === "forbidden" && line.policy) {
      told = `Valet’s policies don’t let this person open it: “${line.policy}” forbids it. Nothing was handed out, and the vendor was not asked.`;
      step("link", "failed", `forbidden by “${line.policy}”`);
      step("vendor", "not-asked", "not asked");
    } else if (good) {
      const [short, long] = WHY[trouble]?.[line.outcome] || FAILED[line.outcome] || ["not asked", "Valet refused this request."];
      told = long;
      step("link", "failed", "none");
      step("vendor", FAILED[line.outcome] ? "failed" : "not-asked", short);
    } else {
      told = "Nothing was handed out, and the vendor was not asked.";
      step("link", "none", "none handed out");
      step("vendor", "not-asked", "not asked");
    }
    step("session", line.session_check || "idle", check);
    step("browser", line.source ? "opened" : "failed", `${line.method} ${line.path} → ${line.status}`);
    at("story").textContent = `${checked} ${told} Answer: ${line.status} in ${span(line.duration_us)}.${left}`.trim();
  };

  const row = (line) => {
    const cells = [
      clock(new Date(line.time)), `${line.method || "?"} ${line.path || ""}`, line.session_check || "–", line.source || "–",
      line.source ? String(line.status) : `${line.status} ${line.outcome}`, span(line.duration_us),
    ].map((text) => make("td", text));
    if (!line.source && !["forwarded", "login"].includes(line.outcome)) cells[4].className = "bad";
    const tr = make("tr");
    tr.append(...cells);
    return tr;
  };

  const CALLS = { mint: "Make a link", register: "Register a person", lookup: "Find a person", "key-check": "Is this key good?" };
  const callLine = (call) => {
    const key = call.key.verdict === "missing" ? "no key" : `${call.key.place === "header" ? "x-api-key" : "apikey"}: ${call.key.masked}`;
    const status = call.status === null ? "no answer" : String(call.status);
    const line = make("li");
    line.append(
      make("time", clock(new Date(call.at))), make("strong", CALLS[call.kind] || "Other"),
      make("code", `${call.method} ${call.path}`), make("span", key, "note"), make("span", `→ ${status}`),
    );
    return line;
  };

  const HINTS = {
    slow: "The vendor now answers after 20 s; Valet waits 3 s.",
    unreachable: "Nothing listens at the vendor’s address now.",
    busy: "The vendor now answers 429, and asks for a pause of 5 s.",
    foreign: "The vendor now hands out links to a host that was never allowed.",
  };
  const TRY = {
    in: "A link that Valet holds goes on working: press Start face scan. To see what a person sees without one, press Scan again.",
    out: "Press Sign in, and then Start face scan, to see what a person sees.",
  };
  // What a button has done, and what to press next: a button that is there.
  const NOTES = {
    ahead: (view) => ({
      told: `The clock is ${life(view.ahead_s)} ahead: every link has ended.`,
      in: "Press Start face scan: Valet asks for a new one. Set the clock right goes back.",
      out: "Press Sign in and start a scan: Valet asks for a new one. Set the clock right goes back.",
    }),
    right: () => ({
      told: "The clock is right again. What was signed in the time ahead may not be good yet.",
      in: "Where something is refused, log out and sign in again.",
      out: "Press Sign in.",
    }),
    key: () => ({
      told: "The identity provider signs with a new key now. Sessions of the old key stay good.",
      in: "Log out and sign in again, and Valet fetches the new key when it sees it.",
      out: "Press Sign in, and Valet fetches the new key when it sees it.",
    }),
    rested: () => ({
      told: "The vendor is well again. The pause of 5 s that it had asked for goes on to its end: until then Valet asks it nothing.",
      in: "A link that Valet holds goes on working.",
      out: "",
    }),
  };

  let newest = { request: 0, call: 0 };
  // What was shown last; `null` of a feed that has just begun.
  let before = null;
  let trouble = "none";
  let note = null;

  // Again whenever somebody has signed in or out: the buttons are others then.
  const tellHint = () => {
    const where = known ? "in" : "out";
    if (HINTS[trouble]) return show("hint", `${HINTS[trouble]} ${TRY[where]}`);
    show("hint", note && `${note.told} ${note[where]}`.trim());
  };

  const mark = (element, n, last) => {
    if (n > last) element.classList.add("fresh");
    return element;
  };

  const update = (view) => {
    for (const place of all("[data-counter]")) place.textContent = view.counters[place.dataset.counter];
    for (const button of all("[data-trouble]")) button.setAttribute("aria-pressed", String(button.dataset.trouble === view.trouble));
    at("set-back").hidden = view.ahead_s === 0;
    if (before && view.ahead_s !== before.ahead_s) {
      note = view.ahead_s ? NOTES.ahead(view) : NOTES.right();
      void recognise();
    }
    if (before && view.key !== before.key) note = NOTES.key();
    if (before?.trouble === "busy" && view.trouble === "none") note = NOTES.rested();
    // A demo that was started anew counts from the start.
    if (!before && (view.requests[0]?.n ?? 0) < newest.request) newest = { request: 0, call: 0 };
    before = view;
    trouble = view.trouble;
    tellHint();

    // That nobody is signed in is no story.
    const isStory = (line) => PLUGINS.includes(line.route) || isLogout(line) || isSignOut(line) || (line.route === ME && line.session_check !== "absent");
    const last = view.requests.find(isStory);
    if (last && last.n > newest.request) (isLogout(last) ? drawLogout : isSignOut(last) ? drawSignOut : last.route === ME ? drawApp : draw)(last, view.trouble);
    document.querySelector("#requests tbody").replaceChildren(...view.requests.map((line) => mark(row(line), line.n, newest.request)));
    at("calls").replaceChildren(...view.calls.map((call) => mark(callLine(call), call.n, newest.call)));
    if (!view.calls.length) at("calls").append(make("li", "Nothing yet.", "empty"));
    if (view.requests.length) {
      const { n, ...line } = view.requests[0];
      at("raw").textContent = JSON.stringify(line);
    }
    newest = { request: view.requests[0]?.n ?? 0, call: view.calls[0]?.n ?? 0 };
  };

  const press = (button, path, body, done) =>
    button.addEventListener("click", async () => {
      button.disabled = true;
      note = null;
      tellHint();
      show("tabs-result", "");
      try {
        const answer = await ask(path, body);
        if (done) done(answer.status, answer.status === 200 ? await answer.json() : null);
      } catch {
        void recognise();
      } finally {
        button.disabled = false;
        // A button that is disabled loses the focus; who has gone on elsewhere meanwhile stays there.
        if (document.activeElement === document.body) button.focus({ preventScroll: true });
      }
    });
  for (const button of all("[data-trouble]")) press(button, "/demo/trouble", { trouble: button.dataset.trouble });
  press(at("expire"), "/demo/clock", {});
  press(at("set-back"), "/demo/clock/right", {});
  press(at("rotate"), "/demo/keys", {});

  const tabsResult = (status, result) => {
    if (status === 401) return show("tabs-result", "Sign in first: the tabs are opened in your name.");
    if (!result) return show("tabs-result", "The tabs could not be opened.");
    const { tabs, opened, links, asked } = result;
    const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
    const refused = opened < tabs ? ` ${tabs - opened} were refused: the access log says why.` : "";
    show("tabs-result", `${tabs} tabs in one new session of yours, all at once: ${opened} opened, with ${count(links, "link")}. The vendor was asked for ${count(asked, "link")}.${refused}`);
  };
  press(at("tabs"), "/api/tabs", {}, tabsResult);

  // What can't be had now: the feed, who is signed in.
  const missing = new Set();
  const lost = (what, is) => {
    const cameBack = !is && missing.delete(what);
    if (is) missing.add(what);
    if (cameBack && what === "feed") void recognise();
    at("line-state").textContent = missing.size ? "the demo can’t be reached: is it still running?" : "live";
    at("line-state").classList.toggle("lost", missing.size > 0);
  };

  // A hidden page has no feed: a browser has few connections to a host, and other tabs need them.
  let feed = null;
  let again = null;
  const follow = () => {
    clearTimeout(again);
    feed?.close();
    feed = null;
    if (document.hidden) return;
    const own = new EventSource("/demo/feed");
    feed = own;
    own.addEventListener("open", () => {
      // What has changed while nobody listened was done by no button here.
      before = null;
      lost("feed", false);
    });
    own.addEventListener("message", (event) => update(JSON.parse(event.data)));
    own.addEventListener("error", () => {
      lost("feed", true);
      // A connection that breaks is tried again by the browser; an answer that is no feed is not.
      if (own === feed && own.readyState === EventSource.CLOSED) again = setTimeout(follow, 1500);
    });
  };
  document.addEventListener("visibilitychange", () => {
    follow();
    if (!document.hidden) void recognise();
  });

  void recognise();
  follow();
  // Back to this page from the browser's memory: somebody else may be signed in by now.
  addEventListener("pageshow", (event) => event.persisted && void recognise());
})();
