'use strict';
// The same messages without anybody between: from a process straight to its child. `node direct.js BYTES MESSAGES`
// prints `MESSAGES SECONDS` after a smaller burst that warms Node up.
const { fork } = require('child_process');
const load = require('./load');

if (process.send) {
  process.on('message', message => load.receive(message, answer => process.send(answer)));
} else {
  const [size, count] = process.argv.slice(2).map(Number);
  const child = fork(__filename);
  child.on('message', message => load.receive(message));
  const deliver = (_receiver, message) => child.send(message);
  const burst = (messages, done) => load.send([String(child.pid)], size, messages, deliver, done);
  burst(count / 3, () => {
    burst(count, told => {
      console.log(told);
      child.disconnect();
    });
  });
}
