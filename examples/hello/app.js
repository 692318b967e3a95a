'use strict';
// Runs in every worker. eggctl starts as many as there are CPUs; they share one port.

const cluster = require('cluster');
const http = require('http');

let visits = 0; // of all workers together, as the agent last told

// The agent's messages go to every worker.
process.on('message', message => {
  if (message.action === 'visits') visits = message.data;
});

const server = http.createServer((request, response) => {
  process.send({ action: 'visit' }); // without `to`, a worker's message goes to the agent
  response.end(`hello from worker ${cluster.worker.id}, ${visits} visits before you\n`);
});

server.listen(process.env.PORT || 7001);
