'use strict';
process.on('message', () => {});
process.send({ action: 'agent-start' });
