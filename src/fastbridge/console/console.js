// The console: all calls of this server, looked at once a second; one of them live.

import { follow } from "./feed.js";
import { Lanes } from "./lanes.js";

const LOOK_MS = 1000;
const LATER_MS = 5000; // after an answer that is none
const PATIENCE_MS = 5000;
const ROWS_MAX = 200;
const LINES_MAX = 100;
const TRIES_MAX = 60; // to meet the worker that has a call's journal
const TOKEN = "fastbridge console token";
const $ = (id) => document.getElementById(id);
const base = new URL(".", document.baseURI);

let rights = null;
let open = null; // the call looked at: { callSid, feed, isOver }
let sampled = [0, 0, 0, 0, 0, 0, 0, 0, 0];
const rows = new Map(); // call_sid -> its row
const lines = new Map(); // a barge-in's number -> its line

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

const lanes = new Lanes($("lanes"), {
  seconds: 12,
  rows: [
    { name: "voice", label: "Caller's voice", kind: "level", colour: "--voice" },
    { name: "ear", label: "AI audible at the ear", kind: "state", colour: "--ear" },
    { name: "queued", label: "AI queued", kind: "area", colour: "--queued", full: 20000,
      value: () => `${seconds(sampled[1])}, window ${sampled[2]} of ${rights?.window_frames ?? "?"} frames` },
    { name: "sent", label: "AI sent, not yet heard", kind: "area", colour: "--sent", full: 300,
      value: () => `${sampled[3]} ms` },
    { name: "speaking", label: "is_ai_speaking", kind: "state", colour: "--speaking" },
  ],
});
window.operator = { lanes, get open() { return open; } }; // for those who look in from outside

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const token = () => sessionStorage.getItem(TOKEN) ?? "";

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

class Uninvited extends Error {}

async function ask(path, options = {}) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const signal = options.signal ?? AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(new URL(path, base), { cache: "no-store", ...options, headers, signal });
  if (answer.status === 401) throw new Uninvited();
  return answer;
}

async function why(answer) {
  const text = (await answer.text()).trim();
  return `${answer.status}${text ? ` ${text.slice(0, 200)}` : ""}`;
}

// ------------------------------------------------------------------ the table

function state(call) {
  if (call.is_held) return "held: a sound is judged";
  const what = call.label === "GREETING" ? "greeting" : "AI speaks";
  if (call.is_ai_audible) return what;
  return call.is_ai_speaking ? `${what}, not heard yet` : "listening";
}

const CELLS = ["State", "Duration", "Carrier", "Barge-ins", "Worst time to silence", "Queued AI audio"];

function makeRow(callSid) {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  const first = document.createElement("td");
  first.setAttribute("role", "cell");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = callSid.length > 14 ? `${callSid.slice(0, 6)}…${callSid.slice(-6)}` : callSid || "(not started)";
  button.title = callSid;
  button.setAttribute("aria-label", `Look at call ${callSid}`);
  button.disabled = !callSid;
  button.addEventListener("click", () => look(callSid));
  first.append(button);
  row.append(first);
  for (const name of CELLS) {
    const cell = document.createElement("td");
    cell.setAttribute("role", "cell");
    cell.dataset.label = name;
    row.append(cell);
  }
  const meter = document.createElement("meter");
  meter.max = rights.window_frames;
  meter.setAttribute("aria-label", "Window filled");
  row.lastChild.append(meter, "");
  return row;
}

function fillRow(row, call) {
  const [, now, duration, carrier, bargeIns, worst, queue] = row.children;
  now.textContent = state(call);
  duration.textContent = clock(call.seconds);
  carrier.textContent = `${call.carrier}, worker ${call.worker}`;
  bargeIns.textContent = call.barge_ins;
  worst.textContent = call.silence_worst_ms ? `${call.silence_worst_ms} ms` : "–";
  queue.firstChild.value = call.window_frames_filled;
  queue.lastChild.data = seconds(call.unplayed_ms);
}

function show({ calls, silent }) {
  const seen = new Set();
  for (const call of calls.slice(0, ROWS_MAX)) {
    const key = call.call_sid || call.stream_sid || "";
    seen.add(key);
    let row = rows.get(key);
    if (!row) {
      row = makeRow(call.call_sid);
      rows.set(key, row);
      $("calls").tBodies[0].append(row);
    }
    fillRow(row, call);
  }
  for (const [key, row] of rows) {
    if (seen.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  if (open && !seen.has(open.callSid)) $("hang-up").disabled = true;
  $("calls").hidden = !rows.size;
  $("no-calls").hidden = rows.size > 0;
  $("more-calls").hidden = calls.length <= ROWS_MAX;
  $("more-calls").textContent = `The oldest ${ROWS_MAX} of ${calls.length} are shown; /calls lists all.`;
  const missing = silent.length ? `; no answer from worker ${silent.join(", ")}` : "";
  $("status").textContent = `${calls.length} ${calls.length === 1 ? "call" : "calls"} on the line${missing}.`;
}

async function turn() {
  if (!rights) {
    const answer = await ask("console/rights");
    if (!answer.ok) throw new Error(await why(answer));
    rights = await answer.json();
  }
  const answer = await ask("calls");
  if (!answer.ok) throw new Error(await why(answer));
  show(await answer.json());
  trouble("");
}

async function watch() {
  for (;;) {
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    let wait = LOOK_MS;
    try {
      await turn();
    } catch (problem) {
      if (problem instanceof Uninvited) return uninvited();
      trouble(`The server does not answer: ${problem.message}. What you see may be old; it is asked again in ${LATER_MS / 1000} s.`);
      wait = LATER_MS;
    }
    await pause(wait);
  }
}

function uninvited() {
  trouble(token() ? "This token is not the server's." : "");
  sessionStorage.removeItem(TOKEN);
  $("status").textContent = "This server asks for its console token.";
  $("access").hidden = false;
  $("access-token").value = "";
  $("access-token").focus();
}

// ------------------------------------------------------------------ one call

function look(callSid) {
  leave();
  open = { callSid, isOver: false };
  sampled = sampled.map(() => 0);
  lanes.clear();
  lines.clear();
  $("barge-ins").replaceChildren();
  $("no-barge-ins").hidden = false;
  $("one-title").textContent = `Call ${callSid}`;
  $("hang-up").hidden = !rights.hang_up;
  $("hang-up").disabled = false;
  $("journal").hidden = !rights.journals;
  $("one").hidden = false;
  $("one-status").textContent = "Looking for the worker that has this call …";
  rows.get(callSid)?.setAttribute("aria-current", "true");
  lanes.start();
  $("one-title").focus();
  const mine = open;
  open.feed = follow(callSid, { base, token: token(), on: {
    call: () => say(mine, "Live."),
    s: (sample, feed) => {
      sampled = sample;
      const now = feed.here(sample[0]);
      lanes.push("voice", now, sample[8] / 8192);
      lanes.push("ear", now, sample[6]);
      lanes.push("queued", now, sample[1]);
      lanes.push("sent", now, sample[3]);
      lanes.push("speaking", now, sample[5]);
    },
    b: (known, feed) => showBargeIn(known, feed),
    d: (dropped) => say(mine, `Live; ${dropped} messages were dropped because this page was too slow.`),
    end: (reason) => over(mine, `The call has ended: ${reason.replaceAll("_", " ")}.`),
    lost: (problem) => over(mine, problem === "404"
      ? "No worker that was asked has this call: it has ended, or chance never met the right worker. Close and open it again."
      : `No live picture: ${problem}.`),
  } });
}

function say(mine, text) {
  if (open === mine && !mine.isOver) $("one-status").textContent = text;
}

function over(mine, text) {
  say(mine, text);
  mine.isOver = true;
  if (open === mine) lanes.stop();
}

function leave() {
  if (!open) return;
  rows.get(open.callSid)?.removeAttribute("aria-current");
  open.feed.close();
  open.isOver = true;
  open = null;
  lanes.stop();
}

const SAID = { held: "Held, being judged", committed: "Interrupted", resumed: "A sound, and it went on" };

function showBargeIn(known, feed) {
  const outcome = known.outcome ?? "held";
  if (!(outcome in SAID)) return;
  const onset = known.onset ?? known.trigger;
  const silent = known.confirmed ?? known.silent;
  const ms = silent === undefined || !known.audible ? null : Math.round(silent - onset);
  const text = ms === null ? outcome : `${outcome} ${ms} ms`;
  const to = known.decided === undefined ? undefined : feed.here(known.decided);
  lanes.band({ id: known.n, from: feed.here(onset), to, text, colour: `--${outcome}` });
  let line = lines.get(known.n);
  if (!line) {
    line = document.createElement("li");
    lines.set(known.n, line);
    $("barge-ins").prepend(line);
    if (lines.size > LINES_MAX) lines.delete(lines.keys().next().value);
    while ($("barge-ins").childElementCount > LINES_MAX) $("barge-ins").lastChild.remove();
  }
  const bold = document.createElement("b");
  bold.className = outcome;
  bold.textContent = SAID[outcome];
  const small = document.createElement("small");
  const flushed = outcome === "committed" ? `, ${seconds(known.flushed_ms)} thrown away${known.heard_ms === undefined ? "" : `, heard ${seconds(known.heard_ms)}`}` : "";
  small.textContent = ` at ${clock(onset / 1000)}${ms === null ? "" : `, silent after ${ms} ms`}${flushed}`;
  line.replaceChildren(bold, small);
  $("no-barge-ins").hidden = true;
}

async function hangUp() {
  $("sure").close();
  const mine = open;
  if (!mine) return;
  $("hang-up").disabled = true;
  try {
    const answer = await ask(`calls/${encodeURIComponent(mine.callSid)}`, { method: "DELETE" });
    if (!answer.ok && answer.status !== 404) throw new Error(await why(answer));
  } catch (problem) {
    $("hang-up").disabled = false;
    trouble(`The call was not hung up: ${problem.message}.`);
  }
}

// A worker that does not have the call says 404 and closes: another one may have it.
async function download() {
  const { callSid } = open;
  $("journal").disabled = true;
  try {
    let answer = null;
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      answer = await ask(`calls/${encodeURIComponent(callSid)}/journal`, { signal: AbortSignal.timeout(600_000) });
      if (answer.status !== 404) break;
      await pause(100);
    }
    if (!answer.ok) throw new Error(await why(answer));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `${callSid}.fbjournal`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (problem) {
    trouble(`No journal: ${problem.message}.`);
  }
  $("journal").disabled = false;
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("access-token").value);
  $("access").hidden = true;
  trouble("");
  watch();
});
$("close").addEventListener("click", () => {
  const callSid = open?.callSid;
  leave();
  $("one").hidden = true;
  rows.get(callSid)?.querySelector("button").focus();
});
$("hang-up").addEventListener("click", () => {
  $("sure-call").textContent = open.callSid;
  $("sure").showModal();
});
$("keep").addEventListener("click", () => $("sure").close());
$("hang-up-now").addEventListener("click", hangUp);
$("journal").addEventListener("click", download);
addEventListener("pagehide", () => open?.feed.close());
watch();
