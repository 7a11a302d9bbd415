// Posts each notification as a message to a chat room.
import type { Handler, Notification } from 'postrider:notifier/handler@1.0.0';
import { log } from 'postrider:notifier/host@1.0.0';
import { post, utf8, verdict } from './postrider.js';

const KEYS = ['url', 'channel', 'token'] as const;
type Config = { url: string; channel?: string; token?: string };
let config: Config;

export const handler: Handler = {
  describe: () => ({
    name: 'chatline',
    version: '0.1.0',
    summary: 'Posts each notification as a message to a chat room.',
    configSchema: JSON.stringify({
      type: 'object',
      required: ['url'],
      additionalProperties: false,
      properties: Object.fromEntries(KEYS.map((key) => [key, { type: 'string' }])),
    }),
    origins: ['https://chat.example.com'],
    secrets: ['token'],
    maxContent: 16_384,
    attributes: [],
  }),

  configure(text) {
    config = parse(JSON.parse(text));
    return true;
  },

  send(n) {
    log('info', `posting ${n.id}, attempt ${n.attempt}`);
    const headers: Record<string, string> = { 'content-type': 'application/json', 'idempotency-key': n.id };
    if (config.token) headers.authorization = `Bearer ${config.token}`;
    return verdict(post(config.url, headers, JSON.stringify({ text: text(n), channel: config.channel })));
  },
};

function parse(given: Record<string, unknown>): Config {
  for (const [key, value] of Object.entries(given)) {
    if (!KEYS.some((known) => known === key)) throw `config.${key}: unknown key; expected ${KEYS.join(', ')}`;
    if (typeof value !== 'string') throw `config.${key}: expected a string, got ${JSON.stringify(value)}`;
  }
  if (!given.url) throw "config.url: missing; expected the URL of the chat's webhook";
  return given as Config;
}

/** One message, such as `[critical] alert.firing db1: disk 91 % full`. */
function text(n: Notification): string {
  const severity = new Map(n.labels).get('severity');
  const content = utf8(n.content) ?? `${n.content.length} bytes of ${n.contentType}`;
  return [
    severity ? `[${severity}] ` : '',
    n.kind,
    n.subject ? ` ${n.subject}` : '',
    content ? `: ${content}` : '',
    n.part ? ` (part ${n.part.index + 1} of ${n.part.count})` : '',
  ].join('');
}
