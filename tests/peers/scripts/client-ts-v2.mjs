// TypeScript client 2. `--mode auto|legacy|modern`; modern pins 2026-07-28.
import { commandLine, load, report } from './peers.mjs';

const { Client, StreamableHTTPClientTransport } = load('@modelcontextprotocol/client');

const line = commandLine();
const mode = line.options.mode ?? 'auto';
const negotiation = { auto: 'auto', legacy: 'legacy', modern: { pin: '2026-07-28' } }[mode];
if (negotiation === undefined) throw new Error(`unknown mode ${mode}`);
const transport = new StreamableHTTPClientTransport(line.url);
const client = new Client(
  { name: 'peer-ts-v2', version: '1.0.0' },
  { versionNegotiation: { mode: negotiation } },
);
await client.connect(transport);
await report(client, line.calls);
if (transport.sessionId && transport.terminateSession) await transport.terminateSession();
await client.close();
