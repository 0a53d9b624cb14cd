// The ear's worklet: plays what the carrier's buffer gives, and says what happens at the ear.
//
// Takes {media: bytes}, {mark: name}, {clear: true}, {close: true}. Posts
// {echo: [names]}, {began: seconds}, {silent: seconds, cut: bool} and, every 20 ms while it plays,
// {level}. Seconds are the audio context's.

import { Resampler } from "./resample.js";
import { DECODED, RATE } from "./mulaw.js";
import { Playout } from "./playout.js";

const LEVEL_SECONDS = 0.02;

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playout = new Playout();
    this.resampler = new Resampler(RATE, sampleRate);
    this.one = new Float32Array(1);
    this.isOpen = true;
    this.isPlaying = false;
    this.sum = 0;
    this.summed = 0;
    this.port.onmessage = ({ data }) => this.obey(data);
  }

  obey(data) {
    if (data.media) this.playout.media(data.media);
    else if (data.mark !== undefined) this.playout.mark(data.mark);
    else if (data.clear) {
      this.playout.clear();
      this.resampler.reset();
      this.fall(true);
    } else if (data.close) this.isOpen = false;
    this.tellEchoes();
  }

  tellEchoes() {
    const echo = this.playout.takeEchoes();
    if (echo.length) this.port.postMessage({ echo });
  }

  fall(cut) {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.port.postMessage({ silent: currentTime, cut });
  }

  // The next sample at the context's rate.
  sample() {
    const { resampler, playout } = this;
    while (resampler.needs > 0) {
      const byte = playout.take();
      if (byte >= 0 && !this.isPlaying) {
        this.isPlaying = true;
        this.port.postMessage({ began: currentTime });
      } else if (byte < 0 && this.isPlaying) this.fall(false);
      this.one[0] = byte < 0 ? 0 : DECODED[byte];
      resampler.push(this.one);
    }
    return resampler.next();
  }

  process(_, [output]) {
    const channel = output[0];
    for (let at = 0; at < channel.length; at += 1) {
      const sample = this.sample();
      channel[at] = sample;
      this.sum += sample * sample;
    }
    for (let more = 1; more < output.length; more += 1) output[more].set(channel);
    this.summed += channel.length;
    if (this.summed >= LEVEL_SECONDS * sampleRate) {
      if (this.isPlaying || this.sum > 0) {
        this.port.postMessage({ level: Math.sqrt(this.sum / this.summed) });
      }
      this.sum = 0;
      this.summed = 0;
    }
    this.tellEchoes();
    return this.isOpen;
  }
}

registerProcessor("ear", Ear);
