// One media stream in Twilio's dialect, as the carrier's side speaks it: connected, start, media,
// dtmf, mark, stop, each numbered; numbers inside `media` are strings.

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

export const UNSENT_BYTES_MAX = 64 * 1024; // of caller audio, beyond it frames are dropped

export class Stream extends EventTarget {
  // `names` come from the server: callSid, streamSid, accountSid, perhaps token and ticket.
  constructor(names, parameters = {}) {
    super();
    this.names = names;
    this.parameters = parameters;
    this.sequence = 0;
    this.chunk = 0;
    this.dropped = 0;
    this.hasStarted = false;
    this.isAnswered = false;
    this.onmedia = () => {};
    this.onmark = () => {};
    this.onclear = () => {};
  }

  open(base) {
    const url = new URL("media-stream", base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.names.ticket) {
      url.searchParams.set("call", this.names.callSid);
      url.searchParams.set("ticket", this.names.ticket);
    }
    this.socket = new WebSocket(url);
    this.socket.onopen = () => this.start();
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ code, reason }) => {
      this.dispatchEvent(new CustomEvent("closed", { detail: { code, reason } }));
    };
  }

  start() {
    const { callSid, streamSid, accountSid, token } = this.names;
    this.put({ event: "connected", protocol: "Call", version: "1.0.0" });
    const customParameters = { ...this.parameters, ...(token ? { token } : {}) };
    this.numbered("start", {
      accountSid,
      streamSid,
      callSid,
      tracks: ["inbound"],
      mediaFormat: { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 },
      customParameters,
    });
    this.hasStarted = true;
    this.began = performance.now();
  }

  receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (!this.isAnswered) {
      this.isAnswered = true; // the server knows the call now
      this.dispatchEvent(new Event("answered"));
    }
    if (message.event === "media") this.onmedia(bytesOf(message.media.payload));
    else if (message.event === "mark") this.onmark(message.mark.name);
    else if (message.event === "clear") this.onclear();
  }

  // A frame of the caller; the timestamp counts the stream's audio, dropped frames included.
  media(frame) {
    if (!this.isOpen) return;
    const timestamp = String(this.place);
    if (this.socket.bufferedAmount > UNSENT_BYTES_MAX) {
      this.dropped += 1;
      return;
    }
    this.chunk += 1;
    const chunk = String(this.chunk);
    this.numbered("media", { track: "inbound", chunk, timestamp, payload: base64(frame) });
  }

  echo(name) {
    this.numbered("mark", { name });
  }

  digit(digit) {
    this.numbered("dtmf", { track: "inbound_track", digit });
  }

  stop() {
    const { accountSid, callSid } = this.names;
    this.numbered("stop", { accountSid, callSid });
    this.socket?.close(1000);
  }

  // Milliseconds of the caller's audio so far: what both sides of the line agree upon.
  get place() {
    return 20 * (this.chunk + this.dropped);
  }

  get isOpen() {
    return this.hasStarted && this.socket.readyState === WebSocket.OPEN;
  }

  numbered(event, body) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.sequence += 1;
    const { streamSid } = this.names;
    this.put({ event, sequenceNumber: String(this.sequence), streamSid, [event]: body });
  }

  put(message) {
    this.socket.send(JSON.stringify(message));
  }
}
