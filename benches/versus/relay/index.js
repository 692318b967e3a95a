'use strict';
// A framework on bare egg-cluster whose workers send messages by the master to other members:
// `GET /?pids=PID,PID,…&size=BYTES&count=MESSAGES` is answered with `MESSAGES SECONDS` when all have arrived.
const { startCluster, Application, Agent } = require('../framework');
const load = require('./load');

process.on('message', message => load.receive(message, answer => process.send(answer)));

class Relay extends Application {
  callback() {
    return (request, response) => {
      const { searchParams: asked } = new URL(request.url, 'http://relay');
      const others = asked.get('pids').split(',').filter(pid => pid !== String(process.pid));
      const deliver = (_receiver, message) => process.send(message);
      load.send(others, Number(asked.get('size')), Number(asked.get('count')), deliver, told => response.end(told));
    };
  }
}

module.exports = { startCluster, Application: Relay, Agent };
