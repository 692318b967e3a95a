'use strict';
// The same messages without anybody between: from a process straight to two children. `node direct.js BYTES MESSAGES`
// prints `MESSAGES SECONDS` after a smaller burst that warms Node up.
const { fork } = require('child_process');
const load = require('./load');

if (process.send) {
  process.on('message', message => load.receive(message, answer => process.send(answer)));
} else {
  const [size, count] = process.argv.slice(2).map(Number);
  const children = new Map([1, 2].map(() => fork(__filename)).map(child => [String(child.pid), child]));
  for (const child of children.values()) child.on('message', message => load.receive(message));
  const deliver = (receiver, message) => children.get(receiver).send(message);
  load.send([...children.keys()], size, count / 3, deliver, () => {
    load.send([...children.keys()], size, count, deliver, told => {
      console.log(told);
      for (const child of children.values()) child.disconnect();
    });
  });
}
