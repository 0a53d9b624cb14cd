// The phone: a microphone, an ear, one media stream in Twilio's dialect, and the picture of it.

import { follow } from "./feed.js";
import { Lanes } from "./lanes.js";
import { rms } from "./mulaw.js";
import { Stream } from "./stream.js";
import { Interruptions } from "./interruptions.js";

const KEYS = "123456789*0#";
const WORDS_MAX = 100; // lines kept of each list
const $ = (id) => document.getElementById(id);
const base = new URL(".", document.baseURI);
const here = new URL("phone/", base);

let call = null; // the one that runs
let loudAtEar = 0;
let sampled = [0, 0, 0, 0, 0, 0, 0, 0, 0];

const lanes = new Lanes($("lanes"), {
  seconds: 12,
  rows: [
    { name: "voice", label: "Your voice", kind: "level", colour: "--voice" },
    { name: "ear", label: "AI heard (at your ear)", kind: "level", colour: "--ear" },
    { name: "queued", label: "AI queued", kind: "area", colour: "--queued", full: 20000,
      value: () => `${(sampled[1] / 1000).toFixed(1)} s, window ${sampled[2]} of 150 frames` },
    { name: "sent", label: "AI sent, not yet heard", kind: "area", colour: "--sent", full: 300,
      value: () => `${sampled[3]} ms` },
    { name: "speaking", label: "is_ai_speaking", kind: "state", colour: "--speaking" },
  ],
});
const interruptions = new Interruptions();
// For those who look in from outside (tests, the curious in the browser's console).
window.phone = { lanes, interruptions, get call() { return call; } };

function say(text) {
  $("status").textContent = text;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

const REFUSED = {
  NotAllowedError: "The microphone was refused. Allow it for this page (the icon beside the address), then press Call.",
  NotFoundError: "No microphone was found. Connect one, then press Call.",
  NotReadableError: "The microphone is in use by another program, or the system keeps it. Free it, then press Call.",
  OverconstrainedError: "The chosen microphone is gone. Choose another one, then press Call.",
};

class Trouble extends Error {}

function insecure() {
  if (window.isSecureContext && navigator.mediaDevices) return "";
  return `This page is not in a secure context, so the browser gives it no microphone. Open it as http://127.0.0.1:${location.port || 80}/phone on the machine itself, or over https.`;
}

async function microphone() {
  const chosen = $("microphone").value;
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  if (chosen) audio.deviceId = { exact: chosen };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (problem) {
    throw new Trouble(REFUSED[problem.name] ?? `The microphone could not be opened: ${problem.message}`);
  }
}

async function names() {
  const token = $("access-token").value;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(new URL("phone/call", base), { method: "POST", headers }).catch(() => null);
  if (answer?.ok) return answer.json();
  if (answer?.status === 401) {
    $("access").hidden = false;
    $("access-token").focus();
    throw new Trouble("This server asks for its console token (FASTBRIDGE_CONSOLE_TOKEN). Enter it, then press Call.");
  }
  const why = answer ? `${answer.status} ${(await answer.text()).trim()}` : "it does not answer";
  throw new Trouble(`The server takes no call: ${why}.`);
}

async function listMicrophones() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "audioinput");
  const chosen = $("microphone").value;
  const options = devices.filter((one) => one.deviceId && one.deviceId !== "default")
    .map((one, at) => new Option(one.label || `Microphone ${at + 1}`, one.deviceId));
  $("microphone").replaceChildren(new Option("System default", ""), ...options);
  if (options.some((one) => one.value === chosen)) $("microphone").value = chosen;
}

class Call {
  constructor() {
    this.received = 0;
    this.isOver = false;
  }

  async begin() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    const modules = ["mouth.js", "ear.js"].map((name) => this.context.audioWorklet.addModule(new URL(name, here)));
    this.media = await microphone();
    await Promise.all([...modules, this.context.resume()]);
    listMicrophones();
    const given = await names();
    if (this.isOver) return;
    this.stream = new Stream(given);
    this.wire(given);
    this.stream.open(base);
  }

  wire(given) {
    const { context, stream } = this;
    this.ear = new AudioWorkletNode(context, "ear", { numberOfInputs: 0, outputChannelCount: [1] });
    this.gain = context.createGain();
    this.ear.connect(this.gain).connect(context.destination);
    this.volume();
    this.mouth = new AudioWorkletNode(context, "mouth", { numberOfOutputs: 0 });
    this.listen();
    this.ear.port.onmessage = ({ data }) => this.heard(data);
    this.mouth.port.onmessage = ({ data }) => this.spoke(data);
    stream.onmedia = (media) => {
      this.received += 1;
      this.ear.port.postMessage({ media }, [media.buffer]);
    };
    stream.onmark = (mark) => this.ear.port.postMessage({ mark });
    stream.onclear = () => this.ear.port.postMessage({ clear: true });
    stream.addEventListener("answered", () => {
      say("Connected. Listen, and interrupt.");
      this.look(given);
    });
    stream.addEventListener("closed", ({ detail }) => this.end(detail.reason || `line closed (${detail.code})`));
  }

  listen() {
    this.source?.disconnect();
    this.source = this.context.createMediaStreamSource(this.media);
    this.source.connect(this.mouth);
  }

  async change() {
    const media = await microphone();
    for (const track of this.media.getTracks()) track.stop();
    this.media = media;
    this.mute();
    this.listen();
  }

  mute() {
    const isMuted = $("mute").getAttribute("aria-pressed") === "true";
    for (const track of this.media.getTracks()) track.enabled = !isMuted;
  }

  volume() {
    this.gain.gain.value = $("volume").value / 100;
  }

  // Milliseconds of the context's clock, in this page's.
  page(seconds) {
    this.offset = Math.min(this.offset ?? Infinity, performance.now() - seconds * 1000);
    return seconds * 1000 + this.offset;
  }

  spoke({ frame, at }) {
    lanes.push("voice", this.page(at), rms(frame));
    const half = frame.length / 2; // 10 ms
    interruptions.voice(rms(frame.subarray(0, half)), at - 0.01, 0.01);
    interruptions.voice(rms(frame.subarray(half)), at, 0.01);
    this.stream.media(frame);
  }

  heard(data) {
    if (data.echo) for (const name of data.echo) this.stream.echo(name);
    if (data.level !== undefined) {
      loudAtEar = data.level;
      lanes.push("ear", performance.now(), loudAtEar);
    }
    if (data.began !== undefined) interruptions.began(data.began);
    if (data.silent !== undefined) {
      if (interruptions.silent(data.silent, data.cut, this.stream.place)) showFigures();
    }
  }

  look({ callSid, view }) {
    this.feed = follow(callSid, { base, token: view, on: {
      s: (sample, feed) => {
        sampled = sample;
        const now = feed.here(sample[0]);
        lanes.push("queued", now, sample[1]);
        lanes.push("sent", now, sample[3]);
        lanes.push("speaking", now, sample[5]);
      },
      b: (known, feed) => showBargeIn(known, feed),
      w: (words) => showWords(words),
      d: (dropped) => { this.missed = dropped; },
      lost: (why) => say(`Connected, without a live picture (${why}).`),
    } });
  }

  end(reason) {
    if (this.isOver) return;
    this.isOver = true;
    this.feed?.close();
    this.stream?.stop();
    for (const track of this.media?.getTracks() ?? []) track.stop();
    this.mouth?.port.postMessage("close");
    this.ear?.port.postMessage({ close: true });
    this.context?.close();
    if (call === this) over(reason);
  }
}

const lines = new Map(); // a barge-in's number -> its line

function showBargeIn(known, feed) {
  const outcome = known.outcome ?? "held";
  const from = feed.here(known.onset ?? known.trigger);
  // In our own audio, from the frame with the onset to the place between two frames where the proof
  // of silence stood: what the network did is not in it. Nothing audible: nothing fell silent.
  const isProven = known.confirmed_at !== undefined;
  const server = isProven && known.audible ? known.confirmed_at - known.onset_at : null;
  const own = isProven ? interruptions.match(known.confirmed_at) : null;
  const all = { ...known, server, own: own?.ms ?? null };
  interruptions.known.set(known.n, all);
  while (interruptions.known.size > WORDS_MAX) interruptions.known.delete(interruptions.known.keys().next().value);
  if (outcome === "ignored" || outcome === "withdrawn") return;
  const to = known.decided === undefined ? undefined : feed.here(known.decided);
  const text = server === null ? outcome : `${outcome} ${Math.round(server)} ms`;
  lanes.band({ id: known.n, from, to, text, colour: `--${outcome}` });
  let line = lines.get(known.n);
  if (!line) {
    line = document.createElement("li");
    lines.set(known.n, line);
    $("barge-ins").prepend(line);
    trim($("barge-ins"), "lastChild");
  }
  line.replaceChildren(...describe(all, outcome));
  $("no-barge-ins").hidden = true;
  showFigures();
}

const SAID = { held: "Silent, being judged", committed: "Interrupted", resumed: "A sound, and it went on" };

function describe(all, outcome) {
  const bold = document.createElement("b");
  bold.className = outcome;
  bold.textContent = SAID[outcome];
  const parts = [];
  if (all.own !== null) parts.push(`silent at your ear after ${Math.round(all.own)} ms`);
  if (all.server !== null) parts.push(`server: ${Math.round(all.server)} ms`);
  const small = document.createElement("small");
  if (outcome === "committed") small.textContent = `${seconds(all.flushed_ms)} of queued answer thrown away; the AI ${all.heard_ms === undefined ? "is told what you heard of it as soon as that is proven" : `was told that you heard ${all.heard_ms} ms of it`}`;
  else if (outcome === "resumed") small.textContent = `${all.speech_ms} ms of sound (${all.reason.replace("_", " ")}); ${all.rewound_ms} ms stepped back, nothing lost`;
  return [bold, ` ${parts.join(", ")}`, small];
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

const said = new Map(); // an item's id -> its line's text

function showWords([, who, item, text, whole]) {
  let line = said.get(item);
  if (!line) {
    line = document.createElement("li");
    const name = document.createElement("small");
    name.textContent = who === "ai" ? "AI" : "You";
    line.append(name, "");
    said.set(item, line);
    $("words").append(line);
    trim($("words"), "firstChild");
    if (said.size > WORDS_MAX) said.delete(said.keys().next().value);
  }
  line.lastChild.data = whole ? text : line.lastChild.data + text;
  $("no-words").hidden = true;
  $("words").scrollTop = $("words").scrollHeight;
}

function trim(list, end) {
  while (list.childElementCount > WORDS_MAX) list[end].remove();
}

function showFigures() {
  const own = interruptions.found.at(-1);
  $("own").textContent = own ? `${Math.round(own.ms)} ms` : "–";
  const last = [...interruptions.known.values()].findLast((one) => one.server !== null);
  $("servers").textContent = last ? `${Math.round(last.server)} ms` : "–";
}

function tick() {
  const drawn = lanes.frames();
  if (drawn.frames) {
    $("drawing").textContent = `Drawing: ${drawn.fps.toFixed(0)} frames a second, 95 % within ${drawn.p95.toFixed(1)} ms, ${drawn.draw.toFixed(1)} ms of work each${call?.missed ? `; ${call.missed} live messages dropped` : ""}`;
  }
  if (!call?.stream?.began) return;
  const passed = Math.floor((performance.now() - call.stream.began) / 1000);
  $("duration").textContent = `${Math.floor(passed / 60)}:${String(passed % 60).padStart(2, "0")}`;
  $("frames").textContent = `${call.stream.chunk}, ${call.received}`;
  $("waiting").textContent = seconds(sampled[1]);
}

function buttons() {
  $("call").disabled = call !== null;
  $("hang-up").disabled = call === null;
  $("mute").disabled = call === null;
  for (const key of $("keypad").children) key.disabled = call === null;
}

function over(reason) {
  tick();
  call = null;
  lanes.stop();
  say(`Call ended: ${reason.replaceAll("_", " ")}.`);
  const hadFocus = document.activeElement === $("hang-up");
  buttons();
  if (hadFocus) $("call").focus();
}

async function dial() {
  if (call) return;
  trouble("");
  const problem = insecure();
  if (problem) return trouble(problem);
  lanes.clear();
  lines.clear();
  said.clear();
  interruptions.clear();
  sampled = sampled.map(() => 0);
  $("barge-ins").replaceChildren();
  $("words").replaceChildren();
  call = new Call();
  say("Calling …");
  buttons();
  $("hang-up").focus();
  lanes.start();
  const mine = call;
  try {
    await mine.begin();
  } catch (problem) {
    trouble(problem instanceof Trouble ? problem.message : `The call failed: ${problem.message}`);
    mine.end("not connected");
  }
}

function press(digit) {
  if (!call?.stream) return;
  call.stream.digit(digit);
  say(`Key ${digit} sent.`);
}

for (const digit of KEYS) {
  const key = document.createElement("button");
  key.type = "button";
  key.textContent = digit;
  key.setAttribute("aria-label", { "*": "Star", "#": "Hash" }[digit] ?? digit);
  key.addEventListener("click", () => press(digit));
  $("keypad").append(key);
}
$("call").addEventListener("click", dial);
$("hang-up").addEventListener("click", () => call?.end("you hung up"));
$("volume").addEventListener("input", () => call?.gain && call.volume());
$("mute").addEventListener("click", () => {
  const isMuted = $("mute").getAttribute("aria-pressed") !== "true";
  $("mute").setAttribute("aria-pressed", String(isMuted));
  if (call?.media) call.mute();
});
$("microphone").addEventListener("change", () => {
  if (call?.mouth) call.change().catch((problem) => trouble(problem.message));
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  dial();
});
document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName);
  if (!isTyping && !event.ctrlKey && !event.metaKey && !event.altKey && KEYS.includes(event.key)) press(event.key);
});
addEventListener("pagehide", () => call?.end("page closed"));
setInterval(tick, 500);
buttons();
trouble(insecure());
