// Scrolling lanes on a canvas: the last seconds of a call, drawn once a frame, in bounded memory.
//
//   const lanes = new Lanes(canvas, { seconds: 12, rows: [
//     { name: "voice", label: "Your voice", kind: "level", colour: "--voice" },
//     { name: "queued", label: "AI queued", kind: "area", colour: "--queued", full: 20000 },
//     { name: "speaking", label: "is_ai_speaking", kind: "state", colour: "--speaking" },
//   ]});
//   lanes.push("voice", now, 0.3);        times are this page's milliseconds (performance.now())
//   lanes.band({ id, from, to, text, colour });   a stretch over all lanes; the same id updates it
//   lanes.start(); lanes.stop(); lanes.frames()   {fps, p95, draw}: how well it is drawn
//
// Kinds: level (0 to 1, mirrored), area (0 to `full`), state (0 or 1). Colours are CSS custom
// properties of the canvas, so that light and dark are the style sheet's business alone.

const POINTS = 1024; // of one lane: 20 s at 50 a second; the oldest is overwritten
const BANDS = 64;
const FRAMES = 600;
const LABEL_PX = 18;
const GAP_PX = 8;

class Ring {
  constructor(size) {
    this.times = new Float64Array(size);
    this.values = new Float32Array(size);
    this.count = 0;
  }

  push(time, value) {
    const at = this.count % this.times.length;
    this.times[at] = time;
    this.values[at] = value;
    this.count += 1;
  }

  // Calls `each(time, value)` from the last point before `since` on.
  from(since, each) {
    const size = this.times.length;
    const oldest = Math.max(0, this.count - size);
    let first = this.count;
    while (first > oldest && this.times[(first - 1) % size] >= since) first -= 1;
    for (let at = Math.max(oldest, first - 1); at < this.count; at += 1) {
      each(this.times[at % size], this.values[at % size]);
    }
  }
}

export class Lanes {
  constructor(canvas, { rows, seconds = 12 }) {
    this.canvas = canvas;
    this.rows = rows;
    this.span = seconds * 1000;
    this.paper = canvas.getContext("2d");
    this.rings = new Map(rows.map((row) => [row.name, new Ring(POINTS)]));
    this.bands = new Map();
    this.deltas = new Ring(FRAMES);
    this.costs = new Ring(FRAMES);
    this.isRunning = false;
    this.frozen = 0;
    new ResizeObserver(() => this.fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.fit());
    this.fit();
  }

  push(name, time, value) {
    this.rings.get(name).push(time, value);
  }

  band(band) {
    this.bands.set(band.id, { ...this.bands.get(band.id), ...band });
    if (this.bands.size > BANDS) this.bands.delete(this.bands.keys().next().value);
  }

  clear() {
    for (const row of this.rows) this.rings.set(row.name, new Ring(POINTS));
    this.bands.clear();
  }

  start() {
    if (this.isRunning) return;
    this.isRunning = true;
    this.frozen = 0;
    this.last = 0;
    requestAnimationFrame((now) => this.turn(now));
  }

  // The picture stands still where it is.
  stop() {
    this.isRunning = false;
    this.frozen = performance.now();
    this.draw(this.frozen);
  }

  turn(now) {
    if (!this.isRunning) return;
    if (this.last) this.deltas.push(now, now - this.last);
    this.last = now;
    const began = performance.now();
    this.draw(began);
    this.costs.push(now, performance.now() - began);
    requestAnimationFrame((next) => this.turn(next));
  }

  frames() {
    const kept = Math.min(this.deltas.count, FRAMES);
    if (!kept) return { fps: 0, p95: 0, draw: 0, frames: 0 };
    const deltas = [...this.deltas.values.subarray(0, kept)].sort((a, b) => a - b);
    const costs = [...this.costs.values.subarray(0, kept)].sort((a, b) => a - b);
    const mean = deltas.reduce((sum, one) => sum + one, 0) / kept;
    const at = Math.floor(0.95 * (kept - 1));
    return { fps: 1000 / mean, p95: deltas[at], draw: costs[at], frames: kept };
  }

  fit() {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.canvas);
    this.colours = {};
    const wanted = ["--text", "--soft", "--line", "--held", "--committed", "--resumed"];
    for (const name of [...wanted, ...this.rows.map((row) => row.colour)]) {
      this.colours[name] = style.getPropertyValue(name).trim();
    }
    this.font = `12px ${style.fontFamily}`;
    this.bold = `600 12px ${style.fontFamily}`;
    this.draw(this.frozen || performance.now());
  }

  draw(now) {
    const { paper, width, height } = this;
    const since = now - this.span;
    const x = (time) => ((time - since) / this.span) * width;
    paper.clearRect(0, 0, width, height);
    const top = LABEL_PX + 4; // the bands' own line
    const tall = (height - top) / this.rows.length;
    this.grid(x, since, now, top);
    for (const band of this.bands.values()) this.ground(band, x, since, now, top);
    this.rows.forEach((row, at) => this.row(row, top + at * tall, tall - GAP_PX, x, since, now));
    let free = 0;
    for (const band of this.bands.values()) free = this.caption(band, x, since, now, free);
  }

  grid(x, since, now, top) {
    const { paper, height, colours } = this;
    paper.fillStyle = colours["--line"];
    for (let time = Math.ceil(since / 1000) * 1000; time <= now; time += 1000) {
      paper.fillRect(Math.round(x(time)), top, 1, height - top);
    }
  }

  ground(band, x, since, now, top) {
    const to = band.to ?? now;
    if (to < since) return;
    const { paper, height, colours } = this;
    const from = Math.max(0, x(band.from));
    paper.globalAlpha = 0.22;
    paper.fillStyle = colours[band.colour];
    paper.fillRect(from, top, Math.max(2, x(to) - from), height - top);
    paper.globalAlpha = 1;
    paper.fillRect(from, top, 2, height - top);
  }

  // The text of a band stands in the top line, where the one before leaves room.
  caption(band, x, since, now, free) {
    if ((band.to ?? now) < since || !band.text) return free;
    const { paper, width, colours } = this;
    paper.font = this.bold;
    const wide = paper.measureText(band.text).width;
    const left = Math.min(Math.max(x(band.from), free, 2), width - wide - 2);
    if (left < free) return free;
    paper.fillStyle = colours[band.colour];
    paper.textBaseline = "top";
    paper.fillText(band.text, left, 3);
    return left + wide + 12;
  }

  row(row, top, tall, x, since, now) {
    const { paper, width, colours } = this;
    const ring = this.rings.get(row.name);
    const bottom = top + tall;
    paper.fillStyle = colours[row.colour];
    if (row.kind === "level") this.level(ring, top + LABEL_PX, tall - LABEL_PX, x, since);
    else if (row.kind === "area") this.area(row, ring, top + LABEL_PX, bottom, x, since, now);
    else this.state(ring, top + LABEL_PX, tall - LABEL_PX, x, since, now);
    paper.fillStyle = colours["--line"];
    paper.fillRect(0, bottom, width, 1);
    paper.font = this.font;
    paper.textBaseline = "top";
    paper.fillStyle = colours["--text"];
    paper.fillText(row.label, 2, top + 2);
    if (row.value) {
      const text = row.value();
      paper.fillStyle = colours["--soft"];
      paper.fillText(text, width - paper.measureText(text).width - 2, top + 2);
    }
  }

  level(ring, top, tall, x, since) {
    const { paper } = this;
    const middle = top + tall / 2;
    const wide = Math.max(1, (20 / this.span) * this.width);
    ring.from(since, (time, value) => {
      // Speech lives between -50 and -10 dB: drawn on that scale.
      const loud = value > 0 ? Math.max(0, Math.min(1, (20 * Math.log10(value) + 54) / 48)) : 0;
      const half = Math.max(0.5, (loud * tall) / 2);
      paper.fillRect(x(time) - wide, middle - half, wide, 2 * half);
    });
  }

  area(row, ring, top, bottom, x, since, now) {
    const { paper } = this;
    const scale = (bottom - top) / row.full;
    paper.beginPath();
    paper.moveTo(0, bottom);
    let last = 0;
    ring.from(since, (time, value) => {
      paper.lineTo(x(time), bottom - last * scale);
      last = Math.min(value, row.full);
      paper.lineTo(x(time), bottom - last * scale);
    });
    paper.lineTo(x(now), bottom - last * scale);
    paper.lineTo(x(now), bottom);
    paper.closePath();
    paper.fill();
  }

  state(ring, top, tall, x, since, now) {
    const { paper } = this;
    const high = Math.min(tall, 14);
    let began = null;
    const close = (time) => {
      if (began === null) return;
      const from = Math.max(0, x(began));
      paper.fillRect(from, top + (tall - high) / 2, Math.max(1, x(time) - from), high);
      began = null;
    };
    ring.from(since, (time, value) => {
      if (value && began === null) began = time;
      else if (!value) close(time);
    });
    close(now);
  }
}
