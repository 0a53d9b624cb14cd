// G.711 mu-law: tables both ways, and what a frame is. 8 bytes are a millisecond.

export const RATE = 8000;
export const FRAME_BYTES = 160;
const BIAS = 132;
const CLIP = 32635;

export const DECODED = new Float32Array(256);
for (let code = 0; code < 256; code += 1) {
  const bits = ~code & 0xff;
  const size = (((bits & 0x0f) << 3) + BIAS) << ((bits >> 4) & 7);
  DECODED[code] = ((bits & 0x80 ? BIAS - size : size - BIAS) / 32768);
}

// Returns the code of one sample, -1 to 1.
export function encode(sample) {
  let value = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
  const sign = value < 0 ? 0x80 : 0;
  value = Math.min(Math.abs(value), CLIP) + BIAS;
  const exponent = 31 - Math.clz32(value) - 7;
  return ~(sign | (exponent << 4) | ((value >> (exponent + 3)) & 0x0f)) & 0xff;
}

// Returns the root mean square of mu-law bytes, 0 to 1.
export function rms(bytes) {
  let sum = 0;
  for (const byte of bytes) sum += DECODED[byte] * DECODED[byte];
  return bytes.length ? Math.sqrt(sum / bytes.length) : 0;
}
