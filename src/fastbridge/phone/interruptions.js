// What the page itself knows of interruptions, by its own ear: from the moment the caller became
// loud in the microphone to the moment the AI fell silent in the playout. Both are times of one
// audio clock (seconds), so nothing of it is a guess about the server or the network.

const LOUD = 0.01; // -40 dBFS
const QUIET_SECONDS = 0.3; // a sound after so much quiet is a new onset
const STALE_SECONDS = 3; // a cut so long after the caller was loud is not the caller's doing
const MATCH_MS = 60; // three frames
const KEPT = 100;

export class Interruptions {
  constructor() {
    this.clear();
  }

  clear() {
    this.found = []; // {onset, silent, ms, place}
    this.known = new Map(); // by the server's number: what it told, and our own measurement
    this.onset = -Infinity;
    this.loud = -Infinity;
    this.start = Infinity;
  }

  // A piece of the microphone's audio, `seconds` long; `at` is the time of its end.
  voice(level, at, seconds) {
    if (level < LOUD) return;
    if (at - this.loud > QUIET_SECONDS) this.onset = at - seconds;
    this.loud = at;
  }

  began(at) {
    this.start = at;
  }

  // The playout fell silent when `place` milliseconds of the caller's audio had left; returns what
  // was measured when the caller was the cause.
  silent(at, isCut, place) {
    const start = this.start;
    this.start = Infinity;
    if (!isCut || this.onset < start || at - this.loud > STALE_SECONDS) return null;
    const one = { onset: this.onset, silent: at, ms: (at - this.onset) * 1000, place };
    this.found.push(one);
    if (this.found.length > KEPT) this.found.shift();
    return one;
  }

  // Returns our measurement of the silence that the server found at this place of our audio.
  match(place) {
    let best = null;
    for (const one of this.found) {
      if (Math.abs(one.place - place) > MATCH_MS) continue;
      if (!best || Math.abs(one.place - place) < Math.abs(best.place - place)) best = one;
    }
    return best;
  }
}
