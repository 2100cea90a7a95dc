// TypeScript SDK 1: legacy only. `--transport http|sse`.
import { commandLine, load, report } from './peers.mjs';

const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = load('@modelcontextprotocol/sdk/client/sse.js');

const line = commandLine();
const Transport = line.options.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
const transport = new Transport(line.url);
const client = new Client({ name: 'peer-ts-v1', version: '1.0.0' });
await client.connect(transport);
await report(client, line.calls);
if (transport.terminateSession) await transport.terminateSession();
await client.close();
