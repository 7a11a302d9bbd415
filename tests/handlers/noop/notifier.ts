// Takes each notification and does nothing: what is left is what an instance costs.
import type { Handler } from 'postrider:notifier/handler@1.0.0';

export const handler: Handler = {
  describe: () => ({
    name: 'noop', version: '1', summary: 'Does nothing.', origins: [], secrets: [], attributes: [],
  }),
  configure: () => true,
  send: () => ({}),
};
