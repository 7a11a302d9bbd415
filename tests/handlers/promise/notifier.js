// Its answer is a promise, which QuickJS would hand over as an empty receipt: delivered, and nothing was sent.
import { log } from 'postrider:notifier/host@1.0.0';

export const handler = {
  describe: () => ({
    name: 'promise', version: '1', summary: 'Answers later.', origins: [], secrets: [], attributes: [],
  }),
  configure: () => true,
  async send() {
    await Promise.resolve();
    log('info', 'too late');
    return {};
  },
};
