// Posts each notification as a message to a chat room.
import { log } from 'postrider:notifier/host@1.0.0';
import { post, utf8, verdict } from './postrider.js';

const KEYS = ['url', 'channel', 'token'];
let config;

export const handler = {
  describe() {
    return {
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
    };
  },

  configure(text) {
    config = JSON.parse(text);
    for (const [key, value] of Object.entries(config)) {
      if (!KEYS.includes(key)) throw `config.${key}: unknown key; expected ${KEYS.join(', ')}`;
      if (typeof value !== 'string') throw `config.${key}: expected a string, got ${JSON.stringify(value)}`;
    }
    if (!config.url) throw "config.url: missing; expected the URL of the chat's webhook";
    return true;
  },

  send(n) {
    log('info', `posting ${n.id}, attempt ${n.attempt}`);
    const headers = { 'content-type': 'application/json', 'idempotency-key': n.id };
    if (config.token) headers.authorization = `Bearer ${config.token}`;
    return verdict(post(config.url, headers, JSON.stringify({ text: text(n), channel: config.channel })));
  },
};

/** One message, such as `[critical] alert.firing db1: disk 91 % full`. */
function text(n) {
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
