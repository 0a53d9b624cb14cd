// The live feed of a call (server: fastbridge.live): server-sent events read with `fetch`, because
// an EventSource cannot carry a token.
//
//   const feed = follow(callSid, { base, token, on: { s, b, w, call, d, end } });
//   feed.close();
//
// `feed.here(t)` turns the call's milliseconds into this page's: the least delay seen so far is
// taken for none. A call that another worker of the port has is asked for again.

const RETRY_MS = 100;
const TRIES_MAX = 60;

export function follow(callSid, { base, token, on }) {
  const stopping = new AbortController();
  const feed = {
    offset: Infinity,
    here: (t) => t + feed.offset,
    close: () => stopping.abort(),
  };
  const url = new URL(`calls/${callSid}/live`, base);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};

  function take(messages) {
    const now = performance.now();
    for (const message of messages) {
      if (message.s) feed.offset = Math.min(feed.offset, now - message.s[0]);
      for (const [kind, body] of Object.entries(message)) on[kind]?.(body, feed);
    }
  }

  async function read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n\n");
      rest = lines.pop();
      for (const line of lines) take(JSON.parse(line.slice("data: ".length)));
    }
  }

  async function run() {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const response = await fetch(url, { headers, signal: stopping.signal, cache: "no-store" });
      if (response.ok) {
        await read(response);
        return;
      }
      if (response.status !== 404) throw new Error(`${response.status}`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    throw new Error("404");
  }

  run().catch((problem) => {
    if (problem.name !== "AbortError") on.lost?.(problem.message, feed);
  });
  return feed;
}
