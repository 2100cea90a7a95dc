// A TypeScript client that tries everything a client may do:
// `features-ts.mjs URL PLAN --sdk 1|2 --mode legacy|modern|auto [--remote 1]`.
// PLAN names what to call and what the answer contains. Prints {feature: "ok" or the reason}.
// With --remote the client speaks stdio to mcp-remote, which speaks HTTP.
import { join } from 'node:path';

import { commandLine, load, members } from './peers.mjs';

const line = commandLine();
const plan = line.calls;
const { mode = 'auto', sdk } = line.options;
const info = { name: 'features', version: '1.0.0' };
const capabilities = { elicitation: { form: {} }, sampling: {}, roots: {} };
const answers = {
  elicit: async (request) => ({
    action: 'accept',
    content: members(request.params.requestedSchema),
  }),
  sample: async () => ({
    role: 'assistant',
    model: 'none',
    content: { type: 'text', text: 'Paris' },
  }),
  roots: async () => ({ roots: [{ uri: 'file:///home/alice', name: 'home' }] }),
};

function first() {
  const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
  const types = load('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities });
  client.setRequestHandler(types.ElicitRequestSchema, answers.elicit);
  client.setRequestHandler(types.CreateMessageRequestSchema, answers.sample);
  client.setRequestHandler(types.ListRootsRequestSchema, answers.roots);
  const call = (params, options) => client.callTool(params, undefined, options);
  return { client, call, transport: firstTransport() };
}

function firstTransport() {
  if (!line.options.remote) {
    const { StreamableHTTPClientTransport } = load(
      '@modelcontextprotocol/sdk/client/streamableHttp.js',
    );
    return new StreamableHTTPClientTransport(line.url);
  }
  const { StdioClientTransport } = load('@modelcontextprotocol/sdk/client/stdio.js');
  const program = join(process.env.VMCP_PEERS, 'npm/node_modules/.bin/mcp-remote');
  const args = [program, line.url.href, '--allow-http', '--transport', 'http-only'];
  return new StdioClientTransport({ command: process.execPath, args, stderr: 'inherit' });
}

function second() {
  const { Client, StreamableHTTPClientTransport } = load('@modelcontextprotocol/client');
  const negotiation = { auto: 'auto', legacy: 'legacy', modern: { pin: '2026-07-28' } }[mode];
  const client = new Client(info, { capabilities, versionNegotiation: { mode: negotiation } });
  client.setRequestHandler('elicitation/create', answers.elicit);
  client.setRequestHandler('sampling/createMessage', answers.sample);
  client.setRequestHandler('roots/list', answers.roots);
  const call = (params, options) => client.callTool(params, options);
  return { client, call, transport: new StreamableHTTPClientTransport(line.url) };
}

const { client, call, transport } = sdk === '1' ? first() : second();
const report = {};

async function attempt(feature, make) {
  if (!plan[feature]) return;
  try {
    const result = JSON.stringify(await make(plan[feature]));
    const { answer } = plan[feature];
    report[feature] = result.includes(answer) ? 'ok' : `no ${answer} in ${result}`;
  } catch (error) {
    report[feature] = String(error);
  }
}

await client.connect(transport);
const calling = ({ name, arguments: given }) => call({ name, arguments: given });
await attempt('tools', async (what) => {
  const { tools } = await client.listTools();
  if (!tools.some((tool) => tool.name === what.name)) throw new Error(`${what.name} is not listed`);
  return calling(what);
});
await attempt('resources', async ({ uri }) => {
  const { resources } = await client.listResources();
  if (!resources.some((one) => one.uri === uri)) throw new Error(`${uri} is not listed`);
  return client.readResource({ uri });
});
await attempt('prompts', async (what) => {
  const { prompts } = await client.listPrompts();
  if (!prompts.some((one) => one.name === what.name)) throw new Error(`${what.name} is not listed`);
  return client.getPrompt({ name: what.name, arguments: what.arguments });
});
await attempt('progress', async ({ name, arguments: given, steps }) => {
  const seen = [];
  const onprogress = ({ progress }) => seen.push(progress);
  const result = await call({ name, arguments: given }, { onprogress });
  const rising = seen.every((step, at) => at === 0 || seen[at - 1] <= step);
  if (seen.length < steps || !rising) throw new Error(`progress was ${JSON.stringify(seen)}`);
  return result;
});
await attempt('elicitation', calling);
await attempt('sampling', calling);
await attempt('roots', calling);
process.stdout.write(`${JSON.stringify(report)}\n`);
if (transport.sessionId && transport.terminateSession) await transport.terminateSession();
await client.close();
