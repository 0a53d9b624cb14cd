// @openai/agents-extensions' TwilioRealtimeTransportLayer behind a WebSocket server, no tools.
// Run by bench/peers only: node agents_bridge.mjs PORT AI_PORT (packages come from .work/js).
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const packages = createRequire(new URL('.work/js/package.json', import.meta.url));
const load = (name) => import(pathToFileURL(packages.resolve(name)).href);
const { RealtimeAgent, RealtimeSession } = (await load('@openai/agents/realtime')).default
  ?? (await load('@openai/agents/realtime'));
const { TwilioRealtimeTransportLayer } = (await load('@openai/agents-extensions')).default
  ?? (await load('@openai/agents-extensions'));
const ws = packages('ws');

const [port, aiPort] = process.argv.slice(2).map(Number);
const server = new ws.WebSocketServer({ host: '127.0.0.1', port, path: '/media-stream' });

server.on('connection', async (socket) => {
  const transport = new TwilioRealtimeTransportLayer({ twilioWebSocket: socket });
  const agent = new RealtimeAgent({ name: 'bench', instructions: 'Answer briefly.' });
  // Without a format the session asks for 24 kHz PCM and hands that to Twilio.
  const audio = { input: { format: 'g711_ulaw' }, output: { format: 'g711_ulaw' } };
  const session = new RealtimeSession(agent, { transport, model: 'gpt-realtime', config: { audio } });
  session.on('error', (problem) => console.error(problem));
  socket.on('close', () => session.close());
  await session.connect({
    apiKey: 'no-key-needed',
    url: `ws://127.0.0.1:${aiPort}/v1/realtime?model=gpt-realtime`,
  });
});
