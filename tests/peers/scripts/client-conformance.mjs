// A generic client: lists everything, calls everything, answers every question with its defaults.
// The conformance suite drives it through the gateway; MCP_CONFORMANCE_CONTEXT may name the calls.
import { commandLine, load, members } from './peers.mjs';

const { Client, StreamableHTTPClientTransport } = load('@modelcontextprotocol/client');

const line = commandLine();
const modern = (process.env.MCP_CONFORMANCE_PROTOCOL_VERSION ?? '') >= '2026-07-28';
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const client = new Client(
  { name: 'generic-client', version: '1.0.0' },
  {
    versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
    capabilities: { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} },
  },
);

client.setRequestHandler('elicitation/create', async (request) => ({
  action: 'accept',
  content: members(request.params.requestedSchema),
}));
client.setRequestHandler('sampling/createMessage', async () => ({
  role: 'assistant',
  model: 'none',
  content: { type: 'text', text: 'said' },
}));
client.setRequestHandler('roots/list', async () => ({ roots: [] }));

// A request that the server refuses is said and does not keep the next ones from being made.
async function attempt(what, make) {
  try {
    const result = await make();
    console.log(what, JSON.stringify(result));
    return result;
  } catch (error) {
    console.log(what, 'failed:', String(error));
    return undefined;
  }
}

await client.connect(new StreamableHTTPClientTransport(line.url));
const listed = await attempt('tools/list', () => client.listTools());
const tools = listed?.tools ?? [];
// A tool that wants a schema gets what this client was told of the first tool, unchanged.
const argumentsFor = ({ inputSchema }) =>
  inputSchema.properties?.schema
    ? { schema: tools[0].inputSchema }
    : members(inputSchema);
const calls =
  context.toolCalls ?? tools.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool) }));
for (const call of calls) await attempt(call.name, () => client.callTool(call));
const resources = await attempt('resources/list', () => client.listResources());
for (const { uri } of resources?.resources ?? []) {
  await attempt(uri, () => client.readResource({ uri }));
}
const prompts = await attempt('prompts/list', () => client.listPrompts());
for (const { name } of prompts?.prompts ?? []) {
  await attempt(name, () => client.getPrompt({ name }));
}
await client.close();
