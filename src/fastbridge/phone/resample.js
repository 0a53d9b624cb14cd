// A streaming resampler: a windowed sinc, cut off below the lower of the two rates' half.
//
// Each output sample is a weighted sum of the inputs around it; the weights come from a table of
// one Blackman-windowed sinc, 64 steps a zero crossing, interpolated. 24 crossings a side: flat to
// about 3.4 kHz of 8 kHz and more than 60 dB down at 4.6 kHz.

const CROSSINGS = 24;
const STEPS = 64;

function table() {
  const size = CROSSINGS * STEPS;
  const weights = new Float32Array(size + 2);
  for (let at = 0; at <= size; at += 1) {
    const x = at / STEPS;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    const turn = (Math.PI * at) / size;
    weights[at] = sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn));
  }
  return weights;
}

const WEIGHTS = table();

export class Resampler {
  constructor(from, to) {
    this.step = from / to; // input samples an output sample
    // In units of the input's rate: how wide the sinc must be to stop below both halves.
    this.cut = 0.95 * Math.min(1, to / from);
    this.reach = Math.ceil(CROSSINGS / this.cut);
    this.kept = new Float32Array(4 * this.reach + 4096);
    this.count = this.reach; // the past is silence
    this.at = this.reach; // of the next output, in `kept`
  }

  // How many inputs `push` must get before one more output can be made.
  get needs() {
    return Math.max(0, Math.floor(this.at) + this.reach + 1 - this.count);
  }

  push(samples) {
    const spare = Math.floor(this.at) - this.reach;
    if (this.count + samples.length > this.kept.length && spare > 0) {
      this.kept.copyWithin(0, spare, this.count);
      this.count -= spare;
      this.at -= spare;
    }
    if (this.count + samples.length > this.kept.length) {
      const wider = new Float32Array(2 * (this.count + samples.length));
      wider.set(this.kept.subarray(0, this.count));
      this.kept = wider;
    }
    this.kept.set(samples, this.count);
    this.count += samples.length;
  }

  // Returns the next output; call only while `needs` is 0.
  next() {
    const centre = Math.floor(this.at);
    const part = this.at - centre;
    const scale = this.cut * STEPS;
    let sum = 0;
    for (let tap = 1 - this.reach; tap <= this.reach; tap += 1) {
      const place = Math.abs(tap - part) * scale;
      const low = Math.floor(place);
      if (low >= CROSSINGS * STEPS) continue;
      const weight = WEIGHTS[low] + (WEIGHTS[low + 1] - WEIGHTS[low]) * (place - low);
      sum += weight * this.kept[centre + tap];
    }
    this.at += this.step;
    return sum * this.cut;
  }

  reset() {
    this.kept.fill(0);
    this.count = this.reach;
    this.at = this.reach;
  }
}
