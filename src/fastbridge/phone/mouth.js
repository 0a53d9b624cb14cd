// The microphone's worklet: any rate in, frames of 160 mu-law bytes out, 20 ms each.
//
// Posts {frame, at}: the bytes, and the context's time (seconds) of the frame's last sample.

import { Resampler } from "./resample.js";
import { encode, FRAME_BYTES, RATE } from "./mulaw.js";

class Mouth extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.frame = new Uint8Array(FRAME_BYTES);
    this.filled = 0;
    this.isOpen = true;
    this.port.onmessage = ({ data }) => {
      if (data === "close") this.isOpen = false;
    };
  }

  process([input]) {
    const channel = input[0];
    if (!channel) return this.isOpen; // no microphone yet
    this.resampler.push(channel);
    while (this.resampler.needs === 0) {
      this.frame[this.filled] = encode(this.resampler.next());
      this.filled += 1;
      if (this.filled === FRAME_BYTES) {
        const frame = this.frame;
        this.port.postMessage({ frame, at: currentTime }, [frame.buffer]);
        this.frame = new Uint8Array(FRAME_BYTES);
        this.filled = 0;
      }
    }
    return this.isOpen;
  }
}

registerProcessor("mouth", Mouth);
