'use strict';
// Runs once, beside the workers: the place for what must not be done N times.

let visits = 0;

process.on('message', message => {
  if (message.action !== 'visit') return;
  visits += 1;
  process.send({ action: 'visits', data: visits }); // without `to`, the agent's message goes to every worker
});

process.send({ action: 'agent-start' }); // ready: the workers are started now
